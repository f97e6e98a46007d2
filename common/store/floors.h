// The forms that chunks of one model may be stored in, and what past requests' floors say of the next one's.
#ifndef DECANT_COMMON_STORE_FLOORS_H_
#define DECANT_COMMON_STORE_FLOORS_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/base/digest.h"

namespace decant {

inline constexpr size_t kMostRungs = 8;

// A form, as the ladder sees it.
struct Rung {
  Digest profile;
  std::string name;
  double quality = 0;      // measured; 1 for the exact form
  double bytes_share = 1;  // a chunk's bytes in it over those in the first rung
};

// The rungs worth having of these forms, best first: the quality and the bytes of each are below those of the one
// before it. Forms that another one beats in both, or that nobody measured, are left out; of equals the first stays.
// At most kMostRungs: the lossiest are left out.
std::vector<Rung> RungsOf(std::vector<Rung> forms);

// The last rung that a request with this floor accepts: a floor of 1 and above takes rung 0 only, as does one that none
// meets.
size_t LastAccepted(absl::Span<const Rung> rungs, double floor);

// How often requests accepted nothing behind each rung. Counts are small: when one is full all are halved, so that the
// latest weigh most.
class FloorCounts {
 public:
  void Add(size_t last_accepted);
  uint8_t count(size_t rung) const { return counts_[rung]; }
  uint32_t sum() const;
  // One bit per rung that some request stopped at.
  uint8_t Seen() const;

 private:
  std::array<uint8_t, kMostRungs> counts_{};
};

// What is known of all requests to one model: the prior for chunks with little evidence of their own.
class FloorPrior {
 public:
  explicit FloorPrior(size_t rungs);

  void Add(size_t last_accepted);
  // The probability that the next request for a chunk with this evidence accepts it at `rung`. The prior weighs as much
  // as `weight` requests.
  double Accepts(const FloorCounts& evidence, size_t rung, double weight) const;

 private:
  std::vector<double> counts_;
};

}  // namespace decant

#endif  // DECANT_COMMON_STORE_FLOORS_H_
