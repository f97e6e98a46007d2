// Both workers' cores around the real engine and the bundled model, joined by the loopback link and a pool in a map. On
// the host, and on the test device, whose memory faults when it is touched outside operations and copies.
#include "services/prefill/prefill.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <thread>
#include <utility>

#include "absl/synchronization/notification.h"
#include "common/index/keys.h"
#include "common/index/variant.h"
#include "common/kv/batch.h"
#include "common/kv/frame.h"
#include "common/kv/frame_fields.h"
#include "common/link/loopback_link.h"
#include "common/policy/choose_profile.h"
#include "gpu/engine/loaded_model.h"
#include "services/decode/decode.h"
#include "tests/services/prefill/stored_frames.h"
#include "tests/support/paths/paths.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr char kDecodeAddress[] = "decode";
constexpr int32_t kChunkTokens = 64;

enum class On { kHost, kTestDevice };

const LoadedModel& ModelOn(On device) {
  const auto load = [](std::unique_ptr<Device> d) {
    return *LoadedModel::Load(SourceDir() + "/deploy/models/decant-tiny", "f32", std::move(d));
  };
  static const auto host = load(CreateHostDevice(2));
  static const auto test = load(CreateTestDevice(2));
  return device == On::kHost ? *host : *test;
}

// Keeps frames by chunk key; gives them out layer-major.
class MapPool final : public ChunkSource, public ChunkSink {
 public:
  explicit MapPool(int32_t layers) : layers_(layers) {}

  absl::StatusOr<std::unique_ptr<ChunkStream>> Fetch(const FetchOrder& order, absl::Time /*deadline*/) override {
    absl::MutexLock lock(&mutex_);
    std::deque<std::vector<uint8_t>> messages;
    for (int32_t layer = 0; layer < layers_; ++layer) {
      for (const StoredChunk& chunk : order.chunks) messages.push_back(frames_.at({chunk.key, layer}));
    }
    return std::make_unique<ScriptedStream>(std::move(messages));
  }
  absl::StatusOr<PublishCounts> Publish(const Publication& publication, absl::Time /*deadline*/) override {
    absl::MutexLock lock(&mutex_);
    for (const Publication::Layer& layer : publication.layers) {
      EXPECT_EQ(layer.frames.size(), publication.chunks.size());
      for (size_t i = 0; i < layer.frames.size(); ++i) {
        const auto* bytes = static_cast<const uint8_t*>(layer.frames[i].address);
        frames_[{publication.chunks[i].key, static_cast<int32_t>(layer.layer)}].assign(bytes,
                                                                                       bytes + layer.frames[i].bytes);
      }
    }
    for (const Publication::Chunk& chunk : publication.chunks) {
      StoredChunk stored;
      stored.key = chunk.key;
      stored.first_token = chunk.first_token;
      stored.tokens = chunk.tokens;
      stored.profile = publication.profile;
      for (int32_t layer = 0; layer < layers_; ++layer) {
        stored.bytes += static_cast<int64_t>(frames_.at({chunk.key, layer}).size());
      }
      chunks_[chunk.key] = stored;
    }
    context_ = publication.context;
    return PublishCounts{static_cast<int32_t>(publication.chunks.size()), 0, 0};
  }
  void Cancel() override {}
  std::vector<StoredChunk> Find(absl::Span<const Digest> keys) {
    absl::MutexLock lock(&mutex_);
    std::vector<StoredChunk> found;
    for (const Digest& key : keys) {
      if (!chunks_.contains(key)) break;
      found.push_back(chunks_.at(key));
    }
    return found;
  }
  void Replace(const StoredChunk& chunk, const std::vector<std::vector<uint8_t>>& frames) {
    absl::MutexLock lock(&mutex_);
    chunks_[chunk.key] = chunk;
    for (int32_t layer = 0; layer < layers_; ++layer) frames_[{chunk.key, layer}] = frames[static_cast<size_t>(layer)];
  }
  void Clear() {
    absl::MutexLock lock(&mutex_);
    frames_.clear();
    chunks_.clear();
  }
  std::vector<uint8_t>& frame(const Digest& key, int32_t layer) { return frames_.at({key, layer}); }
  Digest context() const { return context_; }

 private:
  const int32_t layers_;
  absl::Mutex mutex_;
  std::map<std::pair<Digest, int32_t>, std::vector<uint8_t>> frames_;
  std::map<Digest, StoredChunk> chunks_;
  Digest context_;
};

// Stops before one layer until told to go on.
class StopBefore final : public LayerGate {
 public:
  explicit StopBefore(int32_t layer) : layer_(layer) {}
  void BeforeLayer(const std::string& /*request_id*/, int32_t layer) override {
    if (layer != layer_ || passed.HasBeenNotified()) return;
    reached.Notify();
    passed.WaitForNotification();
  }
  absl::Notification reached, passed;

 private:
  const int32_t layer_;
};

