// The pool's core in virtual time under 200 seeded schedules: publishers that lose, damage, repeat and reorder frames,
// stall or die; readers that fetch slowly, let leases run out, or vanish; and too little memory for all of it. Then the
// same with a lower tier that is late, loses, damages and forgets what it holds, and with a ladder whose re-encodings
// end late, in any order, or fail, while their chunks are read, evicted or published anew.
#include <algorithm>
#include <deque>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/services/pool/fake_tiers.h"
#include "tests/services/pool/pool_rig.h"

namespace decant {
namespace {

using namespace pool_rig;  // NOLINT: this file is about nothing else

constexpr int kSteps = 600;
constexpr int32_t kLayers = 3;

struct Publisher {
  Prompt prompt;
  std::string profile;
  std::shared_ptr<const PublishRules> rules;
  uint64_t publish = 0;
  absl::Time last_sent;
  std::deque<std::string> messages;  // still to arrive, in the order of arrival
};

struct Reader {
  PlanOffer plan;
  absl::Time deadline;  // until then the lease must hold
  FetchCursor cursor;
  std::vector<std::string> expected;
  size_t received = 0;
};

// A re-encoding under way.
struct Reencoding {
  LadderJob job;
  Variant from;
};

class PoolSim {
 public:
  PoolSim(uint64_t seed, bool has_tiers, bool has_ladder = false)
      : seed_(seed),
        has_tiers_(has_tiers),
        has_ladder_(has_ladder),
        limits_(LimitsOf(seed, has_ladder)),
        tiers_(seed % 2 == 0 ? std::set<HostEvent>{HostEvent::kStored, HostEvent::kEvicted}
                             : std::set<HostEvent>{HostEvent::kEvicted}),
        pool_(limits_, TestCatalogue(), TestTables(), has_tiers ? &tiers_ : nullptr) {}

  void Run() {
    for (int step = 0; step < kSteps && !testing::Test::HasFatalFailure(); ++step) {
      now_ += absl::Milliseconds(Next(150));
      switch (Next(12)) {
        case 0:
          StartPublisher();
          break;
        case 1:
        case 2:
        case 3:
        case 4:
        case 5:
        case 6:
        case 7:
          AdvancePublisher();
          break;
        case 8:
          StartReader();
          break;
        case 9:
        case 10:
          AdvanceReader();
          break;
        default:
          Vanish();
      }
      for (LoadJob& job : pool_.TakeLoads()) loads_.push_back(std::move(job));
      if (has_tiers_ && Chance(60)) AdvanceLoad();
      if (has_tiers_ && Chance(5)) ForgetRecord();
      if (has_ladder_ && Chance(20)) PlanReencodings();
      if (has_ladder_ && Chance(20)) EndReencoding();
      if (has_ladder_ && Chance(5)) TakeHint();
      CheckInvariants();
    }
    End();
  }

  int64_t frames_checked() const { return frames_checked_; }
  int64_t fetches_cut() const { return fetches_cut_; }
  int64_t counted() const { return tiers_.host + tiers_.below + tiers_.missed + tiers_.unknown; }
  int64_t asked() const { return asked_; }
  int64_t reencoded_read() const { return reencoded_read_; }
  int64_t gone_meanwhile() const { return gone_meanwhile_; }
  int64_t read_meanwhile() const { return read_meanwhile_; }
  PoolStats stats() const { return pool_.stats(); }

 private:
  static PoolLimits LimitsOf(uint64_t seed, bool has_ladder) {
    PoolLimits limits;
    if (has_ladder) {
      limits.ladder = {"full", "k8v4", "k4v2"};
      limits.ladder_starts = 0.5;
      limits.ladder_ends = 0.3;
    }
    // From a handful of chunks to nearly all of them.
    limits.capacity_bytes = 40'000 + static_cast<int64_t>(MixBits(seed, 1'000'000) % 150'000);
    limits.lease = absl::Seconds(3);
    limits.publish_idle = absl::Seconds(2);
    limits.leases = 6;
    limits.publishes = 4;
    return limits;
  }

  uint64_t Next(uint64_t below) { return MixBits(seed_, draws_++) % below; }
  bool Chance(uint64_t percent) { return Next(100) < percent; }

