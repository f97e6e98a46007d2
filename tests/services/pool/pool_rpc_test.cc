// The pool over gRPC: a whole PoolApp on loopback and the clients that workers use.
#include "services/pool/pool_rpc.h"

#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/crc32c.h"
#include "common/kv/batch.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/pool/app.h"
#include "services/pool/frame_memory.h"
#include "services/rpc/channel.h"
#include "services/rpc/frame_stream.h"
#include "services/rpc/status_edge.h"
#include "tests/services/pool/pool_rig.h"

namespace decant {
namespace {

using namespace pool_rig;  // NOLINT
using testing::HasSubstr;

std::string BytesOf(const Digest& digest) {
  return std::string(reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size());
}

v1::ModelIdentity ModelProto() {
  v1::ModelIdentity proto;
  const PoolModel model = Model();
  proto.set_fingerprint(BytesOf(model.fingerprint));
  proto.mutable_geometry()->set_layers(model.geometry.layers);
  proto.mutable_geometry()->set_q_heads(model.geometry.q_heads);
  proto.mutable_geometry()->set_kv_heads(model.geometry.kv_heads);
  proto.mutable_geometry()->set_head_dim(model.geometry.head_dim);
  proto.set_run_type(v1::RUN_TYPE_BF16);
  proto.set_name(model.name);
  return proto;
}

class PoolRpcTest : public testing::Test {
 protected:
  void SetUp() override {
    PoolOptions options;
    options.metrics = "";  // its web server takes two seconds to stop
    options.drain_limit = absl::Seconds(5);
    app_ = *CreatePoolApp(options);
    ASSERT_TRUE(app_->Start().ok());
    channel_ = channels_.Get(app_->address());
    stub_ = v1::Pool::NewStub(channel_);
  }

  static absl::Time Soon() { return absl::Now() + absl::Seconds(30); }

  absl::StatusOr<v1::PlanReply> Plan(const v1::PlanRequest& request) {
    grpc::ClientContext context;
    context.set_deadline(ToGrpc(Soon()));
    v1::PlanReply reply;
    const grpc::Status status = stub_->Plan(&context, request, &reply);
    if (!status.ok()) return FromGrpc(status);
    return reply;
  }

  static v1::PlanRequest Request(const Prompt& prompt) {
    v1::PlanRequest request;
    *request.mutable_model() = ModelProto();
    for (const Digest& key : prompt.keys) request.add_chunk_keys(BytesOf(key));
    request.set_chunk_tokens(kChunkTokens);
    request.set_prompt_tokens(static_cast<int32_t>(prompt.tokens.size()));
    request.set_max_tokens(10);
    request.add_candidates()->set_prefill("p");
    request.mutable_candidates(0)->mutable_prefill_load()->set_prefill_tokens_per_s(100);
    return request;
  }

  static FrameOut OpenOf(const Prompt& prompt, const std::string& profile) {
    v1::PublishOpen open;
    *open.mutable_model() = ModelProto();
    open.set_profile(profile);
    for (size_t i = 0; i < prompt.keys.size(); ++i) {
      v1::PublishOpen::Chunk& chunk = *open.add_chunks();
      chunk.set_key(BytesOf(prompt.keys[i]));
      chunk.set_parent(BytesOf(i > 0 ? prompt.keys[i - 1] : Digest{}));
      chunk.set_first_token(static_cast<int32_t>(i) * kChunkTokens);
      chunk.set_tokens(kChunkTokens);
    }
    return SmallFrame(FrameKind::kOpen, open.SerializeAsString());
  }

  std::unique_ptr<FrameUpload> Upload() { return FrameUpload::Start(channel_, kPublishMethod, Soon()); }

  absl::StatusOr<v1::PublishReply> Finish(FrameUpload& upload) {
    const absl::StatusOr<std::string> bytes = upload.Finish();
    if (!bytes.ok()) return bytes.status();
    v1::PublishReply reply;
    EXPECT_TRUE(reply.ParseFromString(*bytes));
    return reply;
  }

  absl::StatusOr<v1::PublishReply> Publish(const Prompt& prompt, const std::string& profile) {
    auto upload = Upload();
    EXPECT_TRUE(upload->Write(OpenOf(prompt, profile)).ok());
    for (int32_t layer = 0; layer < Model().geometry.layers; ++layer) {
      std::string message;
      for (size_t chunk = 0; chunk < prompt.keys.size(); ++chunk) message += FrameOf(prompt, profile, chunk, layer);
      EXPECT_TRUE(upload->Write(SmallFrame(FrameKind::kPayload, message)).ok());
    }
    return Finish(*upload);
  }

