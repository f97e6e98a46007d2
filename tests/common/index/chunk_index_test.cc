#include "common/index/chunk_index.h"

#include <limits>
#include <map>
#include <set>
#include <string>

#include "common/base/random.h"
#include "common/index/keys.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace decant {
namespace {

using testing::HasSubstr;

constexpr int32_t kTokens = 16;

std::vector<Digest> Keys(int count) {
  std::vector<int32_t> tokens(static_cast<size_t>(count * kTokens));
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i);
  return ChunkKeys(KeySpace{}, tokens, kTokens);
}

class Prompt {
 public:
  explicit Prompt(int chunks) : keys(Keys(chunks)) {}

  Variant At(size_t chunk, const std::string& profile, double quality) {
    Variant variant;
    variant.entry = ++entry_;
    variant.key = keys[chunk];
    if (chunk > 0) variant.parent = keys[chunk - 1];
    variant.model = Sha256("model");
    variant.profile = Sha256(profile);
    variant.profile_name = profile;
    variant.first_token = static_cast<int32_t>(chunk) * kTokens;
    variant.tokens = kTokens;
    variant.provenance = profile == "full" ? Provenance::kExact : Provenance::kQuantised;
    variant.quality = quality;
    variant.bytes = 1000;
    return variant;
  }
  PrefixWant Want(double floor, const std::string& form = "k8v4") const {
    PrefixWant want;
    want.form = Sha256(form);
    want.model = Sha256("model");
    want.prompt_tokens = static_cast<int64_t>(keys.size()) * kTokens + 1;
    want.chunk_tokens = kTokens;
    want.floor = floor;
    return want;
  }
  PrefixMatch Match(double floor, const std::string& form = "k8v4") const {
    return index.MatchPrefix(keys, Want(floor, form));
  }

  const std::string& NameOf(const PrefixMatch& match, size_t chunk) const {
    return index.ProfileName(index.record(match.chunks[chunk]));
  }

  std::vector<Digest> keys;
  ChunkIndex index;

 private:
  uint64_t entry_ = 0;
};

TEST(ChunkIndexTest, FindsTheLongestPrefix) {
  Prompt prompt(5);
  EXPECT_TRUE(prompt.Match(0).chunks.empty());
  for (const size_t chunk : {0, 1, 3, 4}) prompt.index.Insert(prompt.At(chunk, "full", 1));
  const PrefixMatch match = prompt.Match(0);
  EXPECT_EQ(match.chunks.size(), 2u);
  EXPECT_THAT(match.miss_reason, HasSubstr("chunk 2 (from token 32): it is not stored"));
  prompt.index.Insert(prompt.At(2, "full", 1));
  EXPECT_EQ(prompt.Match(0).chunks.size(), 5u);
  EXPECT_EQ(prompt.Match(0).miss_reason, "");
}

TEST(ChunkIndexTest, LeavesOneTokenToCompute) {
  Prompt prompt(3);
  for (size_t chunk = 0; chunk < 3; ++chunk) prompt.index.Insert(prompt.At(chunk, "full", 1));
  PrefixWant want = prompt.Want(0);
  want.prompt_tokens = 3 * kTokens;
  EXPECT_EQ(prompt.index.MatchPrefix(prompt.keys, want).chunks.size(), 2u);
  want.prompt_tokens = 1;
  EXPECT_EQ(prompt.index.MatchPrefix(prompt.keys, want).chunks.size(), 0u);
  want.prompt_tokens = 0;
  EXPECT_EQ(prompt.index.MatchPrefix(prompt.keys, want).chunks.size(), 0u);
}

TEST(ChunkIndexTest, LeavesTheTokensThatChooseToCompute) {
  Prompt prompt(3);
  for (size_t chunk = 0; chunk < 3; ++chunk) prompt.index.Insert(prompt.At(chunk, "full", 1));
  PrefixWant want = prompt.Want(0);
  want.prompt_tokens = 3 * kTokens + 5;
  want.least_computed = 5;
  EXPECT_EQ(prompt.index.MatchPrefix(prompt.keys, want).chunks.size(), 3u);
  EXPECT_EQ(prompt.index.MatchPrefix(prompt.keys, want).miss_reason, "");
  want.least_computed = 6;
  EXPECT_EQ(prompt.index.MatchPrefix(prompt.keys, want).chunks.size(), 2u);
  EXPECT_THAT(prompt.index.MatchPrefix(prompt.keys, want).miss_reason, HasSubstr("the last 6 tokens are computed"));
  want.least_computed = 4 * kTokens;
  EXPECT_EQ(prompt.index.MatchPrefix(prompt.keys, want).chunks.size(), 0u);
}

