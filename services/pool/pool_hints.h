// What clients say of the use that stored KV will have, as the pool's core takes it, and its receipts.
#ifndef DECANT_SERVICES_POOL_POOL_HINTS_H_
#define DECANT_SERVICES_POOL_POOL_HINTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/digest.h"

namespace decant {

enum class HintKind : uint8_t {
  kUnspecified = 0,
  kRetain = 1,
  kPrefetch = 2,
  kDemote = 3,
  kRelease = 4,
  kCompress = 5,
};

struct Hint {
  std::string action_id;
  HintKind kind = HintKind::kUnspecified;
  std::vector<Digest> keys;                            // of whole chunks, in order of position
  int32_t priority = 0;                                // kRetain
  absl::Duration duration;                             // kRetain
  std::string profile;                                 // kCompress
  absl::Duration deadline = absl::InfiniteDuration();  // kPrefetch: then it is of no use
  bool drop = false;                                   // kRelease: forget at once
};

enum class HintOutcome : uint8_t { kAccepted = 1, kExecuted = 2, kRefused = 3 };

struct HintReceipt {
  std::string action_id;
  HintKind kind = HintKind::kUnspecified;
  HintOutcome outcome = HintOutcome::kRefused;
  std::string reason;    // of a refusal, or of what was done only in part
  bool clamped = false;  // less was done than was wished
  int32_t chunks = 0;    // variants that were touched
  int64_t bytes = 0;     // true bytes of those
  int32_t priority = 0;  // kRetain: that they have now
  absl::Duration duration = absl::ZeroDuration();
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_POOL_HINTS_H_
