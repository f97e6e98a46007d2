#include "services/rpc/server.h"

#include <grpcpp/client_context.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/metrics/names.h"
#include "decant/v1/decode.grpc.pb.h"
#include "services/rpc/call.h"
#include "services/rpc/channel.h"
#include "services/rpc/frame_stream.h"
#include "services/rpc/metrics.h"
#include "services/rpc/reply.h"
#include "services/rpc/stop_signal.h"

namespace decant {
namespace {

absl::Time Soon() { return absl::Now() + absl::Seconds(30); }

class Waiting final : public v1::Decode::CallbackService {
 public:
  grpc::ServerUnaryReactor* Reserve(grpc::CallbackServerContext*, const v1::ReserveRequest*,
                                    v1::ReserveReply* reply) override {
    answer = UnaryAnswer<v1::ReserveReply>::Create(reply);
    answer->OnCancel([this] { answer->Finish(absl::CancelledError("cut off")); });
    started.Notify();
    return answer->reactor();
  }
  std::shared_ptr<UnaryAnswer<v1::ReserveReply>> answer;
  absl::Notification started;
};

// One unary call by name with raw bytes: health needs no generated code here.
absl::StatusOr<std::string> RawUnary(Channels& channels, const std::string& address, const std::string& method) {
  grpc::GenericStub stub(channels.Get(address));
  grpc::ClientContext context;
  context.set_deadline(ToGrpc(Soon()));
  grpc::ByteBuffer request(nullptr, 0);
  grpc::ByteBuffer reply;
  absl::Notification done;
  absl::Status status;
  stub.UnaryCall(&context, method, {}, &request, &reply, [&](grpc::Status s) {
    status = FromGrpc(s);
    done.Notify();
  });
  done.WaitForNotification();
  if (!status.ok()) return status;
  return ToString(reply);
}

constexpr char kHealthCheck[] = "/grpc.health.v1.Health/Check";
const char kServing[] = "\x08\x01";     // HealthCheckResponse{status: SERVING}
const char kNotServing[] = "\x08\x02";  // NOT_SERVING

TEST(ServerTest, FindsAPortAndAnswersHealthAndReflection) {
  auto server = Server::Start({});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ((*server)->address().rfind("127.0.0.1:", 0), 0u);
  EXPECT_NE((*server)->address(), "127.0.0.1:0");
  Channels channels;
  const auto health = RawUnary(channels, (*server)->address(), kHealthCheck);
  ASSERT_TRUE(health.ok()) << health.status();
  EXPECT_EQ(*health, kServing);
  // ServerReflectionRequest{list_services: "*"}; what the answer says is gRPC's.
  auto reflection =
      FrameDownload::Start(channels.Get((*server)->address()),
                           "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "\x3a\x01*", Soon());
  const auto services = reflection->Next();
  EXPECT_TRUE(services.ok() && services->has_value()) << services.status();
  EXPECT_EQ(RawUnary(channels, (*server)->address(), "/none.Such/Method").status().code(),
            absl::StatusCode::kUnimplemented);
}

TEST(ServerTest, RefusesAnAddressOpenToTheNetwork) {
  for (const char* address : {"0.0.0.0:0", "[::]:0", "10.0.0.1:0", "128.0.0.1:0", "example.com:1"}) {
    ServerOptions options;
    options.listen = address;
    EXPECT_EQ(Server::Start(std::move(options)).status().code(), absl::StatusCode::kFailedPrecondition) << address;
  }
  for (const char* address : {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1"}) {
    EXPECT_EQ(CheckLoopback(address).code(), absl::StatusCode::kInvalidArgument) << address;
  }
  for (const char* address : {"127.0.0.1:0", "127.9.9.9:65535", "localhost:1", "[::1]:80"}) {
    EXPECT_TRUE(CheckLoopback(address).ok()) << address;
  }
}

TEST(ServerTest, ReportsATakenPort) {
  auto first = Server::Start({});
  ASSERT_TRUE(first.ok()) << first.status();
  ServerOptions options;
  options.listen = (*first)->address();
  EXPECT_EQ(Server::Start(std::move(options)).status().code(), absl::StatusCode::kUnavailable);
}

TEST(ServerTest, DrainLetsRunningCallsFinish) {
  Waiting service;
  Channels channels;
  Metrics metrics;
  std::string health_in_drain;
  std::unique_ptr<Server> server;
  ServerOptions options;
  options.services = {&service};
  options.metrics = &metrics;
  options.on_drain = [&](absl::Time limit) {
    EXPECT_GT(limit, absl::Now());
    EXPECT_TRUE(server->draining());
    health_in_drain = RawUnary(channels, server->address(), kHealthCheck).value_or("?");
    v1::ReserveReply reply;
    reply.set_ticket(5);
    service.answer->Finish(reply);
  };
  server = *Server::Start(std::move(options));
  auto stub = v1::Decode::NewStub(channels.Get(server->address()));
  absl::StatusOr<v1::ReserveReply> got;
  {
    Calls calls;
    absl::Notification done;
    calls.Unary(stub->async(), &v1::Decode::Stub::async::Reserve, v1::ReserveRequest(), Soon(),
                [&](absl::StatusOr<v1::ReserveReply> reply) {
                  got = std::move(reply);
                  done.Notify();
                });
    service.started.WaitForNotification();
    server->Drain();
    server->Drain();
    done.WaitForNotification();
  }
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->ticket(), 5u);
  EXPECT_EQ(health_in_drain, kNotServing);
  EXPECT_EQ(RawUnary(channels, server->address(), kHealthCheck).status().code(), absl::StatusCode::kUnavailable);
  const std::string text = metrics.Render();
  EXPECT_NE(text.find("decant_process_draining 1"), std::string::npos) << text;
  EXPECT_NE(text.find("decant_rpcs_handled_total{code=\"OK\",method=\"Decode.Reserve\"} 1"), std::string::npos) << text;
  EXPECT_NE(text.find("decant_rpc_seconds_count{method=\"Decode.Reserve\"} 1"), std::string::npos) << text;
}

TEST(ServerTest, DrainCutsCallsOffAtItsLimit) {
  Waiting service;
  Channels channels;
  ServerOptions options;
  options.services = {&service};
  options.drain_limit = absl::Milliseconds(50);
  auto server = *Server::Start(std::move(options));
  auto stub = v1::Decode::NewStub(channels.Get(server->address()));
  absl::Status status;
  Calls calls;
  absl::Notification done;
  calls.Unary(stub->async(), &v1::Decode::Stub::async::Reserve, v1::ReserveRequest(), Soon(),
              [&](const absl::StatusOr<v1::ReserveReply>& reply) {
                status = reply.status();
                done.Notify();
              });
  service.started.WaitForNotification();
  server->Drain();
  done.WaitForNotification();
  EXPECT_FALSE(status.ok());
}

TEST(StopSignalTest, SeesASignalAndARequest) {
  for (const int number : {SIGTERM, SIGINT}) {
    auto stop = StopSignal::Create();
    ASSERT_TRUE(stop.ok()) << stop.status();
    EXPECT_FALSE((*stop)->Wait(absl::Now() + absl::Milliseconds(5)));
    EXPECT_EQ(StopSignal::Create().status().code(), absl::StatusCode::kAlreadyExists);
    std::thread waiter([&] { EXPECT_TRUE((*stop)->Wait(Soon())); });
    raise(number);
    EXPECT_TRUE((*stop)->Wait(Soon()));
    waiter.join();
  }
  auto stop = StopSignal::Create();
  ASSERT_TRUE(stop.ok()) << stop.status();
  (*stop)->Request();
  EXPECT_TRUE((*stop)->Wait());
}

TEST(StopSignalTest, EndsTheProcessAtTheSecondSignal) {
  const auto twice = [] {
    auto stop = StopSignal::Create();
    raise(SIGTERM);
    raise(SIGTERM);
  };
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(twice(), ::testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace decant
