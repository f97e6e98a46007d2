// What a follower is told, from the pool's core: a snapshot, what follows, a gap, and nothing of others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <utility>

#include "tests/services/pool/pool_rig.h"

namespace decant {
namespace {

using namespace pool_rig;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr size_t kMost = 100;

// An index of its own, kept by events alone.
class Follower {
 public:
  explicit Follower(std::string tenant = "") { cursor_.tenant = std::move(tenant); }

  // Reads until there is no more. OUT_OF_RANGE as the pool says.
  absl::Status CatchUp(const Pool& pool, size_t most = kMost) {
    for (;;) {
      const absl::StatusOr<EventPage> page = pool.Events(cursor_, most);
      if (!page.ok()) return page.status();
      for (const ChunkEvent& event : page->events) Apply(event);
      if (!page->more) return absl::OkStatus();
    }
  }
  void BeginAnew() {
    stored.clear();
    cursor_.snapshot = true;
    cursor_.after.reset();
    cursor_.scan = 0;
  }

  std::set<std::pair<Digest, Digest>> stored;  // key, variant
  std::vector<ChunkEvent> heard;

 private:
  void Apply(const ChunkEvent& event) {
    heard.push_back(event);
    if (event.kind == ChunkEventKind::kStored) stored.insert({event.key, event.variant});
    if (event.kind == ChunkEventKind::kRemoved) stored.erase({event.key, event.variant});
    if (event.kind == ChunkEventKind::kMoved) {
      stored.erase({event.key, event.variant});
      stored.insert({event.key, event.becomes.IsZero() ? event.variant : event.becomes});
    }
  }
  EventCursor cursor_;
};

std::set<std::pair<Digest, Digest>> TruthOf(const Pool& pool) {
  std::set<std::pair<Digest, Digest>> stored;
  VariantId cursor = 0;
  do {
    for (const Variant& variant : pool.index().Scan(&cursor, kMost, kMost)) {
      stored.insert({variant.key, VariantDigest(variant.profile, variant.context)});
    }
  } while (cursor != 0);
  return stored;
}

Pool SmallPool(size_t events = 1000) {
  PoolLimits limits;
  Pool probe(PoolLimits(), TestCatalogue(), TestTables());
  EXPECT_TRUE(PublishAll(probe, kStart, PromptOf(1, 1), "full").ok());
  limits.capacity_bytes = 10 * probe.tier().bytes();
  limits.events_of_tenant = events;
  limits.ladder = {"full", "k8v4"};
  return Pool(limits, TestCatalogue(), TestTables());
}

TEST(PoolEventsTest, ASnapshotAndWhatFollowsIsWhatIsStored) {
  Pool pool = SmallPool();
  ASSERT_TRUE(PublishAll(pool, kStart, PromptOf(1, 4), "full").ok());
  Follower follower;
  ASSERT_TRUE(follower.CatchUp(pool).ok());
  EXPECT_THAT(follower.stored, SizeIs(4));
  for (const ChunkEvent& event : follower.heard) EXPECT_EQ(event.sequence, 0u);
  follower.heard.clear();
  for (uint64_t seed = 2; seed <= 9; ++seed) {
    ASSERT_TRUE(PublishAll(pool, kStart, PromptOf(seed, 3), "full").ok());
    ASSERT_TRUE(follower.CatchUp(pool, 2).ok());
    EXPECT_EQ(follower.stored, TruthOf(pool));
  }
  EXPECT_GT(pool.stats().evicted, 0);
  for (size_t i = 0; i < follower.heard.size(); ++i) EXPECT_EQ(follower.heard[i].sequence, 5 + i);
}

// Whatever changes while a snapshot is read in parts: the end is the truth.
TEST(PoolEventsTest, ChangesDuringASnapshotAreNotLost) {
  Pool pool = SmallPool();
  ASSERT_TRUE(PublishAll(pool, kStart, PromptOf(1, 8), "full").ok());
  EventCursor cursor;
  std::set<std::pair<Digest, Digest>> stored;
  for (uint64_t seed = 2; cursor.snapshot; ++seed) {
    const EventPage page = pool.Events(cursor, 2).value();
    for (const ChunkEvent& event : page.events) stored.insert({event.key, event.variant});
    ASSERT_TRUE(PublishAll(pool, kStart, PromptOf(seed, 2), "full").ok());
  }
  for (bool more = true; more;) {
    const EventPage page = pool.Events(cursor, 3).value();
    for (const ChunkEvent& event : page.events) {
      if (event.kind == ChunkEventKind::kStored) stored.insert({event.key, event.variant});
      if (event.kind == ChunkEventKind::kRemoved) stored.erase({event.key, event.variant});
    }
    more = page.more;
  }
  EXPECT_EQ(stored, TruthOf(pool));
}

TEST(PoolEventsTest, AFormThatChangesMoves) {
  PoolLimits limits;
  limits.ladder = {"full", "k8v4"};
  limits.ladder_starts = limits.ladder_ends = 0;
  Pool pool(limits, TestCatalogue(), TestTables());
  ASSERT_TRUE(PublishAll(pool, kStart, PromptOf(1, 1), "full").ok());
  Follower follower;
  ASSERT_TRUE(follower.CatchUp(pool).ok());
  const std::vector<LadderJob> jobs = pool.PlanLadder(kStart, 1);
  ASSERT_THAT(jobs, SizeIs(1));
  std::vector<LayerBlob> frames;
  for (const LayerBlob& frame : jobs[0].frames)
    frames.push_back(LayerBlob{frame.first_layer, frame.layers, Blob::CopyOf("x")});
  pool.FinishLadder(kStart, jobs[0], frames);
  ASSERT_TRUE(follower.CatchUp(pool).ok());
  EXPECT_EQ(follower.heard.back().kind, ChunkEventKind::kMoved);
  EXPECT_EQ(follower.stored, TruthOf(pool));
}

TEST(PoolEventsTest, WhoFellBehindIsToldToBeginAnew) {
  Pool pool = SmallPool(4);
  Follower follower;
  ASSERT_TRUE(follower.CatchUp(pool).ok());
  ASSERT_TRUE(PublishAll(pool, kStart, PromptOf(1, 8), "full").ok());
  EXPECT_EQ(follower.CatchUp(pool).code(), absl::StatusCode::kOutOfRange);
  follower.BeginAnew();
  ASSERT_TRUE(follower.CatchUp(pool).ok());
  EXPECT_EQ(follower.stored, TruthOf(pool));
}

TEST(PoolEventsTest, ATenantHearsOfItsOwnOnly) {
  Pool pool = SmallPool();
  const auto publish = [&](uint64_t seed, int chunks, const std::string& tenant) {
    const Prompt prompt = PromptOf(seed, chunks, tenant);
    PublishStart start = StartOf(prompt, "full", 0, prompt.keys.size());
    start.tenant = tenant;
    ASSERT_TRUE(PublishAll(pool, kStart, std::move(start), prompt).ok());
  };
  publish(1, 2, "a");
  Follower before("b");
  ASSERT_TRUE(before.CatchUp(pool).ok());
  EXPECT_THAT(before.heard, IsEmpty());
  publish(2, 2, "a");
  publish(3, 1, "b");
  publish(4, 2, "a");
  Follower after("b");
  for (Follower* follower : {&before, &after}) {
    ASSERT_TRUE(follower->CatchUp(pool).ok());
    ASSERT_THAT(follower->heard, SizeIs(1));
    EXPECT_EQ(follower->heard[0].key, PromptOf(3, 1, "b").keys[0]);
  }
  EXPECT_EQ(before.heard[0].sequence, 1u) << "not even how much happens to others";
  Follower stranger("nobody");
  ASSERT_TRUE(stranger.CatchUp(pool).ok());
  EXPECT_THAT(stranger.heard, IsEmpty());
}

}  // namespace
}  // namespace decant