TEST(ChunkIndexTest, TakesWhatTheFloorAdmits) {
  Prompt prompt(2);
  prompt.index.Insert(prompt.At(0, "k4v2", 0.8));
  prompt.index.Insert(prompt.At(0, "k8v4", 0.98));
  prompt.index.Insert(prompt.At(1, "k8v4", 0.8));
  EXPECT_EQ(prompt.Match(0).chunks.size(), 2u);
  const PrefixMatch match = prompt.Match(0.9);
  EXPECT_EQ(match.chunks.size(), 1u);
  EXPECT_THAT(match.miss_reason, HasSubstr("quality 0.8 of k8v4 is below floor 0.9"));
  EXPECT_EQ(prompt.Match(0.98).chunks.size(), 1u);
  EXPECT_EQ(prompt.Match(0.99).chunks.size(), 0u);
}

TEST(ChunkIndexTest, PrefersTheProfilesOwnForm) {
  Prompt prompt(1);
  prompt.index.Insert(prompt.At(0, "k8v4", 0.98));
  EXPECT_EQ(prompt.NameOf(prompt.Match(0), 0), "k8v4");
  EXPECT_EQ(prompt.NameOf(prompt.Match(0, "k4v2"), 0), "k8v4");
  EXPECT_THAT(prompt.Match(1, "full").miss_reason, HasSubstr("k8v4 of it is not exact"));
  prompt.index.Insert(prompt.At(0, "full", 1));
  EXPECT_EQ(prompt.NameOf(prompt.Match(0), 0), "k8v4");
  EXPECT_EQ(prompt.NameOf(prompt.Match(0, "k4v2"), 0), "full");
  EXPECT_EQ(prompt.NameOf(prompt.Match(0.99), 0), "full");
  const PrefixMatch match = prompt.Match(0);
  EXPECT_TRUE(prompt.index.IsOfForm(match.chunks[0], Sha256("k8v4")));
  EXPECT_FALSE(prompt.index.IsOfForm(match.chunks[0], Sha256("full")));
  EXPECT_FALSE(prompt.index.IsOfForm(match.chunks[0], Digest()));
}

TEST(ChunkIndexTest, APrefixIsOfSeveralForms) {
  Prompt prompt(4);
  prompt.index.Insert(prompt.At(0, "k8v4", 0.98));
  prompt.index.Insert(prompt.At(1, "full", 1));
  prompt.index.Insert(prompt.At(2, "k4v2", 0.7));
  prompt.index.Insert(prompt.At(3, "k8v4", 0.98));
  EXPECT_EQ(prompt.Match(0).chunks.size(), 4u);
  const PrefixMatch match = prompt.Match(0.9);
  EXPECT_EQ(match.chunks.size(), 2u);
  EXPECT_EQ(match.miss, MissReason::kBelowFloor);
  EXPECT_EQ(prompt.Match(1).chunks.size(), 0u);
}

TEST(ChunkIndexTest, FloorOneAsksForExactKvOverAnExactPrefix) {
  Prompt prompt(2);
  prompt.index.Insert(prompt.At(0, "full", 1));
  Variant lossy_context = prompt.At(1, "full", 1);
  lossy_context.context = Sha256("computed over something else");
  prompt.index.Insert(lossy_context);
  EXPECT_EQ(prompt.Match(1, "full").chunks.size(), 1u);
  EXPECT_EQ(prompt.Match(0.999, "full").chunks.size(), 2u);
  prompt.index.Insert(prompt.At(1, "full", 1));
  EXPECT_EQ(prompt.Match(1, "full").chunks.size(), 2u);
  prompt.index.Erase(prompt.keys[0], prompt.index.record(prompt.index.Find(prompt.keys[0])[0]).entry);
  Variant requantised = prompt.At(0, "full", 1);
  requantised.provenance = Provenance::kQuantised;
  prompt.index.Insert(requantised);
  EXPECT_EQ(prompt.Match(1, "full").chunks.size(), 0u);
}

