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
  EXPECT_EQ(journal.head(0), 0u);
  EXPECT_TRUE(journal.After(0, 0, 100)->empty());
  for (const char* key : {"a", "b", "c"}) journal.Append(Event(0, key));
  const auto events = journal.After(1, 0, 100).value();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].sequence, 2u);
  EXPECT_EQ(events[0].key, Sha256("b"));
  EXPECT_EQ(events[1].key, Sha256("c"));
  EXPECT_TRUE(journal.After(3, 0, 100)->empty());
  EXPECT_EQ(journal.After(0, 0, 2)->size(), 2u);
  EXPECT_EQ(journal.head(0), 3u);
}

TEST(JournalTest, TellsAReaderThatFellBehindToResync) {
  Journal journal(3);
  for (int i = 0; i < 5; ++i) journal.Append(Event(0, std::to_string(i)));
  EXPECT_EQ(journal.After(1, 0, 9).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(journal.After(2, 0, 9)->size(), 3u);
  // A number of another process's life.
  EXPECT_EQ(journal.After(6, 0, 9).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(journal.After(5, 0, 9)->empty());
}

TEST(JournalTest, NumbersOfOneTenantTellNothingOfAnother) {
  Journal journal(10);
  journal.Append(Event(1, "a"));
  journal.Append(Event(2, "b"));
  journal.Append(Event(1, "c"));
  const auto events = journal.After(0, 2, 9).value();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].key, Sha256("b"));
  EXPECT_EQ(events[0].sequence, 1u);
  EXPECT_EQ(journal.head(2), 1u);
  EXPECT_EQ(journal.head(3), 0u);
  EXPECT_EQ(journal.After(1, 3, 9).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(JournalTest, WhoKeepsMostGivesFirst) {
  Journal journal(100, 20);
  for (int i = 0; i < 4; ++i) journal.Append(Event(1, std::to_string(i)));
  for (int i = 0; i < 60; ++i) journal.Append(Event(2, std::to_string(i)));
  EXPECT_LE(journal.kept(), 20u);
  EXPECT_EQ(journal.After(0, 1, 9)->size(), 4u);
  EXPECT_FALSE(journal.After(0, 2, 9).ok());
  EXPECT_EQ(journal.appended(), 64u);
}

}  // namespace
}  // namespace decant
