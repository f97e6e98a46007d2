// Whether a peer that has failed is worth another call. Time comes in as an argument. Not thread-safe.
//
//   closed --- `failures` in a row ---> open --- the pause is over ---> half open: one call may try
//      ^                                 ^                                   |
//      +------------- it is well --------|----------- and is not ------------+   (the pause doubles)
#ifndef DECANT_SERVICES_POOL_TIERS_CIRCUIT_BREAKER_H_
#define DECANT_SERVICES_POOL_TIERS_CIRCUIT_BREAKER_H_

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"
#include "common/base/random.h"

namespace decant {

struct CircuitBreakerOptions {
  int failures = 3;
  absl::Duration first_pause = absl::Milliseconds(100);
  absl::Duration longest_pause = absl::Seconds(30);
  uint64_t seed = 0;  // of what shortens each pause by up to a half, so that clients of one peer do not come at once
};

class CircuitBreaker {
 public:
  explicit CircuitBreaker(const CircuitBreakerOptions& options) : options_(options), pause_(options.first_pause) {}

  // Whether to call now. True must be followed by one Succeeded or Failed: while a call tries, no other does.
  bool Allow(absl::Time now) {
    if (failed_ < options_.failures) return true;
    if (trying_ || now < open_until_) return false;
    trying_ = true;
    return true;
  }
  void Succeeded() {
    failed_ = 0;
    trying_ = false;
    pause_ = options_.first_pause;
  }
  void Failed(absl::Time now) {
    // Of calls that were on their way when it opened only the one that tries moves it.
    if (failed_ >= options_.failures && !trying_) return;
    trying_ = false;
    failed_ = std::min(failed_ + 1, options_.failures);
    if (failed_ < options_.failures) return;
    ++opened_;
    open_until_ = now + pause_ * (1 - 0.5 * UniformFloat(options_.seed, opened_));
    pause_ = std::min(2 * pause_, options_.longest_pause);
  }

  bool open() const { return failed_ >= options_.failures; }
  absl::Time open_until() const { return open_until_; }
  uint64_t opened() const { return opened_; }  // how often, since the start

 private:
  const CircuitBreakerOptions options_;
  absl::Duration pause_;
  absl::Time open_until_ = absl::InfinitePast();
  uint64_t opened_ = 0;
  int failed_ = 0;  // in a row
  bool trying_ = false;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_TIERS_CIRCUIT_BREAKER_H_