// Tells which layers have landed in decode, and with what.
class WatchingSink final : public FrameSink {
 public:
  explicit WatchingSink(Decode& decode) : decode_(decode) {}
  absl::Status Open(const TransferOpen& open) override { return decode_.Open(open); }
  absl::StatusOr<MemoryRef> Grant(uint64_t ticket, const BatchHeader& header) override {
    return decode_.Grant(ticket, header);
  }
  absl::Status Landed(uint64_t ticket, const BatchHeader& header, MemoryRef memory) override {
    const std::string batch(static_cast<const char*>(memory.address), static_cast<size_t>(memory.bytes));
    const absl::Status status = decode_.Landed(ticket, header, memory);
    absl::MutexLock lock(&mutex_);
    for (const BatchPart& part : SplitBatch(batch).value_or(std::vector<BatchPart>())) {
      const FrameHeader& frame = part.frame.header;
      frames_[{frame.first_layer, frame.first_position}] = std::string(part.frame.bytes.substr(kFrameHeaderBytes));
    }
    if (status.ok() && header.bytes > 0) landed_layers_ = static_cast<int32_t>(header.layer) + 1;
    return status;
  }
  void Committed(const TransferCommit& commit, std::function<void(const absl::Status&)> done) override {
    if (hold_commits) {
      committing.Notify();
      may_commit.WaitForNotification();
    }
    decode_.Committed(commit, std::move(done));
  }
  void Aborted(uint64_t ticket, const absl::Status& why) override {
    decode_.Aborted(ticket, why);
    absl::MutexLock lock(&mutex_);
    aborted_ = true;
  }
  int32_t WaitForLayers(int32_t layers) {
    absl::MutexLock lock(&mutex_);
    const auto there = [this, layers] { return landed_layers_ >= layers; };
    mutex_.Await(absl::Condition(&there));
    return landed_layers_;
  }
  int32_t landed_layers() {
    absl::MutexLock lock(&mutex_);
    return landed_layers_;
  }
  void WaitAborted() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&aborted_));
  }

  // What stood behind the headers of the frames of the last transfer, by layer and first position.
  std::map<std::pair<int32_t, int32_t>, std::string> TakeFrames() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(frames_, {});
  }

  bool hold_commits = false;  // set before the first transfer
  absl::Notification committing, may_commit;

 private:
  Decode& decode_;
  absl::Mutex mutex_;
  int32_t landed_layers_ = 0;
  bool aborted_ = false;
  std::map<std::pair<int32_t, int32_t>, std::string> frames_;
};

// Tells how long an Open may take at most.
class WatchingLink final : public FrameLink {
 public:
  explicit WatchingLink(FrameLink& link) : link_(link) {}
  absl::string_view kind() const override { return link_.kind(); }
  absl::StatusOr<std::unique_ptr<FrameSender>> Open(const std::string& address, const TransferOpen& open,
                                                    absl::Time deadline) override {
    open_left = deadline - absl::Now();
    return link_.Open(address, open, deadline);
  }
  absl::Duration open_left;

 private:
  FrameLink& link_;
};

// Tells how many tokens of each tier every head held when a sequence joined.
class WatchingBatch final : public DecodeBatch {
 public:
  using TierCounts = std::vector<std::array<int32_t, kTierCount>>;  // [layers x kv_heads]

  explicit WatchingBatch(std::unique_ptr<DecodeBatch> batch) : batch_(std::move(batch)) {}
  int64_t WorstCasePages(const SequenceOptions& options) const override { return batch_->WorstCasePages(options); }
  int64_t total_pages() const override { return batch_->total_pages(); }
  int64_t page_bytes() const override { return batch_->page_bytes(); }
  int64_t unreserved_pages() const override { return batch_->unreserved_pages(); }
  absl::StatusOr<SequenceId> Reserve(const SequenceOptions& options) override { return batch_->Reserve(options); }
  absl::Status Import(SequenceId sequence, absl::Span<const uint8_t> bytes) override {
    return batch_->Import(sequence, bytes);
  }
  absl::Status Join(SequenceId sequence, int32_t first_token) override {
    const absl::Status joined = batch_->Join(sequence, first_token);
    const auto copy = batch_->CopyRows(sequence);
    EXPECT_TRUE(copy.ok()) << copy.status();
    absl::MutexLock lock(&mutex_);
    joined_.clear();
    for (const HeadState& head : copy->heads) joined_.push_back(std::to_array(head.tokens));
    return joined;
  }
  absl::StatusOr<absl::Span<const StepToken>> Step() override { return batch_->Step(); }
  int32_t running() const override { return batch_->running(); }
  absl::StatusOr<SequenceUse> Use(SequenceId sequence) override { return batch_->Use(sequence); }
  void Remove(SequenceId sequence) override { batch_->Remove(sequence); }
  absl::Status CopyLogits(absl::Span<float> out) override { return batch_->CopyLogits(out); }
  absl::StatusOr<RowsCopy> CopyRows(SequenceId sequence) override { return batch_->CopyRows(sequence); }
  MemoryRef pages() override { return batch_->pages(); }

  TierCounts joined() const {
    absl::MutexLock lock(&mutex_);
    return joined_;
  }

 private:
  const std::unique_ptr<DecodeBatch> batch_;
  mutable absl::Mutex mutex_;
  TierCounts joined_;
};

class AnswerCollector final : public AnswerReceiver {
 public:
  absl::Status Write(const AnswerTokens& tokens) override {
    all.insert(all.end(), tokens.tokens.begin(), tokens.tokens.end());
    if (tokens.last) last = tokens;
    return absl::OkStatus();
  }
  void Finish(const absl::Status& status) override {
    end = status;
    done.Notify();
  }
  std::vector<int32_t> all;
  AnswerTokens last;
  absl::Status end;
  absl::Notification done;
};

