// Memory in which batches land before they are copied into pages: taken once, handed out in runs of slots.
#ifndef DECANT_SERVICES_DECODE_LANDING_H_
#define DECANT_SERVICES_DECODE_LANDING_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/memory_ref.h"

namespace decant {

// Not thread-safe.
class LandingArea {
 public:
  static constexpr int64_t kSlotBytes = int64_t{64} << 10;

  explicit LandingArea(int64_t bytes);

  // Host memory of `bytes`. RESOURCE_EXHAUSTED when no run of free slots is long enough now, INVALID_ARGUMENT when it
  // never can be.
  absl::StatusOr<MemoryRef> Take(int64_t bytes);
  // REQUIRES: `memory` came from Take and was not given back.
  void Give(const MemoryRef& memory);
  int64_t bytes_taken() const { return slots_taken_ * kSlotBytes; }

 private:
  std::unique_ptr<uint8_t[]> memory_;
  std::vector<bool> taken_;  // by slot
  int64_t slots_taken_ = 0;
};

}  // namespace decant

#endif  // DECANT_SERVICES_DECODE_LANDING_H_
