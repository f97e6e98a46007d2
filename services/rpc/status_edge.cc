#include "services/rpc/status_edge.h"

#include <grpcpp/support/status_code_enum.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"

namespace decant {
namespace {

#define DECANT_SAME_CODE(absl_code, grpc_code) \
  static_assert(static_cast<int>(absl::StatusCode::absl_code) == static_cast<int>(grpc::StatusCode::grpc_code))
DECANT_SAME_CODE(kOk, OK);
DECANT_SAME_CODE(kCancelled, CANCELLED);
DECANT_SAME_CODE(kUnknown, UNKNOWN);
DECANT_SAME_CODE(kInvalidArgument, INVALID_ARGUMENT);
DECANT_SAME_CODE(kDeadlineExceeded, DEADLINE_EXCEEDED);
DECANT_SAME_CODE(kNotFound, NOT_FOUND);
DECANT_SAME_CODE(kAlreadyExists, ALREADY_EXISTS);
DECANT_SAME_CODE(kPermissionDenied, PERMISSION_DENIED);
DECANT_SAME_CODE(kResourceExhausted, RESOURCE_EXHAUSTED);
DECANT_SAME_CODE(kFailedPrecondition, FAILED_PRECONDITION);
DECANT_SAME_CODE(kAborted, ABORTED);
DECANT_SAME_CODE(kOutOfRange, OUT_OF_RANGE);
DECANT_SAME_CODE(kUnimplemented, UNIMPLEMENTED);
DECANT_SAME_CODE(kInternal, INTERNAL);
DECANT_SAME_CODE(kUnavailable, UNAVAILABLE);
DECANT_SAME_CODE(kDataLoss, DATA_LOSS);
DECANT_SAME_CODE(kUnauthenticated, UNAUTHENTICATED);
#undef DECANT_SAME_CODE

std::string Shortened(absl::string_view message) {
  if (message.size() <= kStatusMessageBytes) return std::string(message);
  size_t end = kStatusMessageBytes - 3;
  while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xc0u) == 0x80u) --end;
  return absl::StrCat(message.substr(0, end), "...");
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), Shortened(status.message()));
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = status.error_code();
  const bool known = code > 0 && code <= static_cast<int>(absl::StatusCode::kUnauthenticated);
  return absl::Status(known ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kUnknown, status.error_message());
}

absl::Status AsError(const absl::Status& status) {
  return status.ok() ? absl::InternalError("a call ended without an error and without an answer") : status;
}

std::chrono::system_clock::time_point ToGrpc(absl::Time deadline) {
  if (deadline == absl::InfiniteFuture()) return std::chrono::system_clock::time_point::max();
  return absl::ToChronoTime(deadline);
}

absl::Time DeadlineOf(const grpc::ServerContextBase& context, absl::Duration at_most) {
  const absl::Time latest = absl::Now() + at_most;
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return latest;
  return std::min(latest, absl::FromChrono(deadline));
}

}  // namespace decant