struct Answer {
  absl::StatusOr<PrefillOutcome> prefill = absl::UnknownError("");
  std::vector<int32_t> tokens;
  AnswerTokens last;
  WatchingBatch::TierCounts joined;
};

class PrefillTest : public ::testing::TestWithParam<On> {
 protected:
  static const LoadedModel& Model() { return ModelOn(GetParam()); }

  static std::vector<int32_t> Prompt(int32_t tokens) {
    std::string text;
    for (int32_t i = 0; static_cast<int32_t>(text.size()) < 8 * tokens; ++i) {
      text += "The lamp number " + std::to_string(i * 7919) + " stood in the garden near the old bridge. ";
    }
    std::vector<int32_t> ids = *Model().folder.tokenizer->Encode(text);
    ids.resize(static_cast<size_t>(tokens));
    return ids;
  }

  void SetUp() override {
    DecodeOptions batch;
    batch.kv_budget_bytes = int64_t{64} << 20;
    DecodeCoreOptions options;
    options.model = Model().folder.fingerprint;
    options.geometry = Model().weights->config().geometry();
    options.run_type = RunType::kF32;
    options.max_positions = Model().weights->config().max_positions;
    options.frame_version = kFrameVersion;
    options.catalogue = *Catalogue::BuiltIn();
    decode_stream_ = Model().device->NewStream();
    auto watching = std::make_unique<WatchingBatch>(*DecodeBatch::Create(*Model().weights, *decode_stream_, batch));
    batch_ = watching.get();
    decode_ = std::make_unique<Decode>(std::move(watching), options);
    decode_->Start();
    sink_ = std::make_unique<WatchingSink>(*decode_);
    link_.Add(kDecodeAddress, *sink_);
  }
  void TearDown() override {
    prefill_.reset();
    decode_->Drain(absl::Now() + absl::Seconds(20));
    // The load is measured at the end of the engine's round that freed the last page.
    for (int i = 0; i < 2000 && decode_->load().free_pages != decode_->load().total_pages; ++i) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    EXPECT_EQ(decode_->load().free_pages, decode_->load().total_pages);
  }

  Prefill& MakePrefill(LayerGate* gate = nullptr, int32_t waiting_limit = 16) {
    PrefillCoreOptions options;
    options.model = Model().folder.fingerprint;
    options.frame_version = kFrameVersion;
    options.catalogue = *Catalogue::BuiltIn();
    options.tokenizer = Model().folder.tokenizer.get();
    options.gate = gate;
    options.waiting_limit = waiting_limit;
    options.publish_bytes = publish_bytes_;
    options.now = now_;
    options.metrics = PrefillMetrics::In(metrics_, link_.kind());
    prefill_ = std::make_unique<Prefill>(*Model().weights, watched_link_, pool_, pool_, options);
    return *prefill_;
  }

  uint64_t Reserve(const std::string& profile, int32_t prompt_tokens, int32_t max_tokens) {
    Reservation reservation;
    reservation.model = Model().folder.fingerprint;
    reservation.run_type = RunType::kF32;
    reservation.profile = profile;
    reservation.prompt_tokens = prompt_tokens;
    reservation.max_tokens = max_tokens;
    reservation.wait = absl::Seconds(20);
    absl::Notification done;
    absl::StatusOr<Ticket> ticket = absl::UnknownError("");
    decode_->Reserve(reservation, [&](absl::StatusOr<Ticket> answer) {
      ticket = std::move(answer);
      done.Notify();
    });
    done.WaitForNotification();
    EXPECT_TRUE(ticket.ok()) << ticket.status();
    return ticket.ok() ? ticket->id : 0;
  }

  PrefillJob Job(const std::string& profile, const std::vector<int32_t>& tokens, uint64_t ticket) {
    PrefillJob job;
    job.request_id = "r";
    job.tokens = tokens;
    job.position_of_first_token = static_cast<int64_t>(tokens.size());
    job.profile = profile;
    job.model = Model().folder.fingerprint;
    job.run_type = RunType::kF32;
    job.decode_address = kDecodeAddress;
    job.ticket = ticket;
    job.pool_address = "pool";
    job.publish = true;
    job.chunk_keys = ChunkKeys({NamespaceOf(""), job.model, Model().weights->config().geometry(), RunType::kF32},
                               tokens, kChunkTokens);
    job.chunk_tokens = kChunkTokens;
    job.deadline = absl::Now() + absl::Seconds(60);
    return job;
  }

  // The whole way of one request, with what the pool has.
  Answer Generate(const std::string& profile, const std::vector<int32_t>& tokens, int32_t max_tokens,
                  bool use_pool = true) {
    const uint64_t ticket = Reserve(profile, static_cast<int32_t>(tokens.size()), max_tokens);
    auto collector = std::make_shared<AnswerCollector>();
    EXPECT_TRUE(decode_->Subscribe(ticket, collector).ok());
    PrefillJob job = Job(profile, tokens, ticket);
    if (use_pool) job.prefix = pool_.Find(job.chunk_keys);
    job.publish = use_pool;
    absl::Notification done;
    Answer answer;
    prefill_->Submit(std::move(job), [&](absl::StatusOr<PrefillOutcome> outcome) {
      answer.prefill = std::move(outcome);
      done.Notify();
    });
    done.WaitForNotification();
    if (!answer.prefill.ok()) decode_->Release(ticket);
    collector->done.WaitForNotification();
    answer.tokens = collector->all;
    answer.last = collector->last;
    answer.joined = batch_->joined();
    // What was published is what the next request finds.
    prefill_->FlushPublications(absl::Now() + absl::Seconds(20));
    return answer;
  }