TEST(ChunkIndexTest, NeverServesTaintedOrForeignChunks) {
  for (const Provenance tainted : {Provenance::kUnspecified, Provenance::kPruned, Provenance::kBlended,
                                   Provenance::kOffsetEstimated, Provenance::kPredicted}) {
    Prompt prompt(1);
    Variant variant = prompt.At(0, "k8v4", 1);
    variant.provenance = tainted;
    prompt.index.Insert(variant);
    EXPECT_TRUE(prompt.Match(0).chunks.empty()) << static_cast<int>(tainted);
  }
  Prompt prompt(1);
  Variant foreign = prompt.At(0, "full", 1);
  foreign.model = Sha256("another model");
  prompt.index.Insert(foreign);
  EXPECT_THAT(prompt.Match(0).miss_reason, HasSubstr("another model"));
  Variant moved = prompt.At(0, "k8v4", 1);
  moved.first_token = kTokens;
  prompt.index.Insert(moved);
  EXPECT_TRUE(prompt.Match(0).chunks.empty());
}

TEST(ChunkIndexTest, PrefersTheChunkComputedBehindWhatIsLoaded) {
  Prompt prompt(3);
  prompt.index.Insert(prompt.At(0, "k8v4", 0.98));
  const Variant first = prompt.index.Get(prompt.index.Find(prompt.keys[0])[0]);
  const Digest context = ContextOf({LoadedChunk{first.key, VariantDigest(first.profile, first.context), false}});
  ASSERT_FALSE(context.IsZero());
  for (size_t chunk = 1; chunk < 3; ++chunk) {
    Variant other = prompt.At(chunk, "k8v4", 0.97);
    other.context = Sha256("some other prefix");
    prompt.index.Insert(other);
    Variant consistent = prompt.At(chunk, "k8v4", 0.97);
    consistent.context = context;
    prompt.index.Insert(consistent);
  }
  const PrefixMatch match = prompt.Match(0);
  ASSERT_EQ(match.chunks.size(), 3u);
  EXPECT_EQ(prompt.index.Get(match.chunks[1]).context, context);
  EXPECT_EQ(prompt.index.Get(match.chunks[2]).context, context);
}

TEST(ChunkIndexTest, AKeyOfTwoTenantsIsTwoKeys) {
  Prompt prompt(2);
  for (const uint32_t tenant : {1u, 2u}) {
    for (size_t chunk = 0; chunk < 2; ++chunk) {
      Variant variant = prompt.At(chunk, "full", 1);
      variant.tenant = tenant;
      EXPECT_TRUE(prompt.index.Insert(variant));
      EXPECT_FALSE(prompt.index.Insert(variant));
    }
  }
  EXPECT_EQ(prompt.index.keys(), 4u);
  PrefixWant want = prompt.Want(1);
  for (const uint32_t tenant : {1u, 2u}) {
    want.tenant = tenant;
    const PrefixMatch match = prompt.index.MatchPrefix(prompt.keys, want);
    ASSERT_EQ(match.chunks.size(), 2u);
    EXPECT_EQ(prompt.index.record(match.chunks[0]).tenant, tenant);
    EXPECT_EQ(prompt.index.Find(prompt.keys[0], tenant).size(), 1u);
  }
  want.tenant = 3;
  const PrefixMatch nothing = prompt.index.MatchPrefix(prompt.keys, want);
  EXPECT_TRUE(nothing.chunks.empty());
  EXPECT_EQ(nothing.miss, MissReason::kNotStored);
  EXPECT_THAT(nothing.miss_reason, HasSubstr("it is not stored"));
  EXPECT_TRUE(prompt.index.Find(prompt.keys[0], 3).empty());
  // A re-encoding of one tenant's does not meet the other's.
  const Variant mine = prompt.index.Get(prompt.index.Find(prompt.keys[0], 1)[0]);
  EXPECT_TRUE(prompt.index.Reencode(mine.key, mine.entry, Sha256("k8v4"), "k8v4", 0.9, 500));
  EXPECT_TRUE(prompt.index.Erase(mine.key, mine.entry));
  EXPECT_EQ(prompt.index.Find(prompt.keys[0], 2).size(), 1u);
  EXPECT_EQ(prompt.index.keys(), 3u);
}

TEST(ChunkIndexTest, KeepsOneVariantOfAProfileAndContext) {
  Prompt prompt(1);
  const Variant first = prompt.At(0, "full", 1);
  EXPECT_TRUE(prompt.index.Insert(first));
  EXPECT_FALSE(prompt.index.Insert(prompt.At(0, "full", 1)));
  EXPECT_EQ(prompt.index.variants(), 1u);
  const auto found = prompt.index.Find(first.key, VariantDigest(first.profile, first.context));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(prompt.index.record(*found).entry, first.entry);
  EXPECT_FALSE(prompt.index.Find(first.key, Sha256("x")).has_value());
  EXPECT_FALSE(prompt.index.Erase(first.key, 999));
  EXPECT_TRUE(prompt.index.Erase(first.key, first.entry));
  EXPECT_FALSE(prompt.index.Erase(first.key, first.entry));
  EXPECT_EQ(prompt.index.keys(), 0u);
}

