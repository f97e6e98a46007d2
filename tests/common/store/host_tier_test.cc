#include "common/store/host_tier.h"

#include <map>
#include <string>

#include "common/base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace decant {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t kFrame = 1000;
constexpr int64_t kCharge = HostTier::kEntryOverheadBytes + kFrame + HostTier::kBlobOverheadBytes;

LayerBlob FrameOf(int32_t layer, int64_t bytes = kFrame, int32_t layers = 1) {
  return LayerBlob{layer, layers, Blob::CopyOf(std::string(static_cast<size_t>(bytes), static_cast<char>(layer)))};
}

// A committed one-layer entry.
uint64_t Put(HostTier& tier, int32_t depth, uint64_t use) {
  const uint64_t entry = tier.Stage(1, depth, use).value();
  EXPECT_TRUE(tier.Add(entry, FrameOf(0)).ok());
  EXPECT_TRUE(tier.Commit(entry).ok());
  return entry;
}

std::vector<uint64_t> Forgotten(HostTier& tier) {
  std::vector<uint64_t> entries;
  for (const ForgottenEntry& gone : tier.TakeForgotten()) entries.push_back(gone.entry);
  return entries;
}

bool Holds(const HostTier& tier, uint64_t entry) { return !tier.Frames(entry).empty(); }

