#include "services/rpc/status_edge.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/time/clock.h"

namespace decant {
namespace {

TEST(StatusEdgeTest, KeepsEveryCodeAndTheMessageBothWays) {
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), code == 0 ? "" : "page 7 of 9 is missing");
    EXPECT_EQ(static_cast<int>(ToGrpc(status).error_code()), code);
    EXPECT_EQ(FromGrpc(ToGrpc(status)), status);
  }
}

TEST(StatusEdgeTest, CallsACodeItDoesNotKnowUnknown) {
  const absl::Status status = FromGrpc(grpc::Status(static_cast<grpc::StatusCode>(17), "strange"));
  EXPECT_EQ(status, absl::UnknownError("strange"));
  EXPECT_EQ(FromGrpc(grpc::Status(grpc::StatusCode::DO_NOT_USE, "")).code(), absl::StatusCode::kUnknown);
}

TEST(StatusEdgeTest, CutsALongMessageAtACharacter) {
  const std::string fits(kStatusMessageBytes, 'a');
  EXPECT_EQ(ToGrpc(absl::InternalError(fits)).error_message(), fits);
  std::string umlauts = "a";
  while (umlauts.size() <= kStatusMessageBytes) umlauts += "\xc3\xbc";
  const std::string cut = ToGrpc(absl::InternalError(umlauts)).error_message();
  EXPECT_LE(cut.size(), kStatusMessageBytes);
  EXPECT_EQ(cut.substr(cut.size() - 5), "\xc3\xbc...");
}

TEST(StatusEdgeTest, CutsAMessageThatIsNoTextWithoutFail) {
  EXPECT_EQ(ToGrpc(absl::InternalError(std::string(5000, '\x80'))).error_message(), "...");
}

TEST(StatusEdgeTest, KeepsAnInfiniteDeadlineInfinite) {
  EXPECT_EQ(ToGrpc(absl::InfiniteFuture()), std::chrono::system_clock::time_point::max());
  EXPECT_EQ(ToGrpc(absl::FromUnixSeconds(5)), std::chrono::system_clock::from_time_t(5));
}

TEST(StatusEdgeTest, AnErrorIsNeverOk) {
  EXPECT_EQ(AsError(absl::OkStatus()).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(AsError(absl::NotFoundError("x")), absl::NotFoundError("x"));
}

}  // namespace
}  // namespace decant
