#include "services/pool/hints_rpc.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/tenant_name.h"
#include "services/rpc/worker_rpc.h"

namespace decant {
namespace {

absl::string_view ActionName(HintKind kind) {
  switch (kind) {
    case HintKind::kRetain:
      return "retain";
    case HintKind::kPrefetch:
      return "prefetch";
    case HintKind::kDemote:
      return "demote";
    case HintKind::kRelease:
      return "release";
    case HintKind::kCompress:
      return "compress";
    case HintKind::kUnspecified:
      break;
  }
  return "";
}

HintKind KindFrom(v1::HintKind kind) {
  switch (kind) {
    case v1::HINT_KIND_RETAIN:
      return HintKind::kRetain;
    case v1::HINT_KIND_PREFETCH:
      return HintKind::kPrefetch;
    case v1::HINT_KIND_DEMOTE:
      return HintKind::kDemote;
    case v1::HINT_KIND_RELEASE:
      return HintKind::kRelease;
    case v1::HINT_KIND_COMPRESS:
      return HintKind::kCompress;
    default:
      return HintKind::kUnspecified;
  }
}

Hint FromProto(const v1::PoolHint& proto) {
  Hint hint;
  hint.action_id = proto.action_id();
  hint.kind = KindFrom(proto.kind());
  for (const std::string& bytes : proto.keys()) {
    const absl::StatusOr<Digest> key = DigestFromBytes(bytes, "a chunk key");
    if (key.ok()) hint.keys.push_back(*key);  // another length is no key of anything
  }
  hint.priority = proto.priority();
  hint.duration = absl::Milliseconds(proto.duration_ms());
  hint.profile = proto.profile();
  if (proto.deadline_ms() > 0) hint.deadline = absl::Milliseconds(proto.deadline_ms());
  hint.drop = proto.drop();
  return hint;
}

}  // namespace

absl::Status CheckTenant(const std::string& tenant) {
  if (tenant.empty() || IsTenantName(tenant)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("no tenant can be called so; a name has ", kTenantNameRule));
}

absl::StatusOr<std::vector<Hint>> HintsFrom(const v1::PoolHintRequest& request) {
  DECANT_RETURN_IF_ERROR(CheckTenant(request.tenant()));
  if (request.hints_size() > kMostHints) {
    return absl::InvalidArgumentError(
        absl::StrCat(request.hints_size(), " hints in one message; there may be ", kMostHints));
  }
  std::vector<Hint> hints;
  for (const v1::PoolHint& hint : request.hints()) hints.push_back(FromProto(hint));
  return hints;
}

v1::PoolHintReply ToProto(const std::vector<HintReceipt>& receipts) {
  v1::PoolHintReply reply;
  for (const HintReceipt& receipt : receipts) {
    v1::HintReceipt& proto = *reply.add_receipts();
    proto.set_action_id(receipt.action_id);
    proto.set_action_type(std::string(ActionName(receipt.kind)));
    proto.set_outcome(static_cast<v1::HintOutcome>(receipt.outcome));
    proto.set_reason(receipt.reason);
    proto.set_clamped(receipt.clamped);
    proto.set_chunks(receipt.chunks);
    proto.set_bytes(receipt.bytes);
    proto.set_priority(receipt.priority);
    proto.set_duration_ms(absl::ToInt64Milliseconds(receipt.duration));
  }
  return reply;
}

}  // namespace decant
