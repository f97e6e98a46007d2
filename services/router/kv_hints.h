// The KvHintsEnvelope that clients and orchestrators send to engines, read once on entry.
//
//   {"protocol_version": "0.1", "message_id": "m", "actions": [
//     {"action_id": "a", "action_type": "kv.retain", "action_version": "0.1", "payload": {...}}]}
//
// Action types, with or without "kv.", and what their payloads hold:
//
//   all       of what: one of text, token_ids (a prompt's beginning: its whole chunks) and keys (of chunks, as hex);
//             expires_at_ms (since 1970; from then on the action is void)
//   retain    priority (0 to 100) and duration_ms, or ttl_seconds
//   prefetch  deadline_ms (from now)
//   demote
//   release   drop (true: forget at once)
//   evict     a release that drops
//   compress  profile
//
// Other members are other executors' and are passed over.
#ifndef DECANT_SERVICES_ROUTER_KV_HINTS_H_
#define DECANT_SERVICES_ROUTER_KV_HINTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/digest.h"

namespace decant {

enum class HintVerb : uint8_t { kNone = 0, kRetain = 1, kPrefetch = 2, kDemote = 3, kRelease = 4, kCompress = 5 };

struct HintAction {
  std::string action_id;
  std::string action_type;  // as it was sent
  std::string refusal;      // why nothing can be done about it; then the rest means nothing
  HintVerb verb = HintVerb::kNone;
  std::optional<std::string> text;
  std::vector<int32_t> token_ids;
  std::vector<Digest> keys;
  std::optional<absl::Time> expires;
  int32_t priority = 0;
  absl::Duration duration = absl::ZeroDuration();
  absl::Duration deadline = absl::ZeroDuration();  // zero: none
  std::string profile;
  bool drop = false;
};

struct HintEnvelope {
  std::string message_id;
  std::vector<HintAction> actions;
};

inline constexpr size_t kMostHintActions = 64;
inline constexpr size_t kMostHintKeys = 65536;  // of one action

// INVALID_ARGUMENT for what is no envelope: no JSON object, a version other than 0.x and 1.x, an action without an id,
// more than kMostHintActions. What is wrong about one action only is its refusal.
absl::StatusOr<HintEnvelope> ParseHints(absl::string_view json);

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_KV_HINTS_H_
