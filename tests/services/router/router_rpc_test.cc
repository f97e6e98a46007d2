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

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "services/rpc/status_edge.h"
#include "services/rpc/tenant_rpc.h"
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
    if (!pool_address_.empty()) options.pool = pool_address_;
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
  std::string pool_address_;  // instead of pool_'s
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

// ---- tenants.

class RouterTenantsTest : public RouterRpcTest {
 protected:
  void StartAllWithSecret(const std::string& secret = "a secret of 32 random characters") {
    RouterLimits limits = RouterRig::SmallLimits();
    limits.tenant_secret = secret;
    StartPool();
    StartRouter(limits);
    AddWorker(v1::WORKER_KIND_PREFILL);
    AddWorker(v1::WORKER_KIND_DECODE);
  }
  Reply GenerateAs(const std::string& tenant, const std::string& request_id) {
    grpc::ClientContext context;
    NameTenant(tenant, context);
    v1::GenerateRequest request = Prompt("hello world", 5);
    request.set_request_id(request_id);
    return Generate(request, context);
  }
  grpc::Status ExplainAs(const std::string& tenant, const std::string& request_id) {
    grpc::ClientContext context;
    NameTenant(tenant, context);
    v1::ExplainRequest request;
    request.set_request_id(request_id);
    v1::ExplainReply reply;
    return stub_->Explain(&context, request, &reply);
  }
  v1::PlanRequest LastPlan() {
    absl::MutexLock lock(&seen_.mutex);
    return seen_.last_plan;
  }
  absl::StatusOr<v1::HintReply> HintAs(const std::string& tenant, const std::string& envelope) {
    grpc::ClientContext context;
    NameTenant(tenant, context);
    v1::HintRequest request;
    request.set_envelope(envelope);
    v1::HintReply reply;
    const grpc::Status status = stub_->Hint(&context, request, &reply);
    if (!status.ok()) return FromGrpc(status);
    return reply;
  }
  static std::string Envelope(const std::string& actions) {
    return absl::StrCat(R"({"protocol_version": "0.1", "message_id": "m7", "actions": [)", actions, "]}");
  }
  static std::string Action(const std::string& id, const std::string& type, const std::string& payload) {
    return absl::StrCat(R"({"action_id": ")", id, R"(", "action_type": ")", type,
                        R"(", "action_version": "0.1", "payload": )", payload, "}");
  }
};

TEST_F(RouterTenantsTest, EqualPromptsOfTwoTenantsHaveDifferentKeys) {
  StartAllWithSecret();
  ASSERT_TRUE(GenerateAs("a", "r1").status.ok());
  const v1::PlanRequest a = LastPlan();
  ASSERT_TRUE(GenerateAs("b", "r2").status.ok());
  const v1::PlanRequest b = LastPlan();
  ASSERT_TRUE(GenerateAs("a", "r3").status.ok());
  const v1::PlanRequest again = LastPlan();
  EXPECT_EQ(a.tenant(), "a");
  EXPECT_EQ(b.tenant(), "b");
  ASSERT_EQ(a.chunk_keys_size(), 2);
  for (int i = 0; i < 2; ++i) {
    EXPECT_NE(a.chunk_keys(i), b.chunk_keys(i));
    EXPECT_EQ(a.chunk_keys(i), again.chunk_keys(i));
  }
}

// Who knows names and prompts, but not the secret, cannot make keys.
TEST_F(RouterTenantsTest, KeysDependOnTheSecret) {
  const auto key_with = [](const std::string& secret) {
    RouterLimits limits = RouterRig::SmallLimits();
    limits.tenant_secret = secret;
    RouterRig rig(limits);
    return rig.router.KeysOf("a", LetterTokenizer::Ids("hello"))->at(0);
  };
  EXPECT_NE(key_with("one secret of a router"), key_with("another secret of one"));
  EXPECT_EQ(key_with("one secret of a router"), key_with("one secret of a router"));
  EXPECT_NE(key_with("one secret of a router"), key_with(""));
}

TEST_F(RouterTenantsTest, AnothersRequestIsOneThatNeverWas) {
  StartAllWithSecret();
  ASSERT_TRUE(GenerateAs("a", "r1").status.ok());
  EXPECT_TRUE(ExplainAs("a", "r1").ok());
  for (const char* other : {"b", ""}) {
    const grpc::Status status = ExplainAs(other, "r1");
    const grpc::Status never = ExplainAs(other, "r9");
    EXPECT_EQ(status.error_code(), grpc::NOT_FOUND);
    EXPECT_EQ(absl::StrReplaceAll(status.error_message(), {{"r1", "r9"}}), never.error_message());
  }
  // Ids are each tenant's own: another's running request is in nobody's way.
  EXPECT_TRUE(GenerateAs("b", "r1").status.ok());
}