  // Prompts that share prefixes: token ids depend on one of two stems and, from some chunk on, on a branch.
  Prompt RandomPrompt() {
    const uint64_t stem = Next(2);
    const uint64_t branch = Next(3);
    const uint64_t fork = 1 + Next(3);
    const uint64_t chunks = 1 + Next(5);
    std::vector<int32_t> tokens;
    for (uint64_t i = 0; i < chunks * kChunkTokens + 1; ++i) {
      const uint64_t source = i < fork * kChunkTokens ? stem : 100 + stem * 10 + branch;
      tokens.push_back(static_cast<int32_t>(MixBits(source, i) % 1000));
    }
    return PromptOf(std::move(tokens));
  }

  const std::string& ExpectedFrame(const std::string& profile, int32_t first_token, int32_t layer, const Digest& key) {
    std::string& frame = frames_[{profile, key, layer}];
    if (frame.empty()) frame = FrameOf(HeaderOf(profile, first_token, layer, key));
    return frame;
  }

  void StartPublisher() {
    Publisher publisher;
    publisher.prompt = RandomPrompt();
    publisher.profile = Chance(50) ? "full" : "k8v4";
    const size_t chunks = publisher.prompt.keys.size();
    const size_t first = Next(chunks);
    publisher.rules =
        *PublishRules::Create(StartOf(publisher.prompt, publisher.profile, first, chunks - first), pool_.catalogue());
    const auto publish = pool_.BeginPublish(now_, publisher.rules);
    if (!publish.ok()) {
      EXPECT_EQ(publish.status().code(), absl::StatusCode::kResourceExhausted);
      return;
    }
    publisher.publish = *publish;
    publisher.last_sent = now_;
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      std::string message;
      for (size_t chunk = first; chunk < chunks; ++chunk) {
        const Digest& key = publisher.prompt.keys[chunk];
        std::string frame = ExpectedFrame(publisher.profile, static_cast<int32_t>(chunk) * kChunkTokens, layer, key);
        if (Chance(2)) continue;
        if (Chance(2)) frame[Next(frame.size())] ^= static_cast<char>(1 + Next(255));
        if (Chance(2)) {  // of another chunk, or of another model: whole, but wrong here
          FrameHeader wrong = HeaderOf(publisher.profile, static_cast<int32_t>(chunk) * kChunkTokens, layer, key);
          (Chance(50) ? wrong.context : wrong.profile) = Sha256("wrong");
          frame = FrameOf(wrong);
        }
        message += frame;
        if (Chance(2)) message += frame;
        if (Chance(30)) publisher.messages.push_back(std::move(message)), message.clear();
      }
      publisher.messages.push_back(std::move(message));
    }
    if (Chance(30)) std::swap(publisher.messages.front(), publisher.messages.back());
    publishers_.push_back(std::move(publisher));
  }

  void AdvancePublisher() {
    if (publishers_.empty()) return;
    const size_t which = Next(publishers_.size());
    Publisher& publisher = publishers_[which];
    const bool alive = now_ < publisher.last_sent + limits_.publish_idle;
    if (publisher.messages.empty()) {
      const auto tally = pool_.EndPublish(now_, publisher.publish);
      EXPECT_EQ(tally.ok(), alive) << tally.status();
      if (tally.ok()) {
        EXPECT_EQ(tally->stored + tally->known + tally->refused,
                  static_cast<int32_t>(publisher.rules->start().chunks.size()));
      }
      publishers_.erase(publishers_.begin() + static_cast<std::ptrdiff_t>(which));
      return;
    }
    const absl::Status added =
        pool_.AddFrames(now_, publisher.publish, publisher.rules->Check(publisher.messages.front()));
    EXPECT_EQ(added.ok(), alive) << added;
    publisher.messages.pop_front();
    if (alive) publisher.last_sent = now_;
  }

