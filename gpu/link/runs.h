#ifndef DECANT_GPU_LINK_RUNS_H_
#define DECANT_GPU_LINK_RUNS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/base/memory_ref.h"

namespace decant {

// The parts with neighbours in memory joined and empty ones left out; `bytes` is their sum. The frames and overlays of
// one layer lie back to back, so most batches are one run.
inline std::vector<ConstMemoryRef> JoinRuns(absl::Span<const ConstMemoryRef> parts, int64_t& bytes) {
  std::vector<ConstMemoryRef> runs;
  bytes = 0;
  for (const ConstMemoryRef& part : parts) {
    if (part.bytes == 0) continue;
    bytes += part.bytes;
    const bool joins = !runs.empty() && runs.back().space == part.space &&
                       static_cast<const char*>(runs.back().address) + runs.back().bytes == part.address;
    if (joins) {
      runs.back().bytes += part.bytes;
    } else {
      runs.push_back(part);
    }
  }
  return runs;
}

}  // namespace decant

#endif  // DECANT_GPU_LINK_RUNS_H_