TEST(HostTierTest, ShowsAnEntryOnlyWhenEveryLayerArrived) {
  HostTier tier(1 << 20);
  const uint64_t entry = tier.Stage(4, 0, 1).value();
  ASSERT_TRUE(tier.Add(entry, FrameOf(3)).ok());
  ASSERT_TRUE(tier.Add(entry, FrameOf(0)).ok());
  EXPECT_FALSE(tier.Complete(entry));
  EXPECT_EQ(tier.Commit(entry).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(tier.Frames(entry), IsEmpty());
  ASSERT_TRUE(tier.Add(entry, FrameOf(1, kFrame, 2)).ok());
  EXPECT_TRUE(tier.Complete(entry));
  EXPECT_THAT(tier.Frames(entry), IsEmpty());
  ASSERT_TRUE(tier.Commit(entry).ok());
  ASSERT_EQ(tier.Frames(entry).size(), 3u);
  EXPECT_EQ(tier.Frames(entry)[1].first_layer, 1);
  EXPECT_EQ(tier.Frames(entry)[2].first_layer, 3);
  EXPECT_EQ(tier.FrameBytes(entry), 3 * kFrame);
  EXPECT_EQ(tier.Add(entry, FrameOf(0)).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(HostTierTest, RefusesFramesThatDoNotFitTheChunk) {
  HostTier tier(1 << 20);
  EXPECT_EQ(tier.Stage(0, 0, 1).status().code(), absl::StatusCode::kInvalidArgument);
  const uint64_t entry = tier.Stage(2, 0, 1).value();
  ASSERT_TRUE(tier.Add(entry, FrameOf(1)).ok());
  const int64_t before = tier.bytes();
  EXPECT_EQ(tier.Add(entry, FrameOf(1)).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(tier.Add(entry, FrameOf(0, kFrame, 2)).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(tier.Add(entry, FrameOf(2)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(tier.Add(entry, LayerBlob{-1, 1, {}}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(tier.Add(entry, LayerBlob{0, 0, {}}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(tier.Add(entry, LayerBlob{0, std::numeric_limits<int32_t>::max(), {}}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(tier.Add(entry + 1, FrameOf(0)).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(tier.bytes(), before);
}

TEST(HostTierTest, ForgetsTheLeastRecentlyUsedFirst) {
  HostTier tier(3 * kCharge);
  const uint64_t a = Put(tier, 0, 1);
  const uint64_t b = Put(tier, 0, 2);
  const uint64_t c = Put(tier, 0, 3);
  EXPECT_EQ(tier.bytes(), tier.capacity_bytes());
  tier.Use(a, 4);
  const uint64_t d = Put(tier, 0, 5);
  EXPECT_FALSE(Holds(tier, b));
  EXPECT_TRUE(Holds(tier, a) && Holds(tier, c) && Holds(tier, d));
  EXPECT_THAT(Forgotten(tier), ElementsAre(b));
  EXPECT_THAT(Forgotten(tier), IsEmpty());
}

TEST(HostTierTest, ForgetsTheDeepestOfOnePromptFirst) {
  HostTier tier(4 * kCharge);
  std::vector<uint64_t> prompt;
  for (int32_t depth = 0; depth < 4; ++depth) prompt.push_back(Put(tier, depth * 64, 1));
  Put(tier, 0, 2);
  Put(tier, 64, 2);
  EXPECT_THAT(Forgotten(tier), ElementsAre(prompt[3], prompt[2]));
}

TEST(HostTierTest, KeepsTheFrontOfAPromptThatDoesNotFit) {
  HostTier tier(3 * kCharge);
  std::vector<uint64_t> staged;
  for (int32_t depth = 0; depth < 3; ++depth) staged.push_back(tier.Stage(1, depth * 64, 1).value());
  EXPECT_TRUE(tier.Add(staged[2], FrameOf(0)).ok());
  EXPECT_TRUE(tier.Add(staged[1], FrameOf(0)).ok());
  EXPECT_TRUE(tier.Add(staged[0], FrameOf(0)).ok());
  EXPECT_EQ(tier.Stage(1, 3 * 64, 1).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(tier.entries(), 3u);
  // A chunk nearer to token 0 does displace a deeper one of the same operation.
  EXPECT_TRUE(tier.Stage(1, 32, 1).ok());
  EXPECT_THAT(Forgotten(tier), ElementsAre(staged[2]));
}

TEST(HostTierTest, NeverForgetsWhatIsHeld) {
  HostTier tier(2 * kCharge);
  const uint64_t a = Put(tier, 0, 1);
  const uint64_t b = Put(tier, 0, 2);
  tier.Hold(a);
  tier.Hold(a);
  tier.Hold(b);
  EXPECT_EQ(tier.held_bytes(), 2 * kCharge);
  const absl::Status full = tier.Stage(1, 0, 3).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), testing::HasSubstr("leased"));
  tier.LetGo(a);
  EXPECT_EQ(tier.Stage(1, 0, 3).status().code(), absl::StatusCode::kResourceExhausted);
  tier.LetGo(a);
  EXPECT_EQ(tier.held_bytes(), kCharge);
  EXPECT_TRUE(tier.Stage(1, 0, 3).ok());
  EXPECT_FALSE(Holds(tier, a));
  EXPECT_TRUE(Holds(tier, b));
  tier.LetGo(a);  // gone: ignored
  tier.Drop(b);
  EXPECT_EQ(tier.held_bytes(), 0);
}

TEST(HostTierTest, WhatDoesNotFitDisplacesNobody) {
  HostTier tier(3 * kCharge);
  const uint64_t a = Put(tier, 0, 1);
  const uint64_t entry = tier.Stage(1, 0, 2).value();
  EXPECT_EQ(tier.Add(entry, FrameOf(0, 4 * kCharge)).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Holds(tier, a));
  EXPECT_THAT(Forgotten(tier), IsEmpty());
}

TEST(HostTierTest, BlobsOutliveTheirPlace) {
  HostTier tier(kCharge);
  const uint64_t a = Put(tier, 0, 1);
  const Blob blob = tier.Frames(a)[0].blob;
  tier.Drop(a);
  EXPECT_EQ(tier.bytes(), 0);
  EXPECT_EQ(blob.view(), std::string(kFrame, '\0'));
}

TEST(HostTierTest, ReencodedFramesTakeThePlaceOfTheOldOnes) {
  HostTier tier(2 * kCharge);
  const uint64_t entry = Put(tier, 0, 1);
  const Blob read = tier.Frames(entry)[0].blob;
  EXPECT_EQ(tier.Replace(entry, {FrameOf(0, kFrame + 1)}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(tier.Replace(entry, {FrameOf(0, 10, 2)}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(tier.Replace(entry, {}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(tier.Replace(entry + 1, {FrameOf(0)}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(tier.bytes(), kCharge);
  tier.Hold(entry);
  EXPECT_EQ(tier.Replace(entry, {FrameOf(0, 400)}).code(), absl::StatusCode::kFailedPrecondition);
  tier.LetGo(entry);
  ASSERT_TRUE(tier.Replace(entry, {FrameOf(0, 400)}).ok());
  EXPECT_EQ(tier.FrameBytes(entry), 400);
  EXPECT_EQ(tier.bytes(), kCharge - 600);
  EXPECT_EQ(tier.bytes(), tier.SumBytes());
  EXPECT_EQ(read.bytes(), kFrame);  // who read the old ones still has them
  const uint64_t staged = tier.Stage(1, 0, 2).value();
  EXPECT_EQ(tier.Replace(staged, {FrameOf(0)}).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(HostTierTest, CountsRequestsNotOperations) {
  HostTier tier(2 * kCharge);
  const uint64_t entry = Put(tier, 0, 1);
  tier.Use(entry, 2);
  EntryUse again;
  again.operation = 3;
  again.counts = false;
  tier.Use(entry, again);
  EXPECT_EQ(tier.UsesOf(entry), 2u);
  EXPECT_FALSE(tier.MayDisplace(entry, 0, 3));
  EXPECT_TRUE(tier.MayDisplace(entry, 0, 4));
  tier.Drop(entry);
  EXPECT_EQ(tier.UsesOf(entry), 0u);
}

TEST(HostTierTest, ChargesEqualTheSumUnderRandomUse) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    uint64_t draw = 0;
    const auto next = [&](uint64_t below) { return MixBits(seed, draw++) % below; };
    HostTier tier(20 * kCharge);
    std::map<uint64_t, int> held;
    uint64_t newest = 0;
    for (uint64_t step = 1; step < 400; ++step) {
      const uint64_t some = newest == 0 ? 0 : 1 + next(newest);
      switch (next(7)) {
        case 0:
          if (const auto entry = tier.Stage(3, static_cast<int32_t>(next(5)) * 64, step); entry.ok()) newest = *entry;
          break;
        case 1:
        case 2:
        case 3:
          (void)tier.Add(some, FrameOf(static_cast<int32_t>(next(3)), static_cast<int64_t>(next(3000))));
          (void)tier.Commit(some);
          break;
        case 4:
          if (Holds(tier, some)) {
            tier.Hold(some);
            ++held[some];
          }
          break;
        case 5:
          if (!held.empty()) {
            tier.LetGo(held.begin()->first);
            if (--held.begin()->second == 0) held.erase(held.begin());
          }
          break;
        default:
          tier.Use(some, step);
      }
      ASSERT_EQ(tier.bytes(), tier.SumBytes()) << "seed " << seed << " step " << step;
      ASSERT_LE(tier.bytes(), tier.capacity_bytes());
      for (const auto& [entry, count] : held) ASSERT_TRUE(Holds(tier, entry)) << "seed " << seed;
    }
    for (uint64_t entry = 1; entry <= newest; ++entry) tier.Drop(entry);
    ASSERT_EQ(tier.bytes(), 0);
    ASSERT_EQ(tier.held_bytes(), 0);
  }
}

}  // namespace
}  // namespace decant