  std::function<absl::Time()> now_ = absl::Now;
  int64_t publish_bytes_ = int64_t{64} << 20;
  Metrics metrics_;
  LoopbackLink link_{[this] { return now_(); }, absl::SleepFor};
  WatchingLink watched_link_{link_};
  MapPool pool_{Model().weights->config().layers};
  std::unique_ptr<Stream> decode_stream_;
  std::unique_ptr<Decode> decode_;
  const WatchingBatch* batch_ = nullptr;  // of decode_
  std::unique_ptr<WatchingSink> sink_;
  std::unique_ptr<Prefill> prefill_;
};

TEST_P(PrefillTest, EarlierLayersHaveLandedWhilePrefillIsHeldAtAMiddleLayer) {
  StopBefore gate(3);
  MakePrefill(&gate);
  const auto tokens = Prompt(150);
  const uint64_t ticket = Reserve("diffkv", 150, 4);
  absl::Notification done;
  prefill_->Submit(Job("diffkv", tokens, ticket), [&](absl::StatusOr<PrefillOutcome> outcome) {
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    done.Notify();
  });
  gate.reached.WaitForNotification();
  EXPECT_EQ(sink_->WaitForLayers(3), 3);
  gate.passed.Notify();
  done.WaitForNotification();
  EXPECT_EQ(sink_->landed_layers(), Model().weights->config().layers);
  decode_->Release(ticket);
}

TEST_P(PrefillTest, EveryProfileAnswers) {
  MakePrefill();
  for (const std::string profile : {"full", "k8v4", "k4v2", "diffkv", "diffkv-release", "snapkv", "pyramidkv", "kvzip",
                                    "fastkv", "full-lossless", "xkv"}) {
    const Answer answer = Generate(profile, Prompt(200), 6, false);
    ASSERT_TRUE(answer.prefill.ok()) << profile << ": " << answer.prefill.status();
    EXPECT_EQ(answer.tokens.size(), 6u) << profile;
    EXPECT_EQ(answer.prefill->tokens_computed, 200);
    EXPECT_EQ(answer.last.finish_reason, "length");
    EXPECT_GT(answer.last.resident_bytes, 0);
    EXPECT_GT(answer.prefill->wire_bytes, 0);
  }
}

TEST_P(PrefillTest, ACodedProfileAnswersLikeTheUncodedOneInFewerBytes) {
  MakePrefill();
  const Answer plain = Generate("full", Prompt(200), 24, false);
  const Answer coded = Generate("full-lossless", Prompt(200), 24, false);
  ASSERT_TRUE(coded.prefill.ok()) << coded.prefill.status();
  EXPECT_THAT(coded.tokens, ElementsAreArray(plain.tokens));
  EXPECT_LT(coded.prefill->wire_bytes, 0.87 * static_cast<double>(plain.prefill->wire_bytes));  // f32
  EXPECT_EQ(coded.prefill->key_error.squared_difference, 0);
  EXPECT_EQ(coded.last.resident_bytes, plain.last.resident_bytes);
  const Answer shared = Generate("xkv", Prompt(400), 6, false);
  ASSERT_TRUE(shared.prefill.ok()) << shared.prefill.status();
  EXPECT_LT(shared.prefill->wire_bytes, 0.36 * static_cast<double>(shared.prefill->full_bytes));
  EXPECT_GT(shared.prefill->key_error.Relative(), 0);
}

// What travelled coded is stored as plain frames.
TEST_P(PrefillTest, ACodedProfilePublishesFramesThatOthersUse) {
  MakePrefill();
  for (const std::string profile : {"full-lossless", "xkv"}) {
    pool_.Clear();
    const auto tokens = Prompt(300);
    const Answer cold = Generate("full", tokens, 8, false);
    ASSERT_TRUE(Generate(profile, Prompt(256), 1).prefill.ok());
    const Answer hit = Generate("full", tokens, 8);
    ASSERT_TRUE(hit.prefill.ok()) << hit.prefill.status();
    EXPECT_EQ(hit.prefill->tokens_reused, 256) << profile;
    EXPECT_THAT(hit.tokens, ElementsAreArray(cold.tokens)) << profile;
  }
}

TEST_P(PrefillTest, AHitOnExactChunksGivesTheColdRun) {
  MakePrefill();
  const auto tokens = Prompt(300);
  for (const std::string profile : {"full", "k8v4", "full-lossless", "xkv"}) {
    const Answer cold = Generate(profile, tokens, 8, false);
    ASSERT_TRUE(Generate("full", Prompt(256), 1).prefill.ok());  // publishes exact chunks of the same beginning
    const Answer hit = Generate(profile, tokens, 8);
    ASSERT_TRUE(hit.prefill.ok()) << hit.prefill.status();
    EXPECT_EQ(hit.prefill->tokens_reused, 256);
    EXPECT_EQ(hit.prefill->tokens_computed, 44);
    EXPECT_EQ(hit.prefill->miss_reason, "");
    EXPECT_THAT(hit.tokens, ElementsAreArray(cold.tokens)) << profile;
    EXPECT_EQ(hit.last.counts.high, cold.last.counts.high);
    EXPECT_EQ(hit.last.resident_bytes, cold.last.resident_bytes);
    EXPECT_TRUE(pool_.context().IsZero());
  }
}