  static v1::FetchRequest FetchOf(const v1::PlanReply& plan) {
    v1::FetchRequest request;
    request.set_lease(plan.lease());
    *request.mutable_model() = ModelProto();
    *request.mutable_chunks() = plan.prefix();
    return request;
  }
  // The frames a fetch brings, or its error.
  absl::StatusOr<std::vector<std::string>> Fetch(const v1::PlanReply& plan) {
    const v1::FetchRequest request = FetchOf(plan);
    auto download = FrameDownload::Start(channel_, kFetchMethod, request.SerializeAsString(), Soon());
    std::vector<std::string> frames;
    uint64_t sequence = 0;
    while (true) {
      const auto message = download->Next();
      if (!message.ok()) return message.status();
      if (!message->has_value()) return frames;
      EXPECT_EQ((*message)->head().kind, FrameKind::kPayload);
      EXPECT_EQ((*message)->head().sequence, sequence++);
      const auto payload = (*message)->Payload();
      if (!payload.ok()) return payload.status();
      const auto parts = SplitBatch(*payload);
      if (!parts.ok()) return parts.status();
      for (const BatchPart& part : *parts) frames.push_back(std::string(part.frame.bytes));
    }
  }

  std::unique_ptr<ServiceApp> app_;
  Channels channels_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Pool::Stub> stub_;
};

TEST_F(PoolRpcTest, PublishesPlansAndFetches) {
  const Prompt prompt = PromptOf(1, 20);
  const auto reply = Publish(prompt, "full");
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->stored(), 20);
  const auto plan = Plan(Request(prompt));
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->prefix_size(), 20);
  ASSERT_EQ(plan->plans_size(), 1);
  EXPECT_EQ(plan->plans(0).reused_tokens(), 320);
  EXPECT_EQ(plan->plans(0).profile(), "full");
  EXPECT_GT(plan->plans(0).alternatives_size(), 4);
  EXPECT_EQ(plan->prefix(3).provenance(), v1::PROVENANCE_EXACT);
  EXPECT_EQ(plan->prefix(3).quality(), 1);
  EXPECT_GT(plan->lease_ms(), 0);
  const auto frames = Fetch(*plan);
  ASSERT_TRUE(frames.ok()) << frames.status();
  std::vector<std::string> expected;
  for (int32_t layer = 0; layer < Model().geometry.layers; ++layer) {
    for (size_t chunk = 0; chunk < 20; ++chunk) expected.push_back(FrameOf(prompt, "full", chunk, layer));
  }
  EXPECT_EQ(*frames, expected);
  EXPECT_EQ(Publish(prompt, "full")->known(), 20);
}

TEST_F(PoolRpcTest, LocatesWhatItWouldSend) {
  const Prompt prompt = PromptOf(1, 5);
  ASSERT_TRUE(Publish(prompt, "full").ok());
  const auto plan = Plan(Request(prompt));
  ASSERT_TRUE(plan.ok());
  v1::FetchRequest request = FetchOf(*plan);
  const auto locate = [&](v1::FramePlaces* places) {
    grpc::ClientContext context;
    context.set_deadline(ToGrpc(Soon()));
    return FromGrpc(stub_->Locate(&context, request, places));
  };
  v1::FramePlaces places;
  ASSERT_TRUE(locate(&places).ok());
  EXPECT_EQ(places.lost(), "");
  const auto mapping = OpenSharedMemory(places.memory());
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  const auto* const base = static_cast<const char*>(mapping->base);
  EXPECT_EQ(std::string(base, kRegionIdBytes), places.memory_id());
  std::vector<std::string> frames;
  for (int i = 0; i < places.offset_size(); ++i) {
    frames.emplace_back(base + places.offset(i), places.bytes(i));
    EXPECT_EQ(Crc32c(frames.back().data(), frames.back().size()), places.crc32c(i));
  }
  EXPECT_EQ(frames, *Fetch(*plan));
  CloseSharedMemory(*mapping);
  request.set_lease(plan->lease() + 1);
  EXPECT_EQ(locate(&places).code(), absl::StatusCode::kNotFound);
}

