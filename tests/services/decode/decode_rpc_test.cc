#include "services/decode/decode_rpc.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "services/rpc/call.h"
#include "services/rpc/channel.h"
#include "services/rpc/worker_links.h"
#include "services/rpc/worker_rpc.h"
#include "tests/services/decode/fake_batch.h"

namespace decant {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;

// Keeps the answers of a server back between the service and the wire.
class HeldAnswers {
 public:
  ~HeldAnswers() { LetGo(); }
  void Hold(InterceptorBatchMethods* answer) {
    absl::MutexLock lock(&mutex_);
    held_.push_back(answer);
  }
  bool any() {
    absl::MutexLock lock(&mutex_);
    return !held_.empty();
  }
  void LetGo() {
    std::vector<InterceptorBatchMethods*> held;
    {
      absl::MutexLock lock(&mutex_);
      held.swap(held_);
    }
    for (InterceptorBatchMethods* answer : held) answer->Proceed();
  }

 private:
  absl::Mutex mutex_;
  std::vector<InterceptorBatchMethods*> held_;
};

class Holder final : public Interceptor {
 public:
  explicit Holder(HeldAnswers& answers) : answers_(answers) {}
  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) return answers_.Hold(methods);
    methods->Proceed();
  }

 private:
  HeldAnswers& answers_;
};

class HolderFactory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit HolderFactory(HeldAnswers& answers) : answers_(answers) {}
  Interceptor* CreateServerInterceptor(grpc::experimental::ServerRpcInfo*) override { return new Holder(answers_); }

 private:
  HeldAnswers& answers_;
};

class DecodeRpcTest : public ::testing::Test {
 protected:
  DecodeRpcTest() {
    record_.pages = 100;
    DecodeCoreOptions options;
    options.model = Sha256("model");
    options.geometry = kGeometry;
    options.run_type = RunType::kF32;
    options.max_positions = 1000;
    options.catalogue = *Catalogue::BuiltIn();
    // Time stands still: no ticket can be let go by its limit.
    options.now = [] { return absl::UnixEpoch(); };
    core_ = std::make_unique<Decode>(std::make_unique<FakeBatch>(record_), std::move(options));
    service_ = std::make_unique<DecodeService>(*core_, links_, TransferServeOptions());
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service_.get());
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
    interceptors.push_back(std::make_unique<HolderFactory>(held_));
    builder.experimental().SetInterceptorCreators(std::move(interceptors));
    server_ = builder.BuildAndStart();
    stub_ = v1::Decode::NewStub(channels_.Get(absl::StrCat("127.0.0.1:", port)));
  }

  // The engine runs on this thread.
  bool RunUntil(const std::function<bool()>& reached) {
    for (const absl::Time limit = absl::Now() + absl::Seconds(60); absl::Now() < limit;) {
      core_->RunOnce();
      if (reached()) return true;
      absl::SleepFor(absl::Milliseconds(1));
    }
    return false;
  }
  Call Reserve(absl::Duration limit) {
    v1::ReserveRequest request;
    *request.mutable_model() = ToProto(ServedModel{Sha256("model"), kGeometry, RunType::kF32, 1000, "tiny"});
    request.set_prompt_tokens(10);
    request.set_max_tokens(5);
    request.set_profile("full");
    return calls_.Unary(stub_->async(), &v1::Decode::Stub::async::Reserve, request, absl::Now() + limit,
                        [this](absl::StatusOr<v1::ReserveReply> reply) {
                          status_ = reply.status();
                          ended_.Notify();
                        });
  }

  static constexpr Geometry kGeometry{2, 4, 2, 64};
  FakeBatch::Record record_;
  std::unique_ptr<Decode> core_;
  Channels links_channels_;
  WorkerLinks links_{links_channels_, {}, {"decode", "here"}};
  std::unique_ptr<DecodeService> service_;
  HeldAnswers held_;
  std::unique_ptr<grpc::Server> server_;
  Channels channels_;
  std::unique_ptr<v1::Decode::Stub> stub_;
  absl::Status status_;
  absl::Notification ended_;
  Calls calls_;
};

TEST_F(DecodeRpcTest, AClientGoneBetweenGrantAndAnswerLeavesNoPageBehind) {
  const Call call = Reserve(absl::Seconds(60));
  ASSERT_TRUE(RunUntil([&] { return held_.any(); }));
  EXPECT_EQ(record_.reserved, 15);
  call.Cancel();
  EXPECT_TRUE(RunUntil([&] { return record_.reserved == 0; }));
  held_.LetGo();
  ended_.WaitForNotification();
  EXPECT_EQ(status_.code(), absl::StatusCode::kCancelled);
}

TEST_F(DecodeRpcTest, ADeliveredTicketKeepsItsPages) {
  Reserve(absl::Seconds(60));
  ASSERT_TRUE(RunUntil([&] { return held_.any(); }));
  held_.LetGo();
  ended_.WaitForNotification();
  EXPECT_TRUE(status_.ok()) << status_;
  server_->Shutdown();  // every reaction has run when it returns
  server_->Wait();
  core_->RunOnce();
  EXPECT_EQ(record_.reserved, 15);
}

}  // namespace
}  // namespace decant