TEST_P(PrefillTest, AHitOnExactChunksGivesTheColdRunsTiersWhenAWindowOfNewTokensHasSeenThem) {
  MakePrefill();
  const auto tokens = Prompt(192 + 64);  // 64: the profile's window
  const Answer cold = Generate("diffkv-release", tokens, 8, false);
  ASSERT_TRUE(cold.prefill.ok()) << cold.prefill.status();
  ASSERT_GT(cold.prefill->counts.low, 0);  // or there is nothing to compare
  ASSERT_TRUE(Generate("full", Prompt(192), 1).prefill.ok());
  const Answer hit = Generate("diffkv-release", tokens, 8);
  ASSERT_TRUE(hit.prefill.ok()) << hit.prefill.status();
  EXPECT_EQ(hit.prefill->tokens_reused, 192);
  EXPECT_THAT(hit.tokens, ElementsAreArray(cold.tokens));
  EXPECT_EQ(hit.joined, cold.joined);
  EXPECT_EQ(hit.last.counts.high, cold.last.counts.high);
  EXPECT_EQ(hit.last.counts.low, cold.last.counts.low);
  EXPECT_EQ(hit.last.counts.pruned, cold.last.counts.pruned);
}

TEST_P(PrefillTest, AHitOnExactChunksChoosesWhatTheColdRunChooses) {
  MakePrefill();
  const auto tokens = Prompt(300);
  ASSERT_TRUE(Generate("snapkv", Prompt(256), 1).prefill.ok());  // publishes its shareable form, which is exact
  for (const std::string profile : {"snapkv", "pyramidkv", "kvzip"}) {
    const Answer cold = Generate(profile, tokens, 8, false);
    const Answer hit = Generate(profile, tokens, 8);
    ASSERT_TRUE(hit.prefill.ok()) << hit.prefill.status();
    EXPECT_EQ(hit.prefill->tokens_reused, 256) << profile << ": " << hit.prefill->miss_reason;
    EXPECT_GT(hit.prefill->counts.pruned, 0);
    EXPECT_EQ(hit.prefill->counts.pruned, cold.prefill->counts.pruned);
    EXPECT_EQ(hit.joined, cold.joined) << profile;
    EXPECT_THAT(hit.tokens, ElementsAreArray(cold.tokens)) << profile;
  }
}

TEST_P(PrefillTest, AWindowOfQueriesIsComputedEvenWhereItCouldBeLoaded) {
  MakePrefill();
  ASSERT_TRUE(Generate("full", Prompt(256), 1).prefill.ok());
  const Answer hit = Generate("snapkv", Prompt(270), 4);  // 14 behind the last stored chunk, 32 score
  ASSERT_TRUE(hit.prefill.ok()) << hit.prefill.status();
  EXPECT_EQ(hit.prefill->tokens_reused, 192);
  EXPECT_THAT(hit.prefill->miss_reason, HasSubstr("the 32 that snapkv chooses by"));
}

TEST_P(PrefillTest, TokensLeftBehindInPrefillAreNeitherReusedNorPublished) {
  MakePrefill();
  const Answer first = Generate("fastkv", Prompt(200), 1);
  ASSERT_TRUE(first.prefill.ok()) << first.prefill.status();
  EXPECT_EQ(first.prefill->chunks_to_publish, 0);
  ASSERT_TRUE(Generate("full", Prompt(200), 1).prefill.ok());
  const Answer second = Generate("fastkv", Prompt(200), 4);
  ASSERT_TRUE(second.prefill.ok()) << second.prefill.status();
  EXPECT_EQ(second.prefill->tokens_reused, 0);
  EXPECT_THAT(second.prefill->miss_reason, HasSubstr("leaves tokens behind"));
}

TEST_P(PrefillTest, ADecodeThatHangsHoldsTheWorkerForALimitedTime) {
  MakePrefill();
  EXPECT_TRUE(Generate("full", Prompt(20), 1, false).prefill.ok());  // the request itself has a minute
  EXPECT_LE(watched_link_.open_left, PrefillCoreOptions().open_limit);
}

TEST_P(PrefillTest, CompressedChunksAreForwardedToEveryProfileThatTakesThem) {
  MakePrefill();
  const auto tokens = Prompt(300);
  ASSERT_TRUE(Generate("diffkv", tokens, 1).prefill.ok());  // publishes its shareable form
  for (const std::string profile : {"k8v4", "diffkv", "k4v2"}) {
    const Answer hit = Generate(profile, tokens, 6);
    ASSERT_TRUE(hit.prefill.ok()) << profile << ": " << hit.prefill.status();
    const int32_t reused = profile == "diffkv" ? 192 : 256;  // diffkv chooses by the last 64 at least
    EXPECT_EQ(hit.prefill->tokens_reused, reused) << profile << ": " << hit.prefill->miss_reason;
    EXPECT_EQ(hit.prefill->tokens_computed, 300 - reused);
    EXPECT_EQ(hit.tokens.size(), 6u);
  }
  const Answer exact = Generate("full", tokens, 1);
  EXPECT_EQ(exact.prefill->tokens_reused, 0);
  EXPECT_THAT(exact.prefill->miss_reason, HasSubstr("stored as k8v4"));
}