TEST(ChunkIndexTest, AReencodedVariantKeepsItsPlaceAndIsNeverExactAgain) {
  Prompt prompt(1);
  const Variant full = prompt.At(0, "full", 1);
  prompt.index.Insert(full);
  EXPECT_FALSE(prompt.index.Reencode(full.key, 999, Sha256("k8v4"), "k8v4", 0.98, 400));
  ASSERT_TRUE(prompt.index.Reencode(full.key, full.entry, Sha256("k8v4"), "k8v4", 0.98, 400));
  const Variant now = prompt.index.Get(prompt.index.Find(full.key)[0]);
  EXPECT_EQ(now.profile_name, "k8v4");
  EXPECT_EQ(now.provenance, Provenance::kQuantised);
  EXPECT_EQ(now.quality, 0.98);
  EXPECT_EQ(now.bytes, 400);
  EXPECT_EQ(now.entry, full.entry);
  EXPECT_EQ(prompt.Match(1, "full").miss, MissReason::kNotExact);
  EXPECT_EQ(prompt.Match(0.98).chunks.size(), 1u);
  // Where the key has such a variant already there is nothing to make.
  const Variant again = prompt.At(0, "full", 1);
  prompt.index.Insert(again);
  EXPECT_FALSE(prompt.index.Reencode(full.key, again.entry, Sha256("k8v4"), "k8v4", 0.98, 400));
  EXPECT_EQ(prompt.index.Find(full.key).size(), 2u);
}

TEST(ChunkIndexTest, FindsSegmentsWhereverTheyStand) {
  Prompt prompt(1);
  Variant segment = prompt.At(0, "full", 1);
  segment.key = SegmentKey(KeySpace{}, {{1, 2, 3}});
  segment.first_token = 512;
  prompt.index.Insert(segment);
  PrefixWant want = prompt.Want(0);
  const SegmentMatch match = prompt.index.MatchSegment(segment.key, want);
  ASSERT_TRUE(match.variant.has_value());
  EXPECT_EQ(prompt.index.record(*match.variant).entry, segment.entry);
  EXPECT_EQ(prompt.index.MatchSegment(prompt.keys[0], want).miss, MissReason::kNotStored);
  want.chunk_tokens = kTokens + 1;
  EXPECT_EQ(prompt.index.MatchSegment(segment.key, want).miss, MissReason::kOtherPlace);
}

TEST(ChunkIndexTest, ScansAllThatStaysWhileOthersComeAndGo) {
  ChunkIndex index;
  const auto variant_of = [](uint64_t number) {
    Variant variant;
    variant.entry = number;
    variant.key = Sha256(std::to_string(number));
    variant.tokens = kTokens;
    return variant;
  };
  for (uint64_t number = 1; number <= 100; ++number) index.Insert(variant_of(number));
  std::set<uint64_t> seen;
  VariantId cursor = 0;
  uint64_t newest = 100;
  do {
    for (const Variant& variant : index.Scan(&cursor, 7, 11)) seen.insert(variant.entry);
    index.Erase(variant_of(2 * newest % 50 + 1).key, 2 * newest % 50 + 1);  // odd ones of the first fifty
    index.Insert(variant_of(++newest));
  } while (cursor != 0);
  for (uint64_t number = 51; number <= 100; ++number) EXPECT_TRUE(seen.contains(number)) << number;
}

// An index that was full and is nearly empty is mostly free records.
TEST(ChunkIndexTest, AScanLooksAtNoMoreRecordsThanItMay) {
  constexpr uint64_t kAll = 5000, kEvery = 1000, kLooks = 64;
  ChunkIndex index;
  Variant variant;
  variant.tokens = kTokens;
  for (variant.entry = 1; variant.entry <= kAll; ++variant.entry) {
    variant.key = Sha256(std::to_string(variant.entry));
    index.Insert(variant);
  }
  for (uint64_t entry = 1; entry <= kAll; ++entry) {
    if (entry % kEvery != 0) index.Erase(Sha256(std::to_string(entry)), entry);
  }
  std::vector<uint64_t> seen;
  VariantId cursor = 0;
  uint64_t calls = 0;
  do {
    const uint64_t before = index.records_read();
    for (const Variant& found : index.Scan(&cursor, 100, kLooks)) seen.push_back(found.entry);
    EXPECT_LE(index.records_read() - before, kLooks);
    ++calls;
  } while (cursor != 0);
  EXPECT_EQ(calls, (kAll + kLooks - 1) / kLooks);
  EXPECT_THAT(seen, testing::ElementsAre(1000, 2000, 3000, 4000, 5000));
}