TEST_F(RouterTenantsTest, WithoutASecretThereIsOneTenant) {
  StartAllWithSecret("");
  EXPECT_TRUE(GenerateAs("", "r1").status.ok());
  const Reply refused = GenerateAs("a", "r2");
  EXPECT_EQ(refused.status.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_THAT(refused.status.error_message(), HasSubstr("--tenant-secret"));
  EXPECT_EQ(ExplainAs("a", "r1").error_code(), grpc::FAILED_PRECONDITION);
}

TEST_F(RouterTenantsTest, NamesThatAreNoneAreRefused) {
  StartAllWithSecret();
  EXPECT_EQ(GenerateAs("a b", "r1").status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(GenerateAs(std::string(129, 'a'), "r1").status.error_code(), grpc::INVALID_ARGUMENT);
  grpc::ClientContext context;
  NameTenant("a", context);
  NameTenant("b", context);
  EXPECT_EQ(Generate(Prompt("hello", 2), context).status.error_code(), grpc::INVALID_ARGUMENT);
}

TEST_F(RouterTenantsTest, HintsReachThePoolWithKeysAndBringReceipts) {
  StartAllWithSecret();
  ASSERT_TRUE(GenerateAs("a", "r1").status.ok());
  const auto reply = HintAs(
      "a", Envelope(absl::StrCat(
               Action("1", "kv.retain", R"({"text": "hello world", "priority": 80, "duration_ms": 1000})"), ",",
               Action("2", "kv.fetch", R"({"text": "hello world"})"), ",",
               Action("3", "demote", R"({"text": "hello world", "expires_at_ms": 1000})"), ",",
               Action("4", "release", R"({"text": "he"})"), ",", Action("5", "release", R"({"token_ids": [999999]})"),
               ",", Action("6", "compress", R"({"text": "hello world", "profile": "k4v2"})"))));
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->message_id(), "m7");
  ASSERT_EQ(reply->receipts_size(), 6);
  const auto& receipts = reply->receipts();
  for (int i = 0; i < 6; ++i) EXPECT_EQ(receipts[i].action_id(), absl::StrCat(i + 1));
  EXPECT_EQ(receipts[0].outcome(), v1::HINT_OUTCOME_EXECUTED);
  EXPECT_EQ(receipts[0].action_type(), "kv.retain");
  EXPECT_EQ(receipts[0].chunks(), 2);
  for (int i = 1; i < 5; ++i) EXPECT_EQ(receipts[i].outcome(), v1::HINT_OUTCOME_REFUSED) << i;
  EXPECT_THAT(receipts[1].reason(), HasSubstr("unknown"));
  EXPECT_THAT(receipts[2].reason(), HasSubstr("expired"));
  EXPECT_THAT(receipts[3].reason(), HasSubstr("one chunk"));
  EXPECT_THAT(receipts[4].reason(), HasSubstr("999999"));
  EXPECT_EQ(receipts[5].outcome(), v1::HINT_OUTCOME_EXECUTED);
  absl::MutexLock lock(&seen_.mutex);
  EXPECT_EQ(seen_.last_hint.tenant(), "a");
  ASSERT_EQ(seen_.last_hint.hints_size(), 2);
  EXPECT_EQ(seen_.last_hint.hints(0).kind(), v1::HINT_KIND_RETAIN);
  EXPECT_EQ(seen_.last_hint.hints(0).priority(), 80);
  EXPECT_EQ(seen_.last_hint.hints(1).profile(), "k4v2");
  // The very keys that requests are looked up with.
  ASSERT_EQ(seen_.last_hint.hints(0).keys_size(), seen_.last_plan.chunk_keys_size());
  for (int i = 0; i < 2; ++i) EXPECT_EQ(seen_.last_hint.hints(0).keys(i), seen_.last_plan.chunk_keys(i));
}

TEST_F(RouterTenantsTest, WhatIsNoEnvelopeIsInvalid) {
  StartAllWithSecret();
  EXPECT_EQ(HintAs("", "{").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(HintAs("a b", Envelope("")).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(HintAs("", Envelope(""))->receipts_size(), 0);
}

TEST_F(RouterTenantsTest, HintsWithoutWorkersOrPoolAreAnswered) {
  StartRouter();
  const std::string envelope = Envelope(Action("1", "demote", R"({"text": "hello world"})"));
  const auto early = HintAs("", envelope);
  ASSERT_TRUE(early.ok()) << early.status();
  EXPECT_THAT(early->receipts(0).reason(), HasSubstr("no worker"));
  AddWorker(v1::WORKER_KIND_PREFILL);
  EXPECT_EQ(HintAs("", envelope).status().code(),
            absl::StatusCode::kUnavailable);  // nobody answers at the pool's place
}

TEST_F(RouterTenantsTest, WorkflowsReachThePoolWithKeysInsteadOfPrompts) {
  StartAllWithSecret();
  ASSERT_TRUE(GenerateAs("a", "r1").status.ok());
  v1::WorkflowRequest request;
  request.mutable_update()->set_client("c");
  request.mutable_update()->set_version(1);
  request.mutable_update()->set_tenant("b");  // is not believed
  v1::WorkflowUpdate::Agent& agent = *request.mutable_update()->mutable_graph()->add_agents();
  agent.set_name("writer");
  agent.add_prefix_keys("neither is this");
  request.add_prompts()->set_agent("writer");
  request.mutable_prompts(0)->set_text("hello world");
  const auto send = [&](v1::WorkflowReply& reply) {
    grpc::ClientContext context;
    NameTenant("a", context);
    return stub_->UpdateWorkflow(&context, request, &reply);
  };
  v1::WorkflowReply reply;
  const grpc::Status sent = send(reply);
  ASSERT_TRUE(sent.ok()) << sent.error_message();
  EXPECT_EQ(reply.chunks_ready(), 3);
  {
    absl::MutexLock lock(&seen_.mutex);
    EXPECT_EQ(seen_.last_workflow.tenant(), "a");
    ASSERT_EQ(seen_.last_workflow.graph().agents(0).prefix_keys_size(), seen_.last_plan.chunk_keys_size());
    for (int i = 0; i < seen_.last_plan.chunk_keys_size(); ++i) {
      EXPECT_EQ(seen_.last_workflow.graph().agents(0).prefix_keys(i), seen_.last_plan.chunk_keys(i));
    }
  }
  request.mutable_prompts(0)->set_agent("reader");
  EXPECT_EQ(send(reply).error_code(), grpc::INVALID_ARGUMENT);
  request.clear_prompts();
  request.mutable_update()->set_client("stranger");
  EXPECT_EQ(send(reply).error_code(), grpc::NOT_FOUND);
}

// Two shards with leases of equal numbers: every one is given back to whom it is of.
TEST_F(RouterTenantsTest, PromptsAreSpreadOverTheShardsOfThePool) {
  StartPool();
  Seen other_seen;
  FakePool other_service(other_seen);
  ServerOptions other_options;
  other_options.services = {&other_service};
  auto other = *Server::Start(other_options);
  pool_address_ = absl::StrCat(pool_->address(), ",", other->address());
  StartRouter();
  AddWorker(v1::WORKER_KIND_PREFILL);
  AddWorker(v1::WORKER_KIND_DECODE);
  constexpr int kPrompts = 24;
  for (int i = 0; i < kPrompts; ++i) {
    ASSERT_TRUE(
        Generate(Prompt(absl::StrCat(std::string(1, static_cast<char>('a' + i)), " prompt of many"), 2)).status.ok());
  }
  EXPECT_TRUE(Seen::Wait([&] { return seen_.leases_released + other_seen.leases_released == kPrompts; }));
  EXPECT_EQ(seen_.plans, seen_.leases_released);
  EXPECT_EQ(other_seen.plans, other_seen.leases_released);
  EXPECT_GT(seen_.plans, 0);
  EXPECT_GT(other_seen.plans, 0);
  EXPECT_TRUE(Seen::Wait([&] { return seen_.reports == kPrompts && other_seen.reports == kPrompts; }));
  // A shard that is lost costs reuse, never an answer.
  other.reset();
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(
        Generate(Prompt(absl::StrCat(std::string(1, static_cast<char>('a' + i)), " prompt of many"), 2)).status.ok());
  }
  server_.reset();
  node_.reset();
}

}  // namespace
}  // namespace decant