// What decode gets of a prefix in several forms is, byte for byte, what it gets of one computed anew.
TEST_P(PrefillTest, APrefixInSeveralFormsBecomesRowsOfOne) {
  MakePrefill();
  const auto tokens = Prompt(300);
  ASSERT_TRUE(Generate("k8v4", tokens, 1).prefill.ok());
  const auto lossy = pool_.Find(Job("k8v4", tokens, 1).chunk_keys);
  ASSERT_EQ(lossy.size(), 4u);
  const auto cold = sink_->TakeFrames();
  std::map<int32_t, std::vector<std::vector<uint8_t>>> kept;  // the k8v4 frames of the second and the last chunk
  for (const int32_t chunk : {1, 3}) {
    for (int32_t layer = 0; layer < Model().weights->config().layers; ++layer) {
      kept[chunk].push_back(pool_.frame(lossy[static_cast<size_t>(chunk)].key, layer));
    }
  }
  pool_.Clear();
  ASSERT_TRUE(Generate("full", tokens, 1).prefill.ok());
  for (const auto& [chunk, frames] : kept) pool_.Replace(lossy[static_cast<size_t>(chunk)], frames);
  sink_->TakeFrames();
  const Answer hit = Generate("k8v4", tokens, 6);
  ASSERT_TRUE(hit.prefill.ok()) << hit.prefill.status();
  EXPECT_EQ(hit.prefill->tokens_reused, 256) << hit.prefill->miss_reason;
  const auto warm = sink_->TakeFrames();
  ASSERT_EQ(warm.size(), cold.size());
  for (const auto& [place, bytes] : cold) {
    if (place.second >= 256) continue;  // computed over the lossy chunks
    EXPECT_TRUE(warm.at(place) == bytes) << "layer " << place.first << ", position " << place.second;
  }
  EXPECT_EQ(Generate("full", tokens, 1).prefill->tokens_reused, 64) << "up to the first that is not exact";
  for (const std::string profile : {"k4v2", "diffkv", "snapkv"}) {
    const Answer other = Generate(profile, tokens, 6);
    ASSERT_TRUE(other.prefill.ok()) << profile << ": " << other.prefill.status();
    EXPECT_GE(other.prefill->tokens_reused, 192) << profile << ": " << other.prefill->miss_reason;
    EXPECT_EQ(other.tokens.size(), 6u);
  }
  ASSERT_TRUE(Generate("k8v4", Prompt(330), 1).prefill.ok());
  EXPECT_FALSE(pool_.context().IsZero()) << "what is published behind it was computed over lossy chunks";
}

TEST_P(PrefillTest, ChunksBehindACompressedPrefixNameTheirContext) {
  MakePrefill();
  ASSERT_TRUE(Generate("k8v4", Prompt(130), 1).prefill.ok());
  EXPECT_TRUE(pool_.context().IsZero());
  ASSERT_TRUE(Generate("k8v4", Prompt(200), 1).prefill.ok());
  EXPECT_FALSE(pool_.context().IsZero());
}

TEST_P(PrefillTest, AWrongStoredFrameIsAMissAndNeverWrongKv) {
  MakePrefill();
  const auto tokens = Prompt(300);
  const Answer cold = Generate("full", tokens, 8, false);
  ASSERT_TRUE(Generate("full", tokens, 1).prefill.ok());
  const auto keys = Job("full", tokens, 1).chunk_keys;
  pool_.frame(keys[2], 4)[300] ^= 0x10;  // found at the last layer but one, when the first ones are computed
  const Answer hit = Generate("full", tokens, 8);
  ASSERT_TRUE(hit.prefill.ok()) << hit.prefill.status();
  EXPECT_EQ(hit.prefill->tokens_reused, 2 * kChunkTokens);
  EXPECT_EQ(hit.prefill->tokens_computed, 300 - 2 * kChunkTokens);
  EXPECT_NE(hit.prefill->miss_reason, "");
  EXPECT_THAT(hit.tokens, ElementsAreArray(cold.tokens));
}

TEST_P(PrefillTest, CancellingStopsAtTheNextLayerAndFreesDecode) {
  StopBefore gate(2);
  MakePrefill(&gate);
  const uint64_t ticket = Reserve("k8v4", 100, 4);
  absl::Notification done;
  absl::Status end;
  const uint64_t id = prefill_->Submit(Job("k8v4", Prompt(100), ticket), [&](absl::StatusOr<PrefillOutcome> outcome) {
    end = outcome.status();
    done.Notify();
  });
  gate.reached.WaitForNotification();
  prefill_->Cancel(id);
  gate.passed.Notify();
  done.WaitForNotification();
  EXPECT_EQ(end.code(), absl::StatusCode::kCancelled);
  sink_->WaitAborted();
}

TEST_P(PrefillTest, StoppingWaitsForACommitUnderWayWhichStillAnswers) {
  MakePrefill();
  sink_->hold_commits = true;
  const uint64_t ticket = Reserve("full", 150, 4);
  absl::StatusOr<PrefillOutcome> answer = absl::UnknownError("");
  prefill_->Submit(Job("full", Prompt(150), ticket),
                   [&](absl::StatusOr<PrefillOutcome> outcome) { answer = std::move(outcome); });
  sink_->committing.WaitForNotification();
  std::thread stopping([this] { prefill_.reset(); });
  absl::SleepFor(absl::Milliseconds(20));  // the stop is most likely under way; either order must do
  sink_->may_commit.Notify();
  stopping.join();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->tokens_computed, 150);
  EXPECT_EQ(answer->chunks_to_publish, 2);
  decode_->Release(ticket);
}