TEST_F(PoolRpcTest, ReleasedLeasesFetchNothing) {
  const Prompt prompt = PromptOf(1, 2);
  ASSERT_TRUE(Publish(prompt, "full").ok());
  const auto plan = Plan(Request(prompt));
  ASSERT_TRUE(plan.ok());
  grpc::ClientContext context;
  v1::ReleaseLeaseRequest release;
  release.set_lease(plan->lease());
  v1::ReleaseLeaseReply reply;
  ASSERT_TRUE(stub_->Release(&context, release, &reply).ok());
  EXPECT_EQ(Fetch(*plan).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(PoolRpcTest, ADamagedMessageRefusesItsChunksOnly) {
  const Prompt prompt = PromptOf(1, 2);
  auto upload = Upload();
  ASSERT_TRUE(upload->Write(OpenOf(prompt, "full")).ok());
  for (int32_t layer = 0; layer < Model().geometry.layers; ++layer) {
    ASSERT_TRUE(upload->Write(SmallFrame(FrameKind::kPayload, FrameOf(prompt, "full", 0, layer))).ok());
    std::string frame = FrameOf(prompt, "full", 1, layer);
    if (layer == 1) frame[frame.size() / 2] = static_cast<char>(frame[frame.size() / 2] ^ 1);
    ASSERT_TRUE(upload->Write(SmallFrame(FrameKind::kPayload, frame)).ok());
  }
  const auto reply = Finish(*upload);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->stored(), 1);
  EXPECT_EQ(reply->refused(), 1);
  EXPECT_EQ(Plan(Request(prompt))->plans(0).reused_tokens(), kChunkTokens);
}

TEST_F(PoolRpcTest, APublisherThatDiesLeavesNothingHalf) {
  const Prompt prompt = PromptOf(1, 2);
  {
    auto upload = Upload();
    ASSERT_TRUE(upload->Write(OpenOf(prompt, "full")).ok());
    ASSERT_TRUE(upload->Write(SmallFrame(FrameKind::kPayload, FrameOf(prompt, "full", 0, 0))).ok());
  }
  EXPECT_EQ(Plan(Request(prompt))->plans(0).reused_tokens(), 0);
  EXPECT_EQ(Publish(prompt, "full")->stored(), 2);
}

TEST_F(PoolRpcTest, RefusesStreamsThatAreNoPublish) {
  const Prompt prompt = PromptOf(1, 2);
  const auto code = [&](const std::vector<FrameOut>& messages) {
    auto upload = Upload();
    for (const FrameOut& message : messages) {
      if (!upload->Write(message).ok()) break;
    }
    return upload->Finish().status().code();
  };
  const FrameOut frame = SmallFrame(FrameKind::kPayload, FrameOf(prompt, "full", 0, 0));
  EXPECT_EQ(code({}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({frame}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({SmallFrame(FrameKind::kOpen, "\xff\xff")}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({OpenOf(prompt, "diffkv")}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({OpenOf(prompt, "full"), SmallFrame(FrameKind::kGrant, "")}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({OpenOf(prompt, "full"), frame}), absl::StatusCode::kOk);
}

TEST_F(PoolRpcTest, RefusesRequestsThatMakeNoSense) {
  const Prompt prompt = PromptOf(1, 2);
  const auto code = [&](auto change) {
    v1::PlanRequest request = Request(prompt);
    change(request);
    return Plan(request).status().code();
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code([](v1::PlanRequest& r) { r.set_chunk_keys(0, "short"); }), kInvalid);
  EXPECT_EQ(code([](v1::PlanRequest& r) { r.mutable_model()->clear_run_type(); }), kInvalid);
  EXPECT_EQ(code([](v1::PlanRequest& r) { r.mutable_model()->clear_fingerprint(); }), kInvalid);
  EXPECT_EQ(code([](v1::PlanRequest& r) { r.set_fidelity_floor(2); }), kInvalid);
  EXPECT_EQ(code([](v1::PlanRequest& r) { r.set_profile("zip"); }), kInvalid);
  v1::PlanReply forged;
  forged.set_lease(77);
  forged.add_prefix()->set_key("x");
  EXPECT_EQ(Fetch(forged).status().code(), kInvalid);
}

TEST(PoolMetricsTest, ShowsSumsAsCountersAndStatesAsGauges) {
  Metrics metrics;
  SharedPool pool(PoolLimits{}, TestCatalogue(), TestTables(), metrics);
  const Prompt prompt = PromptOf(1, 3);
  const auto run = [&](auto f) { return pool.With([&](Pool& core, absl::Time now) { return f(core, now); }); };
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(run([&](Pool& core, absl::Time now) { return PublishAll(core, now, prompt, "full"); }).ok());
    ASSERT_TRUE(run([&](Pool& core, absl::Time now) { return core.Plan(now, DemandOf(prompt)); }).ok());
  }
  const std::string text = metrics.Render();
  EXPECT_THAT(text, HasSubstr("decant_pool_chunks 3"));
  EXPECT_THAT(text, HasSubstr("decant_pool_leases 2"));
  EXPECT_THAT(text, HasSubstr("decant_pool_chunks_published_total{result=\"stored\"} 3"));
  EXPECT_THAT(text, HasSubstr("decant_pool_chunks_published_total{result=\"known\"} 3"));
  EXPECT_THAT(text, HasSubstr("decant_pool_lookup_tokens_total{result=\"hit\"} 96"));
  EXPECT_THAT(text, HasSubstr("decant_pool_lookup_tokens_total{result=\"miss\"} 2"));
}

TEST(PoolAppTest, RefusesOptionsThatMakeNoSense) {
  const auto code = [](auto change) {
    PoolOptions options;
    change(options);
    return CreatePoolApp(options).status().code();
  };
  EXPECT_EQ(code([](PoolOptions& o) { o.pool_bytes = -1; }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](PoolOptions& o) { o.lease = absl::ZeroDuration(); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](PoolOptions& o) { o.fetch_bits_per_s = 0; }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](PoolOptions& o) { o.device = "gpu"; }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](PoolOptions& o) { o.device = "cuda:1000"; }), absl::StatusCode::kNotFound);
}

TEST(PoolAppTest, DrainsWithoutEverBeingStartedAndTwice) {
  PoolOptions options;
  options.metrics = "";
  auto app = *CreatePoolApp(options);
  app->Drain();
  ASSERT_TRUE(app->Start().ok());
  EXPECT_FALSE(app->Start().ok());
  EXPECT_THAT(app->address(), HasSubstr("127.0.0.1:"));
  app->Drain();
  app->Drain();
}

// ---- events and hints.

// One stream of events; its reads end by themselves at a deadline.
class Following {
 public:
  Following(v1::Pool::Stub& stub, const std::string& tenant, uint64_t run = 0, uint64_t after = 0) {
    context_.set_deadline(ToGrpc(absl::Now() + absl::Seconds(30)));
    v1::EventsRequest request;
    request.set_tenant(tenant);
    request.set_run(run);
    request.set_after(after);
    stream_ = stub.Events(&context_, request);
  }
  std::optional<v1::EventBatch> Next() {
    v1::EventBatch batch;
    if (!stream_->Read(&batch)) return std::nullopt;
    return batch;
  }
  absl::Status End() {
    while (Next().has_value()) {
    }
    return FromGrpc(stream_->Finish());
  }
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::EventBatch>> stream_;
};

TEST_F(PoolRpcTest, EventsBeginWithASnapshotAndGoOn) {
  const Prompt first = PromptOf(1, 3);
  ASSERT_TRUE(Publish(first, "full").ok());
  Following following(*stub_, "");
  const auto snapshot = following.Next();
  ASSERT_TRUE(snapshot.has_value());
  EXPECT_TRUE(snapshot->snapshot());
  EXPECT_TRUE(snapshot->complete());
  ASSERT_EQ(snapshot->events_size(), 3);
  EXPECT_EQ(snapshot->next(), 3u);
  EXPECT_NE(snapshot->run(), 0u);
  EXPECT_EQ(snapshot->events(0).kind(), v1::ChunkEvent::KIND_STORED);
  EXPECT_EQ(snapshot->events(0).tier(), v1::STORAGE_TIER_HOST);

  const Prompt second = PromptOf(2, 1);
  ASSERT_TRUE(Publish(second, "k8v4").ok());
  const auto news = following.Next();
  ASSERT_TRUE(news.has_value());
  EXPECT_FALSE(news->snapshot());
  ASSERT_EQ(news->events_size(), 1);
  EXPECT_EQ(news->events(0).sequence(), 4u);
  EXPECT_EQ(news->events(0).key(), BytesOf(second.keys[0]));
  EXPECT_EQ(news->events(0).tokens(), kChunkTokens);
  following.Cancel();
  EXPECT_EQ(following.End().code(), absl::StatusCode::kCancelled);

  // Whoever lost its stream goes on where it stood.
  Following again(*stub_, "", snapshot->run(), snapshot->next());
  const auto missed = again.Next();
  ASSERT_TRUE(missed.has_value());
  EXPECT_FALSE(missed->snapshot());
  ASSERT_EQ(missed->events_size(), 1);
  EXPECT_EQ(missed->events(0).sequence(), 4u);
}

TEST_F(PoolRpcTest, AGapAndAnotherRunAreToldToBeginAnew) {
  ASSERT_TRUE(Publish(PromptOf(1, 1), "full").ok());
  const uint64_t run = Following(*stub_, "").Next()->run();
  EXPECT_EQ(Following(*stub_, "", run, 7).End().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(Following(*stub_, "", run + 1, 1).End().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(Following(*stub_, "a b").End().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(PoolRpcTest, EventsOfOneTenantReachNoOther) {
  Following other(*stub_, "b");
  ASSERT_TRUE(other.Next()->complete());
  ASSERT_TRUE(Publish(PromptOf(1, 3), "full").ok());  // the default tenant's
  Following later(*stub_, "b");
  const auto snapshot = later.Next();
  EXPECT_EQ(snapshot->events_size(), 0);
  EXPECT_EQ(snapshot->next(), 0u);
  app_->Drain();  // which ends streams
  EXPECT_FALSE(other.Next().has_value());
  EXPECT_EQ(other.End().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(later.End().code(), absl::StatusCode::kUnavailable);
}

// A reader that does not read holds a batch and a place, and nothing of the pool's.
TEST_F(PoolRpcTest, ASlowReaderIsNoBurden) {
  Following slow(*stub_, "");
  for (uint64_t seed = 1; seed <= 50; ++seed) ASSERT_TRUE(Publish(PromptOf(seed, 20), "k4v2").ok());
  uint64_t next = 0;
  std::optional<v1::EventBatch> batch;
  while (next < 1000 && (batch = slow.Next()).has_value()) {
    EXPECT_LE(batch->events_size(), 1024);
    next = batch->next();
  }
  EXPECT_EQ(next, 1000u);
}

TEST_F(PoolRpcTest, HintsBringReceipts) {
  const Prompt prompt = PromptOf(1, 2);
  ASSERT_TRUE(Publish(prompt, "full").ok());
  v1::PoolHintRequest request;
  for (const v1::HintKind kind : {v1::HINT_KIND_RETAIN, v1::HINT_KIND_RELEASE, v1::HINT_KIND_UNSPECIFIED}) {
    v1::PoolHint& hint = *request.add_hints();
    hint.set_action_id(v1::HintKind_Name(kind));
    hint.set_kind(kind);
    hint.set_priority(90);
    hint.set_duration_ms(5000);
    for (const Digest& key : prompt.keys) hint.add_keys(BytesOf(key));
  }
  request.mutable_hints(2)->add_keys("no key");
  const auto send = [&](v1::PoolHintReply& reply) {
    grpc::ClientContext context;
    return stub_->Hint(&context, request, &reply);
  };
  v1::PoolHintReply reply;
  ASSERT_TRUE(send(reply).ok());
  ASSERT_EQ(reply.receipts_size(), 3);
  EXPECT_EQ(reply.receipts(0).outcome(), v1::HINT_OUTCOME_EXECUTED);
  EXPECT_EQ(reply.receipts(0).action_type(), "retain");
  EXPECT_EQ(reply.receipts(0).duration_ms(), 5000);
  EXPECT_EQ(reply.receipts(1).chunks(), 2);
  EXPECT_EQ(reply.receipts(2).outcome(), v1::HINT_OUTCOME_REFUSED);
  request.set_tenant("b");
  ASSERT_TRUE(send(reply).ok());
  for (const v1::HintReceipt& receipt : reply.receipts()) EXPECT_EQ(receipt.outcome(), v1::HINT_OUTCOME_REFUSED);
  for (int i = 0; i < 100; ++i) request.add_hints();
  EXPECT_EQ(send(reply).error_code(), grpc::INVALID_ARGUMENT);
}

TEST(PoolAppTest, ATenantsFileThatIsWrongSaysWhere) {
  const std::string path = testing::TempDir() + "/tenants.json";
  std::ofstream(path) << "{\"tenants\": {\n\"a\": {\"qouta_bytes\": 1}}}";
  PoolOptions options;
  options.tenants = path;
  const absl::Status status = CreatePoolApp(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(HasSubstr("tenants.json: line 2"), HasSubstr("quota_bytes")));
  options.tenants = "/nowhere.json";
  EXPECT_EQ(CreatePoolApp(options).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace decant
