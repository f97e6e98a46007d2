#include "services/decode/landing.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace decant {
namespace {

int64_t SlotsOf(int64_t bytes) { return (bytes + LandingArea::kSlotBytes - 1) / LandingArea::kSlotBytes; }

}  // namespace

LandingArea::LandingArea(int64_t bytes)
    : memory_(new uint8_t[static_cast<size_t>(SlotsOf(bytes) * kSlotBytes)]),
      taken_(static_cast<size_t>(SlotsOf(bytes))) {}

absl::StatusOr<MemoryRef> LandingArea::Take(int64_t bytes) {
  const int64_t wanted = SlotsOf(bytes);
  const auto slots = static_cast<int64_t>(taken_.size());
  if (bytes < 0 || wanted > slots) {
    return absl::InvalidArgumentError(absl::StrCat("a batch of ", bytes, " bytes exceeds the landing memory of ",
                                                   slots * kSlotBytes, " bytes; send smaller batches"));
  }
  // First fit: runs are short-lived and few, so the scan is cheap and holes close by themselves.
  int64_t run = 0;
  for (int64_t slot = 0; slot < slots && run < wanted; ++slot) {
    run = taken_[static_cast<size_t>(slot)] ? 0 : run + 1;
    if (run < wanted) continue;
    const int64_t first = slot - wanted + 1;
    std::fill_n(taken_.begin() + first, wanted, true);
    slots_taken_ += wanted;
    return MemoryRef{MemorySpace::kHost, memory_.get() + first * kSlotBytes, bytes};
  }
  if (wanted == 0) return MemoryRef{MemorySpace::kHost, memory_.get(), 0};
  return absl::ResourceExhaustedError(absl::StrCat("no ", bytes, " bytes of landing memory are free now"));
}

void LandingArea::Give(const MemoryRef& memory) {
  const int64_t first = (static_cast<uint8_t*>(memory.address) - memory_.get()) / kSlotBytes;
  for (int64_t slot = first; slot < first + SlotsOf(memory.bytes); ++slot) {
    DECANT_CHECK(taken_[static_cast<size_t>(slot)]);
    taken_[static_cast<size_t>(slot)] = false;
    --slots_taken_;
  }
}

}  // namespace decant