TEST_P(PrefillTest, PublishesTheLeadingChunksThatFit) {
  MakePrefill();
  const std::vector<int32_t> prompt = Prompt(400);
  const Answer whole = Generate("full", prompt, 2);
  ASSERT_TRUE(whole.prefill.ok()) << whole.prefill.status();
  EXPECT_EQ(whole.prefill->chunks_to_publish, 6);
  EXPECT_EQ(whole.prefill->chunks_without_room, 0);
  const std::vector<Digest> keys = Job("full", prompt, 1).chunk_keys;
  ASSERT_EQ(pool_.Find(keys).size(), 6u);
  const std::vector<uint8_t> first = pool_.frame(keys[0], 1);
  int64_t chunk_bytes = 0;
  for (int32_t layer = 0; layer < Model().weights->config().layers; ++layer) {
    chunk_bytes += static_cast<int64_t>(pool_.frame(keys[0], layer).size());
  }

  for (const auto& [room, fit] : {std::pair<int64_t, int32_t>{4 * chunk_bytes + chunk_bytes / 2, 4},
                                  {chunk_bytes, 1},
                                  {chunk_bytes - Model().weights->config().layers, 0}}) {
    pool_.Clear();
    publish_bytes_ = room;
    MakePrefill();
    const Answer cut = Generate("full", prompt, 2);
    ASSERT_TRUE(cut.prefill.ok()) << cut.prefill.status();
    EXPECT_EQ(cut.prefill->chunks_to_publish, fit);
    EXPECT_EQ(cut.prefill->chunks_without_room, 6 - fit);
    EXPECT_EQ(pool_.Find(keys).size(), static_cast<size_t>(fit));
    EXPECT_EQ(cut.prefill->miss_reason, "");
    if (fit > 0) {
      EXPECT_EQ(pool_.frame(keys[0], 1), first);
    }
    // The next request on this prompt is told why its prefix ends where it ends.
    PrefillJob again = Job("full", prompt, Reserve("full", 400, 1));
    again.prefix = pool_.Find(keys);
    again.publish = false;
    absl::Notification done;
    absl::StatusOr<PrefillOutcome> outcome;
    const uint64_t ticket = again.ticket;
    prefill_->Submit(std::move(again), [&](absl::StatusOr<PrefillOutcome> answer) {
      outcome = std::move(answer);
      done.Notify();
    });
    done.WaitForNotification();
    decode_->Release(ticket);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->tokens_reused, fit * kChunkTokens);
    EXPECT_THAT(outcome->miss_reason,
                HasSubstr(absl::StrCat("chunk ", fit, " (from token ", fit * kChunkTokens,
                                       "): it was computed before, but publications may hold ", room, " bytes")));
  }
  EXPECT_THAT(metrics_.Render(), HasSubstr("decant_chunks_unpublished_total{reason=\"room\"} 13"));
  EXPECT_THAT(metrics_.Render(), HasSubstr("decant_publications_total{outcome=\"ok\"} 3"));
}

// What Plan prices: the bytes of a profile that keeps every token as it is follow from its tokens alone, cold and
// behind a prefix that is forwarded or encoded; with diffkv those of a prefix and of tokens that no policy has touched.
TEST_P(PrefillTest, BytesOnTheWireAreThoseForetold) {
  MakePrefill();
  const Catalogue catalogue = *Catalogue::BuiltIn();
  const Geometry geometry = Model().weights->config().geometry();
  const std::vector<int32_t> prompt = Prompt(3 * kChunkTokens + 70);
  const auto foretold = [&](const std::string& profile, const std::vector<StoredChunk>& prefix) {
    std::vector<ProfileFacts> facts = {*FactsOf(*catalogue.Find(profile), geometry, RunType::kF32, Digest(), nullptr)};
    PrefixOffer& offer = facts[0].offer;
    offer.exact = true;
    for (const StoredChunk& chunk : prefix) {
      const bool exact = chunk.profile == "full";
      offer.exact = offer.exact && exact;
      offer.tokens += chunk.tokens;
      offer.bytes += chunk.bytes;
      ++offer.chunks;
      if (exact && profile != "full") {
        offer.encoded_tokens += chunk.tokens;
      } else {
        offer.forwarded_bytes += chunk.bytes;
      }
    }
    ProfileQuestion question;
    question.geometry = geometry;
    question.prompt_tokens = static_cast<int64_t>(prompt.size());
    question.named = profile;
    question.fetch_bits_per_s = 1e12;
    question.chunk_tokens = kChunkTokens;
    return ChooseProfile(question, facts, PairCandidate(), Observations())->wire_bytes;
  };
  for (const std::string stored : {"full", "k8v4", "k4v2"}) {
    pool_.Clear();
    const Answer cold = Generate(stored, prompt, 2);
    ASSERT_TRUE(cold.prefill.ok()) << cold.prefill.status();
    EXPECT_EQ(cold.prefill->wire_bytes, foretold(stored, {})) << stored;
    std::vector<StoredChunk> prefix = pool_.Find(Job(stored, prompt, 1).chunk_keys);
    prefix.resize(3);
    for (const std::string profile : {"full", "k8v4", "k4v2", "diffkv"}) {
      if (profile != stored && stored != "full" && !(stored == "k8v4" && profile != "full")) continue;
      if (profile == "diffkv" && stored == "full") continue;  // what is encoded is chosen by its scores
      PrefillJob job = Job(profile, prompt, Reserve(profile, static_cast<int32_t>(prompt.size()), 1));
      job.prefix = prefix;
      job.publish = false;
      absl::Notification done;
      absl::StatusOr<PrefillOutcome> hit;
      const uint64_t ticket = job.ticket;
      prefill_->Submit(std::move(job), [&](absl::StatusOr<PrefillOutcome> answer) {
        hit = std::move(answer);
        done.Notify();
      });
      done.WaitForNotification();
      decode_->Release(ticket);
      ASSERT_TRUE(hit.ok()) << hit.status();
      EXPECT_EQ(hit->tokens_reused, 3 * kChunkTokens);
      const int64_t expected = foretold(profile, prefix);
      if (profile == "diffkv") {
        EXPECT_NEAR(static_cast<double>(hit->wire_bytes), static_cast<double>(expected),
                    0.02 * static_cast<double>(expected));
      } else {
        EXPECT_EQ(hit->wire_bytes, expected) << profile << " over " << stored;
      }
    }
  }
}

