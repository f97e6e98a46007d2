// The router's edge: real sockets, a fake pool and fake workers.
#include "services/router/router_rpc.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/services/router/fake_fleet.h"
#include "tests/services/router/router_rig.h"

namespace decant {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

struct Reply {
  std::optional<v1::Started> started;
  std::string text;
  std::vector<int32_t> tokens;
  std::optional<v1::Finished> finished;
  grpc::Status status;
};

class RouterRpcTest : public ::testing::Test {
 protected:
  ~RouterRpcTest() override {
    // Workers end last: what the router has open is cancelled first, as when a process ends.
    if (server_ != nullptr) server_.reset();
    node_.reset();
  }

  void StartPool() {
    ServerOptions options;
    options.services = {&pool_service_};
    pool_ = *Server::Start(options);
  }
  void StartRouter(RouterLimits limits = RouterRig::SmallLimits(), size_t pieces_behind = 1024) {
    RouterNodeOptions options;
    options.model = LetterModel();
    options.model.max_positions = 2000;
    options.limits = limits;
    options.pool = pool_ == nullptr ? "127.0.0.1:1" : pool_->address();  // nobody listens on port 1
    options.pieces_behind = pieces_behind;
    node_ = std::make_unique<RouterNode>(options, metrics_);
    ServerOptions server;
    server.services = {node_.get()};
    server.on_drain = [this](absl::Time limit) { node_->DrainUntil(limit); };
    server_ = *Server::Start(server);
    stub_ = v1::Generation::NewStub(grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  }
  FakeWorker& AddWorker(v1::WorkerKind kind) {
    workers_.push_back(std::make_unique<FakeWorker>(LetterModel(), kind, seen_, script_));
    EXPECT_TRUE(Register(workers_.back()->address(), kind).ok());
    return *workers_.back();
  }
  void StartAll() {
    StartPool();
    StartRouter();
    AddWorker(v1::WORKER_KIND_PREFILL);
    AddWorker(v1::WORKER_KIND_DECODE);
  }

  grpc::Status Register(const std::string& address, v1::WorkerKind kind) {
    v1::RegisterRequest request;
    request.set_address(address);
    request.set_kind(kind);
    v1::RegisterReply reply;
    grpc::ClientContext context;
    return stub_->Register(&context, request, &reply);
  }
  static v1::GenerateRequest Prompt(const std::string& text, int max_tokens) {
    v1::GenerateRequest request;
    request.set_text(text);
    request.set_max_tokens(max_tokens);
    return request;
  }
  Reply Generate(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    return Generate(request, context);
  }
  Reply Generate(const v1::GenerateRequest& request, grpc::ClientContext& context) {
    Reply reply;
    const auto stream = stub_->Generate(&context, request);
    v1::GenerateEvent event;
    while (stream->Read(&event)) {
      if (event.has_started()) reply.started = event.started();
      if (event.has_piece()) {
        EXPECT_EQ(event.piece().index(), static_cast<int64_t>(reply.tokens.size()));
        reply.text += event.piece().text();
        reply.tokens.insert(reply.tokens.end(), event.piece().tokens().begin(), event.piece().tokens().end());
      }
      if (event.has_finished()) reply.finished = event.finished();
    }
    reply.status = stream->Finish();
    return reply;
  }
  grpc::StatusCode CodeOf(const v1::GenerateRequest& request) { return Generate(request).status.error_code(); }

  Script script_;
  Seen seen_;
  FakePool pool_service_{seen_};
  Metrics metrics_;
  std::unique_ptr<Server> pool_;
  std::vector<std::unique_ptr<FakeWorker>> workers_;
  std::unique_ptr<RouterNode> node_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::Generation::Stub> stub_;
};

TEST_F(RouterRpcTest, StreamsAnAnswerAndExplainsIt) {
  StartAll();
  v1::GenerateRequest request = Prompt("hello", 5);
  request.set_request_id("r1");
  const Reply reply = Generate(request);
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  EXPECT_EQ(reply.started->profile(), "k8v4");
  EXPECT_EQ(reply.text, "fghij");
  EXPECT_EQ(reply.finished->finish_reason(), "length");
  EXPECT_EQ(reply.finished->output_tokens(), 5);
  EXPECT_EQ(reply.finished->kv().resident(), 100);
  EXPECT_TRUE(Seen::Wait([&] { return seen_.leases_released == 1 && seen_.reports == 1; }));
  EXPECT_EQ(seen_.tickets_released, 0);

  v1::ExplainRequest explain;
  explain.set_request_id("r1");
  v1::ExplainReply story;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Explain(&context, explain, &story).ok());
  EXPECT_EQ(story.state(), "finished");
  EXPECT_EQ(story.reason(), "the fake pool likes it");
  EXPECT_EQ(story.prompt_tokens(), 5);
  EXPECT_GT(story.hops_size(), 4);
  EXPECT_THAT(metrics_.Render(), HasSubstr("decant_requests_finished_total{outcome=\"length\"} 1"));
  EXPECT_THAT(metrics_.Render(), HasSubstr("decant_workers_known{kind=\"decode\"} 1"));
}

TEST_F(RouterRpcTest, CancelReachesBothWorkers) {
  script_.hold_prefill = true;
  script_.tokens = 3;
  StartAll();
  grpc::ClientContext context;
  std::thread client([&] { EXPECT_EQ(Generate(Prompt("hello", 8), context).status.error_code(), grpc::CANCELLED); });
  EXPECT_TRUE(Seen::Wait([&] { return seen_.prefills == 1 && seen_.streams == 1; }));
  context.TryCancel();
  client.join();
  EXPECT_TRUE(Seen::Wait([&] {
    return seen_.prefills_cancelled == 1 && seen_.streams_cancelled == 1 && seen_.tickets_released == 1 &&
           seen_.leases_released == 1;
  }));
}

TEST_F(RouterRpcTest, AClientsDeadlineReachesBothWorkers) {
  script_.hold_prefill = true;
  script_.tokens = 3;
  StartAll();
  grpc::ClientContext context;
  std::thread client([&] {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(2));
    EXPECT_EQ(Generate(Prompt("hello", 8), context).status.error_code(), grpc::DEADLINE_EXCEEDED);
  });
  client.join();
  EXPECT_TRUE(Seen::Wait([&] { return seen_.prefills_cancelled == 1 && seen_.streams_cancelled == 1; }));
}

