// The one place where absl::Status meets grpc::Status, and absl::Time meets gRPC deadlines.
#ifndef DECANT_SERVICES_RPC_STATUS_EDGE_H_
#define DECANT_SERVICES_RPC_STATUS_EDGE_H_

#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <chrono>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace decant {

// The same code and message. Messages travel in HTTP/2 trailers, so one longer than kStatusMessageBytes is cut at a
// UTF-8 border and ends in "...".
inline constexpr size_t kStatusMessageBytes = 1024;
grpc::Status ToGrpc(const absl::Status& status);

// The same code and message; a code gRPC does not define becomes UNKNOWN.
absl::Status FromGrpc(const grpc::Status& status);

// `status` where only an error makes sense, as in place of a missing value: an OK one, which would end the process
// inside StatusOr, becomes INTERNAL.
absl::Status AsError(const absl::Status& status);

// InfiniteFuture stays infinite.
std::chrono::system_clock::time_point ToGrpc(absl::Time deadline);

// When the caller stops waiting, or `at_most` from now when that is sooner: no call waits for ever.
absl::Time DeadlineOf(const grpc::ServerContextBase& context, absl::Duration at_most = absl::Seconds(300));

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_STATUS_EDGE_H_
