#include "common/index/journal.h"

#include "gtest/gtest.h"

namespace decant {
namespace {

ChunkEvent Event(uint32_t tenant, const std::string& key) {
  ChunkEvent event;
  event.kind = ChunkEventKind::kStored;
  event.tier = Tier::kHost;
  event.tenant = tenant;
  event.key = Sha256(key);
  return event;
}

TEST(JournalTest, GivesWhatFollowsANumber) {
  Journal journal(10);
  EXPECT_EQ(journal.head(), 0u);
  uint64_t seen = 7;
  EXPECT_TRUE(journal.After(0, 0, 100, &seen)->empty());
  EXPECT_EQ(seen, 0u);
  for (const char* key : {"a", "b", "c"}) journal.Append(Event(0, key));
  const auto events = journal.After(1, 0, 100, &seen).value();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].sequence, 2u);
  EXPECT_EQ(events[0].key, Sha256("b"));
  EXPECT_EQ(events[1].key, Sha256("c"));
  EXPECT_EQ(seen, 3u);
  EXPECT_TRUE(journal.After(3, 0, 100, &seen)->empty());
  EXPECT_EQ(journal.After(0, 0, 2, &seen)->size(), 2u);
  EXPECT_EQ(seen, 2u);
}

TEST(JournalTest, TellsAReaderThatFellBehindToResync) {
  Journal journal(3);
  uint64_t seen = 0;
  for (int i = 0; i < 5; ++i) journal.Append(Event(0, std::to_string(i)));
  EXPECT_EQ(journal.After(1, 0, 9, &seen).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(journal.After(2, 0, 9, &seen)->size(), 3u);
  // A number of another process's life.
  EXPECT_EQ(journal.After(6, 0, 9, &seen).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(journal.After(5, 0, 9, &seen)->empty());
}

TEST(JournalTest, ShowsNobodyAnotherTenantsEvents) {
  Journal journal(10);
  uint64_t seen = 0;
  journal.Append(Event(1, "a"));
  journal.Append(Event(2, "b"));
  journal.Append(Event(1, "c"));
  const auto events = journal.After(0, 2, 9, &seen).value();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].key, Sha256("b"));
  EXPECT_EQ(seen, 3u);
}

}  // namespace
}  // namespace decant
