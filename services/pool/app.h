// The pool service as a value: everything `decant_pool` runs, for main.cc, the cli and tests.
#ifndef DECANT_SERVICES_POOL_APP_H_
#define DECANT_SERVICES_POOL_APP_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace decant {

struct PoolOptions {
  std::string listen = "127.0.0.1:0";               // port 0: the system chooses
  std::string metrics = "127.0.0.1:0";              // of the HTTP endpoint /metrics; empty: none
  int64_t pool_bytes = int64_t{1} << 30;            // true bytes of stored chunks and their index
  absl::Duration lease = absl::Seconds(30);         // renewed by use
  absl::Duration publish_idle = absl::Seconds(10);  // a publish with no frame for so long is dropped
  absl::Duration drain_limit = absl::Seconds(20);
  double fetch_bits_per_s = 8e9;  // what Plan expects of pool-to-prefill transfers until it has seen some
};

class PoolApp {
 public:
  // INVALID_ARGUMENT for options that make no sense.
  static absl::StatusOr<std::unique_ptr<PoolApp>> Create(PoolOptions options);
  virtual ~PoolApp() = default;

  // Serves until Drain. UNAVAILABLE when an address cannot be bound.
  virtual absl::Status Start() = 0;
  // HOST:PORT as bound; valid after Start.
  virtual std::string address() const = 0;
  virtual std::string metrics_address() const = 0;
  // Refuses new calls, lets running ones end for PoolOptions.drain_limit, then cancels them. Idempotent; the destructor
  // drains at once.
  virtual void Drain() = 0;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_APP_H_