  void StartReader() {
    const Prompt prompt = RandomPrompt();
    const double floor = Chance(30) ? 1 : (Chance(50) ? 0.9 : 0);
    const auto plan = pool_.Plan(now_, DemandOf(prompt, floor));
    ASSERT_TRUE(plan.ok()) << plan.status();
    asked_ += static_cast<int64_t>(prompt.keys.size());
    ASSERT_LE(plan->pairs[0].choice.reused_tokens, static_cast<int64_t>(prompt.tokens.size()) - 1);
    ASSERT_EQ(plan->lease != 0, !plan->prefix.empty());
    for (size_t i = 0; i < plan->prefix.size(); ++i) {
      const Variant& variant = plan->prefix[i];
      ASSERT_EQ(variant.key, prompt.keys[i]);
      ASSERT_TRUE(floor < 1 || variant.exact());
      ASSERT_GE(variant.quality, floor);
      if (variant.encoded_from.empty()) continue;
      ++reencoded_read_;
      ASSERT_TRUE(variant.encoded_from == "full" ? variant.profile_name != "full" : variant.profile_name == "k4v2")
          << variant.encoded_from << " to " << variant.profile_name << ": nothing ever climbs";
      ASSERT_FALSE(variant.exact());
    }
    if (plan->lease == 0) return;
    Reader reader;
    reader.plan = *plan;
    reader.deadline = now_ + limits_.lease;
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      for (const Variant& variant : plan->prefix) {
        reader.expected.push_back(ExpectedFrame(variant.profile_name, variant.first_token, layer, variant.key));
      }
    }
    readers_.push_back(std::move(reader));
  }

  void AdvanceReader() {
    if (readers_.empty()) return;
    const size_t which = Next(readers_.size());
    Reader& reader = readers_[which];
    const bool holds = now_ < reader.deadline;
    bool over = !holds;
    if (reader.cursor.lease == 0) {
      auto cursor = pool_.BeginFetch(now_, reader.plan.lease, "", Model().fingerprint, WantedOf(reader.plan.prefix));
      ASSERT_EQ(cursor.ok(), holds) << cursor.status();
      if (cursor.ok()) reader.cursor = *std::move(cursor);
    } else if (holds && pool_.IsLoading(reader.cursor)) {
      pool_.Expire(now_);
      return;
    } else {
      const auto batch = pool_.NextFrames(now_, reader.cursor, 1 + static_cast<int64_t>(Next(20000)), 20000);
      ASSERT_EQ(batch.ok(), holds) << batch.status();
      if (batch.ok()) {
        Cut(reader);
        for (const Blob& blob : batch->frames) {
          ASSERT_LT(reader.received, reader.expected.size());
          ASSERT_EQ(blob.view(), reader.expected[reader.received]) << "frame " << reader.received;
          ++reader.received;
          ++frames_checked_;
        }
        over = batch->frames.empty();
        if (over) {
          ASSERT_EQ(reader.received, reader.expected.size());
        }
      }
    }
    if (holds) reader.deadline = now_ + limits_.lease;
    if (!over) return;
    if (Chance(70)) pool_.Release(now_, reader.plan.lease, "");
    readers_.erase(readers_.begin() + static_cast<std::ptrdiff_t>(which));
  }

  // Chunks that were lost are left out with all behind them, and the fetch says so.
  void Cut(Reader& reader) {
    const std::vector<Variant>& prefix = reader.plan.prefix;
    const size_t kept = reader.cursor.entries.size();
    ASSERT_EQ(kept < prefix.size(), !reader.cursor.lost.empty());
    if (kept == prefix.size() || reader.received > 0) return;
    ASSERT_NE(prefix[kept].tier, Tier::kHost) << "what was leased in memory is gone";
    ++fetches_cut_;
    reader.expected.clear();
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      for (size_t i = 0; i < kept; ++i) {
        reader.expected.push_back(ExpectedFrame(prefix[i].profile_name, prefix[i].first_token, layer, prefix[i].key));
      }
    }
  }

  // One load ends, in any order: it brings the record, comes too late, or finds it damaged or gone.
  void AdvanceLoad() {
    if (loads_.empty()) return;
    const size_t which = Next(loads_.size());
    const LoadJob job = loads_[which];
    loads_.erase(loads_.begin() + static_cast<std::ptrdiff_t>(which));
    constexpr TierMiss kMisses[] = {TierMiss::kLate, TierMiss::kDamaged, TierMiss::kAbsent, TierMiss::kUnavailable};
    const TierMiss miss = kMisses[Next(4)];
    if (Chance(25) && miss != TierMiss::kLate && miss != TierMiss::kUnavailable) tiers_.records.erase(job.id);
    Loaded loaded = tiers_.Load(job, miss);
    if (loaded.record.ok() && Chance(10)) {
      loaded.record = absl::DeadlineExceededError("late");
      loaded.miss = TierMiss::kLate;
    }
    pool_.FinishLoad(now_, job, std::move(loaded));
  }

  std::optional<Variant> VariantOfEntry(uint64_t entry) const {
    VariantId cursor = 0;
    do {
      for (const Variant& variant : pool_.index().Scan(&cursor, 1000, 1000)) {
        if (variant.entry == entry) return variant;
      }
    } while (cursor != 0);
    return std::nullopt;
  }

  void PlanReencodings() {
    for (LadderJob& job : pool_.PlanLadder(now_, 1 + Next(4))) {
      const std::optional<Variant> from = VariantOfEntry(job.entry);
      ASSERT_TRUE(from.has_value()) << "only what is stored is planned";
      ASSERT_EQ(from->tier, Tier::kHost);
      ASSERT_EQ(job.frames.size(), static_cast<size_t>(kLayers));
      // One that went down and came up again may be in work twice.
      reencodings_.push_back(Reencoding{std::move(job), *from});
    }
  }

  // In any order, however long after it was planned: the frames, too few of them, or an error.
  void EndReencoding() {
    if (reencodings_.empty()) return;
    const size_t which = Next(reencodings_.size());
    const Reencoding ended = std::move(reencodings_[which]);
    reencodings_.erase(reencodings_.begin() + static_cast<std::ptrdiff_t>(which));
    pool_.Expire(now_);
    const bool held = pool_.tier().IsHeld(ended.job.entry);
    const bool here = pool_.tier().ChargeOf(ended.job.entry) > 0;
    read_meanwhile_ += held ? 1 : 0;
    gone_meanwhile_ += here ? 0 : 1;
    absl::StatusOr<std::vector<LayerBlob>> frames = std::vector<LayerBlob>();
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      frames->push_back(LayerBlob{
          layer, 1,
          Blob::CopyOf(ExpectedFrame(ended.job.target.profile, ended.from.first_token, layer, ended.from.key))});
    }
    if (Chance(10)) frames->pop_back();
    if (Chance(10)) frames = absl::DataLossError("its frames cannot be read");
    const PoolStats before = pool_.stats();
    pool_.FinishLadder(now_, ended.job, std::move(frames));
    if (held || !here) {
      ASSERT_EQ(pool_.stats().reencoded, before.reencoded) << "what is leased or gone is never moved";
    }
  }

  // Somebody has chunks dropped, sent down, or kept, though they may be in work.
  void TakeHint() {
    constexpr HintKind kKinds[] = {HintKind::kRelease, HintKind::kDemote, HintKind::kRetain};
    Hint hint;
    hint.kind = kKinds[Next(3)];
    hint.keys = RandomPrompt().keys;
    hint.drop = true;
    hint.priority = static_cast<int32_t>(Next(kMostPriority + 1));
    hint.duration = absl::Seconds(1 + static_cast<int64_t>(Next(5)));
    pool_.Expire(now_);
    const PoolStats before = pool_.stats();
    pool_.TakeHints(now_, "", {hint});
    const PoolStats after = pool_.stats();
    dropped_ += before.chunks - after.chunks - (after.evicted - before.evicted);
  }

  // The tier needs the room of some record, and says so.
  void ForgetRecord() {
    if (tiers_.records.empty()) return;
    auto record = tiers_.records.begin();
    std::advance(record, static_cast<std::ptrdiff_t>(Next(tiers_.records.size())));
    const RecordName name = NameOf(record->first);
    tiers_.records.erase(record);
    pool_.ForgetBelow({name});
  }

  // Somebody dies without a word, or the edge notices a broken stream.
  void Vanish() {
    if (Chance(30) && !readers_.empty())
      readers_.erase(readers_.begin() + static_cast<std::ptrdiff_t>(Next(readers_.size())));
    if (Chance(30) && !publishers_.empty()) {
      const size_t which = Next(publishers_.size());
      if (Chance(50)) pool_.AbortPublish(now_, publishers_[which].publish);
      publishers_.erase(publishers_.begin() + static_cast<std::ptrdiff_t>(which));
    }
    if (Chance(5)) now_ += absl::Seconds(2);
  }

  void CheckInvariants() {
    ASSERT_EQ(pool_.tier().bytes(), pool_.tier().SumBytes());
    ASSERT_LE(pool_.tier().bytes(), limits_.capacity_bytes);
    ASSERT_LE(pool_.tier().held_bytes(), pool_.tier().bytes());
    // What a live lease covers is still there, whole.
    for (const Reader& reader : readers_) {
      if (now_ >= reader.deadline) continue;
      for (const Variant& variant : reader.plan.prefix) {
        if (variant.tier != Tier::kHost) continue;
        int64_t layers = 0;
        for (const LayerBlob& blob : pool_.tier().Frames(variant.entry)) layers += blob.layers;
        ASSERT_EQ(layers, kLayers);
      }
    }
  }

  void End() {
    now_ += absl::Seconds(10);
    while (!loads_.empty()) AdvanceLoad();
    while (!reencodings_.empty()) EndReencoding();
    pool_.Expire(now_);
    const PoolStats stats = pool_.stats();
    ASSERT_EQ(stats.leases, 0);
    ASSERT_EQ(pool_.tier().held_bytes(), 0);
    // Only readable chunks are left: no entry of a publish that ended.
    ASSERT_EQ(static_cast<int64_t>(pool_.tier().entries()), stats.chunks - stats.chunks_below);
    if (has_tiers_) {
      ASSERT_EQ(counted(), asked_) << "every chunk asked for counts once";
    } else {
      ASSERT_EQ(stats.chunks_stored - stats.evicted - dropped_, stats.chunks);
    }
  }

  const uint64_t seed_;
  uint64_t draws_ = 0;
  const bool has_tiers_;
  const bool has_ladder_;
  const PoolLimits limits_;
  absl::Time now_ = kStart;
  FakeTiers tiers_;
  Pool pool_;
  std::vector<Publisher> publishers_;
  std::vector<Reader> readers_;
  std::map<std::tuple<std::string, Digest, int32_t>, std::string> frames_;
  std::deque<LoadJob> loads_;
  std::vector<Reencoding> reencodings_;
  int64_t frames_checked_ = 0;
  int64_t fetches_cut_ = 0;
  int64_t asked_ = 0;
  int64_t reencoded_read_ = 0;
  int64_t gone_meanwhile_ = 0;
  int64_t dropped_ = 0;
  int64_t read_meanwhile_ = 0;
};

