#include "common/kv/reject_reason.h"

#include "absl/strings/cord.h"

namespace decant {
namespace {

constexpr char kPayload[] = "decant/reject_reason";

}  // namespace

absl::Status WithRejectReason(absl::Status status, absl::string_view reason) {
  status.SetPayload(kPayload, absl::Cord(reason));
  return status;
}

absl::string_view RejectReasonOf(const absl::Status& status) {
  const auto found = status.GetPayload(kPayload);
  for (const absl::string_view reason : kRejectReasons) {
    if (found.has_value() && *found == reason) return reason;
  }
  return "other";
}

}  // namespace decant