TEST_F(RouterRpcTest, TheRoutersOwnDeadlineEndsARequest) {
  script_.tokens = 3;
  RouterLimits limits = RouterRig::SmallLimits();
  limits.request = absl::Seconds(1);
  StartPool();
  StartRouter(limits);
  AddWorker(v1::WORKER_KIND_PREFILL);
  AddWorker(v1::WORKER_KIND_DECODE);
  const Reply reply = Generate(Prompt("hello", 8));
  EXPECT_EQ(reply.status.error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_THAT(reply.status.error_message(), HasSubstr("3 of 8 tokens"));
  EXPECT_TRUE(Seen::Wait([&] { return seen_.streams_cancelled == 1; }));
}

TEST_F(RouterRpcTest, AStreamGoesOnWhenItsDecodeWorkerDies) {
  script_.tokens = 3;
  StartAll();
  FakeWorker& second = AddWorker(v1::WORKER_KIND_DECODE);
  std::thread killer([&] {
    EXPECT_TRUE(Seen::Wait([&] { return seen_.streams == 1; }));
    script_.tokens = 1 << 30;
    // Whichever of the two has the stream: the other one goes on.
    v1::ExplainRequest explain;
    explain.set_request_id("r1");
    v1::ExplainReply story;
    grpc::ClientContext context;
    EXPECT_TRUE(stub_->Explain(&context, explain, &story).ok());
    (story.decode_worker() == second.address() ? second : *workers_[1]).Kill();
  });
  v1::GenerateRequest request = Prompt("hello", 8);
  request.set_request_id("r1");
  const Reply reply = Generate(request);
  killer.join();
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  EXPECT_EQ(reply.text, "fghijklm");
}

TEST_F(RouterRpcTest, ALoneDecodeWorkerThatDiesIsUnavailable) {
  script_.tokens = 3;
  StartAll();
  std::thread killer([&] {
    EXPECT_TRUE(Seen::Wait([&] { return seen_.streams == 1; }));
    workers_[1]->Kill();
  });
  const Reply reply = Generate(Prompt("hello", 8));
  killer.join();
  EXPECT_EQ(reply.status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(reply.text, "fgh");
  EXPECT_THAT(reply.status.error_message(), HasSubstr("of 8 tokens"));
}

TEST_F(RouterRpcTest, APoolThatIsDownCostsOnlyReuse) {
  StartRouter();
  AddWorker(v1::WORKER_KIND_PREFILL);
  AddWorker(v1::WORKER_KIND_DECODE);
  const Reply reply = Generate(Prompt("hello", 5));
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  EXPECT_EQ(reply.text, "fghij");
  EXPECT_EQ(reply.started->profile(), "full");
  EXPECT_THAT(reply.started->reason(), HasSubstr("pool"));
}

TEST_F(RouterRpcTest, RefusesAWorkerOfAnotherModel) {
  StartRouter();
  RouterModel other = LetterModel();
  other.fingerprint = Sha256("another");
  other.name = "stranger";
  FakeWorker worker(other, v1::WORKER_KIND_PREFILL, seen_, script_);
  const grpc::Status status = Register(worker.address(), v1::WORKER_KIND_PREFILL);
  EXPECT_EQ(status.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), AllOf(HasSubstr("'stranger'"), HasSubstr("'letters'")));
}

TEST_F(RouterRpcTest, RefusesWorkersThatAreNotWhatTheySay) {
  StartRouter();
  FakeWorker worker(LetterModel(), v1::WORKER_KIND_PREFILL, seen_, script_);
  EXPECT_EQ(Register(worker.address(), v1::WORKER_KIND_DECODE).error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(Register(worker.address(), v1::WORKER_KIND_UNSPECIFIED).error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(Register("nonsense", v1::WORKER_KIND_PREFILL).error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(Register("127.0.0.1:1", v1::WORKER_KIND_PREFILL).error_code(), grpc::UNAVAILABLE);
  EXPECT_TRUE(Register(worker.address(), v1::WORKER_KIND_PREFILL).ok());
  EXPECT_TRUE(Register(worker.address(), v1::WORKER_KIND_PREFILL).ok());
}

TEST_F(RouterRpcTest, AnswersBadRequestsAndLivesOn) {
  StartAll();
  EXPECT_EQ(CodeOf(v1::GenerateRequest()), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(CodeOf(Prompt("", 5)), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(CodeOf(Prompt("hello", 5000)), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(CodeOf(Prompt("hello", -1)), grpc::INVALID_ARGUMENT);
  v1::GenerateRequest request = Prompt("hello", 5);
  request.set_profile("zip");
  EXPECT_EQ(CodeOf(request), grpc::NOT_FOUND);
  request = Prompt("hello", 5);
  request.set_fidelity_floor(1.5);
  EXPECT_EQ(CodeOf(request), grpc::INVALID_ARGUMENT);
  request = Prompt("hello", 5);
  request.mutable_token_ids()->add_ids(-1);
  EXPECT_EQ(CodeOf(request), grpc::INVALID_ARGUMENT);
  const grpc::Status not_utf8 = Generate(Prompt("a\xff", 5)).status;
  EXPECT_EQ(not_utf8.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(not_utf8.error_message(), HasSubstr("byte 1"));
  EXPECT_EQ(CodeOf(Prompt("hello", 5)), grpc::OK);
  EXPECT_THAT(metrics_.Render(), HasSubstr("decant_requests_finished_total{outcome=\"refused\"} 8"));
}

TEST_F(RouterRpcTest, OverloadIsAnAnswer) {
  script_.tokens = 3;
  RouterLimits limits = RouterRig::SmallLimits();
  limits.most_running = 1;
  StartPool();
  StartRouter(limits);
  AddWorker(v1::WORKER_KIND_PREFILL);
  AddWorker(v1::WORKER_KIND_DECODE);
  grpc::ClientContext context;
  std::thread client([&] { Generate(Prompt("hello", 8), context); });
  EXPECT_TRUE(Seen::Wait([&] { return seen_.streams == 1; }));
  EXPECT_EQ(CodeOf(Prompt("hello", 8)), grpc::RESOURCE_EXHAUSTED);
  context.TryCancel();
  client.join();
}

TEST_F(RouterRpcTest, AClientThatDoesNotKeepUpIsLetGo) {
  script_.hold_prefill = true;
  StartPool();
  StartRouter(RouterRig::SmallLimits(), /*pieces_behind=*/0);
  AddWorker(v1::WORKER_KIND_PREFILL);
  AddWorker(v1::WORKER_KIND_DECODE);
  EXPECT_EQ(CodeOf(Prompt("hello", 1000)), grpc::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Seen::Wait([&] { return seen_.tickets_released == 1 && seen_.leases_released == 1; }));
  EXPECT_THAT(metrics_.Render(), HasSubstr("decant_requests_finished_total{outcome=\"cancelled\"} 1"));
}

TEST_F(RouterRpcTest, DrainLetsRunningRequestsEnd) {
  script_.hold_prefill = true;  // the request ends when its numbers have been waited for
  StartAll();
  Reply reply;
  std::thread client([&] { reply = Generate(Prompt("hello", 5)); });
  EXPECT_TRUE(Seen::Wait([&] { return seen_.streams == 1; }));
  node_->DrainUntil(absl::Now() + absl::Milliseconds(1));
  EXPECT_EQ(CodeOf(Prompt("hello", 5)), grpc::UNAVAILABLE);
  client.join();
  EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
  EXPECT_EQ(reply.text, "fghij");
}

}  // namespace
}  // namespace decant