TEST(PoolSimTest, NeverServesWrongBytesAndLeaksNothing) {
  int64_t frames = 0, evicted = 0, refused = 0, stored = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    PoolSim sim(seed, false);
    sim.Run();
    if (testing::Test::HasFatalFailure() || testing::Test::HasNonfatalFailure()) return;
    frames += sim.frames_checked();
    evicted += sim.stats().evicted;
    refused += sim.stats().chunks_refused;
    stored += sim.stats().chunks_stored;
  }
  // The schedules must reach what they are made for.
  EXPECT_GT(frames, 2000);
  EXPECT_GT(evicted, 200);
  EXPECT_GT(refused, 1000);
  EXPECT_GT(stored, 2000);
}

TEST(PoolSimTest, NeverServesWrongBytesFromATierThatFails) {
  int64_t frames = 0, down = 0, up = 0, cut = 0;
  for (uint64_t seed = 1000; seed < 1200; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    PoolSim sim(seed, true);
    sim.Run();
    if (testing::Test::HasFatalFailure() || testing::Test::HasNonfatalFailure()) return;
    frames += sim.frames_checked();
    down += sim.stats().moved_down;
    up += sim.stats().moved_up;
    cut += sim.fetches_cut();
  }
  EXPECT_GT(frames, 2000);
  EXPECT_GT(down, 200);
  EXPECT_GT(up, 100);
  EXPECT_GT(cut, 20);
}

TEST(PoolSimTest, NeverServesWrongBytesWhileTheLadderIsAtWork) {
  int64_t frames = 0, reencoded = 0, failed = 0, read = 0, gone = 0, held = 0, up = 0;
  for (uint64_t seed = 2000; seed < 2200; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    PoolSim sim(seed, seed % 2 == 0, true);
    sim.Run();
    if (testing::Test::HasFatalFailure() || testing::Test::HasNonfatalFailure()) return;
    frames += sim.frames_checked();
    reencoded += sim.stats().reencoded;
    failed += sim.stats().ladder_failed;
    read += sim.reencoded_read();
    gone += sim.gone_meanwhile();
    held += sim.read_meanwhile();
    up += sim.stats().moved_up;
  }
  EXPECT_GT(frames, 2000);
  EXPECT_GT(reencoded, 500);
  EXPECT_GT(failed, 50);
  EXPECT_GT(read, 100);
  EXPECT_GT(gone, 20);
  EXPECT_GT(held, 20);
  EXPECT_GT(up, 50);
}

}  // namespace
}  // namespace decant