// Keys share places where their hashes do, and lists of a place hold several keys.
TEST(ChunkIndexTest, EqualsAMapOfListsUnderRandomUse) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    uint64_t draw = 0;
    const auto next = [&](uint64_t below) { return MixBits(seed, draw++) % below; };
    ChunkIndex index(seed);
    std::map<std::pair<Digest, std::string>, uint64_t> model;  // (key, profile) to entry
    for (uint64_t step = 1; step < 600; ++step) {
      Variant variant;
      variant.entry = step;
      variant.key = Sha256(std::to_string(next(40)));
      variant.profile_name = std::to_string(next(3));
      variant.profile = Sha256(variant.profile_name);
      variant.tokens = kTokens;
      const auto place = std::make_pair(variant.key, variant.profile_name);
      if (next(2) == 0) {
        ASSERT_EQ(index.Insert(variant), model.emplace(place, step).second);
      } else if (const auto found = model.find(place); found != model.end()) {
        ASSERT_TRUE(index.Erase(variant.key, found->second));
        model.erase(found);
      }
      ASSERT_EQ(index.variants(), model.size());
      std::set<Digest> keys;
      for (const auto& [at, entry] : model) keys.insert(at.first);
      ASSERT_EQ(index.keys(), keys.size());
    }
    for (const auto& [at, entry] : model) {
      const auto found = index.Find(at.first, VariantDigest(Sha256(at.second), Digest{}));
      ASSERT_TRUE(found.has_value());
      EXPECT_EQ(index.record(*found).entry, entry);
      EXPECT_EQ(index.ProfileName(index.record(*found)), at.second);
    }
  }
}

// Against brute force: prompts over a tiny alphabet share prefixes of every length.
TEST(ChunkIndexTest, EqualsTheLongestCommonPrefixOverRandomPrompts) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    uint64_t draw = 0;
    const auto next = [&](uint64_t below) { return MixBits(seed, draw++) % below; };
    const auto make = [&] {
      std::vector<int32_t> tokens(next(40));
      for (int32_t& token : tokens) token = static_cast<int32_t>(next(2));
      return tokens;
    };
    ChunkIndex index;
    std::vector<std::vector<int32_t>> stored;
    uint64_t entry = 0;
    for (int i = 0; i < 12; ++i) {
      stored.push_back(make());
      const std::vector<Digest> keys = ChunkKeys(KeySpace{}, stored.back(), 3);
      for (size_t k = 0; k < keys.size(); ++k) {
        Variant variant;
        variant.entry = ++entry;
        variant.key = keys[k];
        variant.provenance = Provenance::kExact;
        variant.first_token = static_cast<int32_t>(k) * 3;
        variant.tokens = 3;
        index.Insert(variant);
      }
    }
    for (int i = 0; i < 20; ++i) {
      const std::vector<int32_t> prompt = make();
      size_t longest = 0;
      for (const auto& other : stored) {
        size_t common = 0;
        while (common < std::min(prompt.size(), other.size()) && prompt[common] == other[common]) ++common;
        longest = std::max(longest, common / 3);
      }
      if (!prompt.empty()) longest = std::min(longest, (prompt.size() - 1) / 3);
      PrefixWant want;
      want.prompt_tokens = static_cast<int64_t>(prompt.size());
      want.chunk_tokens = 3;
      EXPECT_EQ(index.MatchPrefix(ChunkKeys(KeySpace{}, prompt, 3), want).chunks.size(), longest) << "seed " << seed;
    }
  }
}

TEST(ContextTest, IsZeroOverExactChunksOnly) {
  const LoadedChunk exact{Sha256("a"), Sha256("full"), true};
  const LoadedChunk lossy{Sha256("b"), Sha256("k8v4"), false};
  EXPECT_TRUE(ContextOf({}).IsZero());
  EXPECT_TRUE(ContextOf({exact, exact}).IsZero());
  const Digest context = ContextOf({exact, lossy});
  EXPECT_FALSE(context.IsZero());
  EXPECT_NE(context, ContextOf({lossy, exact}));
  EXPECT_NE(context, ContextOf({lossy}));
  EXPECT_EQ(context, ContextOf({exact, lossy}));
}

}  // namespace
}  // namespace decant