// A short question behind a stored prefix: enough is computed to choose by, and then only as many tokens of the prefix
// may be given up as there are queries that judged it.
TEST_P(PrefillTest, AHitOfDiffKvChoosesByAtLeastAWindow) {
  MakePrefill();
  const std::vector<int32_t> prompt = Prompt(6 * kChunkTokens + 10);
  ASSERT_TRUE(Generate("k8v4", prompt, 2).prefill.ok());
  for (const std::string profile : {"diffkv", "diffkv-release"}) {
    const Answer hit = Generate(profile, prompt, 2);
    ASSERT_TRUE(hit.prefill.ok()) << hit.prefill.status();
    EXPECT_EQ(hit.prefill->tokens_reused, 5 * kChunkTokens) << profile;
    EXPECT_THAT(hit.prefill->miss_reason, HasSubstr("fewer tokens to compute than the 64"));
    const TokenCounts& tiers = hit.last.counts;
    EXPECT_GT(tiers.low + tiers.demoted, 0) << profile;
    if (profile == "diffkv") {
      const Geometry geometry = Model().weights->config().geometry();
      EXPECT_LE(tiers.pruned + tiers.dropped, int64_t{geometry.layers} * geometry.kv_heads * (74 + 10 + 2));
    }
  }
}

TEST_P(PrefillTest, TimeIsWhatItIsTold) {
  absl::Mutex mutex;
  absl::Time now = absl::UnixEpoch();
  now_ = [&] {
    absl::MutexLock lock(&mutex);
    return now;
  };
  StopBefore gate(1);
  MakePrefill(&gate);
  const uint64_t ticket = Reserve("k8v4", 100, 4);
  PrefillJob job = Job("k8v4", Prompt(100), ticket);
  job.deadline = absl::UnixEpoch() + absl::Hours(1);  // long past by the clock on the wall
  absl::Notification done;
  absl::Status end;
  prefill_->Submit(std::move(job), [&](absl::StatusOr<PrefillOutcome> outcome) {
    end = outcome.status();
    done.Notify();
  });
  gate.reached.WaitForNotification();
  {
    absl::MutexLock lock(&mutex);
    now += absl::Hours(2);
  }
  gate.passed.Notify();
  done.WaitForNotification();
  EXPECT_EQ(end.code(), absl::StatusCode::kDeadlineExceeded) << end;
  EXPECT_THAT(std::string(end.message()), HasSubstr("layer 1"));
  prefill_.reset();  // it borrows the clock
}

TEST_P(PrefillTest, RefusesWhatItCannotDo) {
  StopBefore gate(0);
  MakePrefill(&gate, 1);
  absl::Status status;
  const auto submit = [&](PrefillJob job) {
    prefill_->Submit(std::move(job), [&](absl::StatusOr<PrefillOutcome> outcome) { status = outcome.status(); });
  };
  PrefillJob job = Job("k8v4", Prompt(100), 1);
  job.model = Sha256("other");
  submit(job);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  job = Job("k8v4", {}, 1);
  submit(job);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  job = Job("k8v4", std::vector<int32_t>(5000, 5), 1);
  submit(job);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);

  const uint64_t ticket = Reserve("k8v4", 100, 4);
  absl::Notification first, second;
  prefill_->Submit(Job("k8v4", Prompt(100), ticket), [&](absl::StatusOr<PrefillOutcome> outcome) {
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    first.Notify();
  });
  gate.reached.WaitForNotification();  // the first one computes, the second one waits, the third one is refused
  prefill_->Submit(Job("k8v4", Prompt(100), 77), [&](absl::StatusOr<PrefillOutcome> outcome) {
    EXPECT_EQ(outcome.status().code(), absl::StatusCode::kNotFound);  // no such ticket
    second.Notify();
  });
  submit(Job("k8v4", Prompt(100), 78));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  gate.passed.Notify();
  first.WaitForNotification();
  second.WaitForNotification();
  decode_->Release(ticket);
  prefill_->Drain(absl::InfiniteFuture());
  submit(Job("k8v4", Prompt(100), 79));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
}

INSTANTIATE_TEST_SUITE_P(Devices, PrefillTest, ::testing::Values(On::kHost, On::kTestDevice),
                         [](const auto& device) { return device.param == On::kHost ? "Host" : "TestDevice"; });

}  // namespace
}  // namespace decant
