#include "common/policy/choose_profile.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/policy/latency_model.h"
#include "common/policy/priors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace decant {
namespace {

using testing::HasSubstr;

// SmolLM2's sizes; qualities and speeds are made up for these tests.
constexpr Geometry kGeometry{30, 9, 3, 64};

ProfileFacts Facts(const std::string& name, double quality, double ratio, double encode) {
  ProfileFacts facts;
  facts.name = name;
  facts.exact = name == "full";
  facts.quality = quality;
  facts.wire_ratio = facts.resident_ratio = ratio;
  facts.hit_wire_ratio = facts.hit_resident_ratio = ratio;
  facts.hit_quality = quality;
  facts.encode_bytes_per_s = encode;
  return facts;
}

std::vector<ProfileFacts> Library() {
  return {Facts("diffkv", 0.95, 4, 1e9), Facts("full", 1, 1, 8e9), Facts("k4v2", 0.7, 4.6, 2e9),
          Facts("k8v4", 0.98, 2.3, 2e9)};
}

ProfileQuestion Question(double floor = 0) {
  ProfileQuestion question;
  question.geometry = kGeometry;
  question.prompt_tokens = 2000;
  question.max_tokens = 100;
  question.floor = floor;
  question.fetch_bits_per_s = 8e9;
  return question;
}

PairCandidate Pair(double bits_per_s) {
  PairCandidate pair;
  pair.prefill = "p";
  pair.decode = "d";
  pair.link_bits_per_s = bits_per_s;
  pair.prefill_load.prefill_tokens_per_s = 2000;
  return pair;
}

ProfileChoice Choose(const ProfileQuestion& question, const PairCandidate& pair,
                     const std::vector<ProfileFacts>& library = Library()) {
  auto choice = ChooseProfile(question, library, pair, Observations());
  EXPECT_TRUE(choice.ok()) << choice.status();
  return choice.ok() ? *choice : ProfileChoice();
}

std::string Verdict(const ProfileChoice& choice, const std::string& profile, bool reuse = false) {
  for (const PricedAlternative& priced : choice.alternatives) {
    if (priced.profile == profile && priced.reuse == reuse) return priced.verdict;
  }
  return "not among the alternatives";
}

TEST(ChooseProfileTest, DifferentLinkRatesGetDifferentProfiles) {
  const ProfileChoice fast = Choose(Question(0.9), Pair(100e9));
  EXPECT_EQ(fast.profile, "full");
  EXPECT_EQ(Verdict(fast, "full"), "chosen");
  EXPECT_THAT(Verdict(fast, "diffkv"), HasSubstr("quality 0.95 below 1"));
  const ProfileChoice slow = Choose(Question(0.9), Pair(50e6));
  EXPECT_EQ(slow.profile, "diffkv");
  EXPECT_THAT(Verdict(slow, "full"), HasSubstr("slower by "));
  EXPECT_THAT(slow.reason, HasSubstr("full "));
  EXPECT_LT(slow.predicted_ttft_ms, 1e4);
}

TEST(ChooseProfileTest, DifferentFloorsGetDifferentProfiles) {
  EXPECT_EQ(Choose(Question(0), Pair(50e6)).profile, "k4v2");
  EXPECT_EQ(Choose(Question(0.95), Pair(50e6)).profile, "diffkv");
  EXPECT_EQ(Choose(Question(0.96), Pair(50e6)).profile, "k8v4");
  EXPECT_EQ(Choose(Question(0.99), Pair(50e6)).profile, "full");
  const ProfileChoice exact = Choose(Question(1), Pair(50e6));
  EXPECT_EQ(exact.profile, "full");
  EXPECT_EQ(Verdict(exact, "k8v4"), "quality 0.98 below floor 1");
  EXPECT_THAT(exact.reason, HasSubstr("only profile"));
}

TEST(ChooseProfileTest, RefusesFloorsThatCannotBe) {
  for (const double floor : {1.01, -0.1, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_EQ(CheckFloor(Question(floor), Library()).code(), absl::StatusCode::kInvalidArgument) << floor;
  }
  std::vector<ProfileFacts> lossy = Library();
  lossy.erase(lossy.begin() + 1);
  const absl::Status none = CheckFloor(Question(0.99), lossy);
  EXPECT_EQ(none.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(none.message()), HasSubstr("k8v4 0.98"));
  EXPECT_EQ(ChooseProfile(Question(0.99), lossy, Pair(1e9), Observations()).status(), none);
  EXPECT_EQ(CheckFloor(Question(0), {}).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(ChooseProfileTest, ANameDecidesUnlessItIsBelowTheFloor) {
  ProfileQuestion question = Question(0.6);
  question.named = "k4v2";
  const ProfileChoice choice = Choose(question, Pair(100e9));
  EXPECT_EQ(choice.profile, "k4v2");
  EXPECT_THAT(choice.reason, HasSubstr("by name"));
  EXPECT_THAT(Verdict(choice, "full"), HasSubstr("the request names k4v2"));
  question.floor = 0.8;
  const absl::Status below = CheckFloor(question, Library());
  EXPECT_EQ(below.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(below.message()), HasSubstr("quality 0.7 below floor 0.8"));
  question.named = "zip";
  EXPECT_EQ(CheckFloor(question, Library()).code(), absl::StatusCode::kInvalidArgument);
}

TEST(ChooseProfileTest, WhatWasNotMeasuredIsUsedOnlyByNameAndWithoutAFloor) {
  std::vector<ProfileFacts> unmeasured = Library();
  for (ProfileFacts& facts : unmeasured) {
    if (!facts.exact) facts.quality.reset();
  }
  const ProfileChoice choice = Choose(Question(0), Pair(50e6), unmeasured);
  EXPECT_EQ(choice.profile, "full");
  EXPECT_THAT(Verdict(choice, "diffkv"), HasSubstr("not measured"));
  ProfileQuestion named = Question(0);
  named.named = "diffkv";
  EXPECT_EQ(Choose(named, Pair(50e6), unmeasured).profile, "diffkv");
  named.floor = 0.1;
  EXPECT_EQ(CheckFloor(named, unmeasured).code(), absl::StatusCode::kInvalidArgument);
}

TEST(ChooseProfileTest, ReusesWhatThePoolHas) {
  std::vector<ProfileFacts> library = Library();
  for (ProfileFacts& facts : library) facts.offer = PrefixOffer{1920, 1920 * 10000, 1920 * 10000, 0, 0.97};
  const ProfileChoice choice = Choose(Question(0.9), Pair(100e9), library);
  EXPECT_EQ(choice.reused_tokens, 1920);
  EXPECT_EQ(choice.quality, 0.97);
  EXPECT_EQ(Verdict(choice, choice.profile, true), "chosen");
  EXPECT_EQ(Verdict(choice, choice.profile, false), "reuse saves 1920 tokens");
  EXPECT_EQ(choice.alternatives.size(), 8u);
  EXPECT_LT(choice.predicted_ttft_ms, 0.2 * Choose(Question(0.9), Pair(100e9)).predicted_ttft_ms);
}

TEST(ChooseProfileTest, RecomputesWhenThePoolIsSlower) {
  std::vector<ProfileFacts> library = Library();
  for (ProfileFacts& facts : library) facts.offer = PrefixOffer{1920, 1920 * 10000, 1920 * 10000, 0, 1};
  ProfileQuestion question = Question(0.9);
  question.fetch_bits_per_s = 1e6;
  const ProfileChoice choice = Choose(question, Pair(100e9), library);
  EXPECT_EQ(choice.reused_tokens, 0);
  EXPECT_THAT(Verdict(choice, choice.profile, true), HasSubstr("recomputing is faster by"));
}

TEST(ChooseProfileTest, ReuseNeverGoesBelowTheFloor) {
  std::vector<ProfileFacts> library = Library();
  for (ProfileFacts& facts : library) facts.offer = PrefixOffer{1920, 1920 * 10000, 1920 * 10000, 0, 0.8};
  const ProfileChoice choice = Choose(Question(0.9), Pair(100e9), library);
  EXPECT_EQ(choice.reused_tokens, 0);
  EXPECT_EQ(Verdict(choice, "diffkv", true), "quality 0.8 below floor 0.9");
}

TEST(ChooseProfileTest, AHitIsJudgedByItsOwnQuality) {
  std::vector<ProfileFacts> library = Library();
  for (ProfileFacts& facts : library) {
    facts.offer = PrefixOffer{1920, 1920 * 10000, 1920 * 10000, 0, 1};
    facts.hit_quality = facts.exact ? 1 : facts.name == "diffkv" ? 0.6 : 0.99;
  }
  const ProfileChoice choice = Choose(Question(0.9), Pair(50e6), library);
  EXPECT_EQ(Verdict(choice, "diffkv", true), "quality 0.6 below floor 0.9");
  EXPECT_THAT(Verdict(choice, "diffkv"), testing::Not(HasSubstr("below")));  // cold it may be used
  // A hit is never believed to be better than the cold run that it becomes when the pool has lost the prefix.
  for (const PricedAlternative& priced : choice.alternatives) {
    if (priced.profile == "k8v4") {
      EXPECT_EQ(priced.quality, 0.98);
    }
  }
  EXPECT_EQ(Choose(Question(0.5), Pair(50e6), library).quality, 0.7);
}

TEST(ChooseProfileTest, AHitThatNobodyMeasuredMeetsNoFloor) {
  std::vector<ProfileFacts> library = Library();
  for (ProfileFacts& facts : library) {
    facts.offer = PrefixOffer{1920, 1920 * 10000, 1920 * 10000, 0, 1};
    facts.hit_quality.reset();
  }
  const ProfileChoice choice = Choose(Question(0.9), Pair(100e9), library);
  EXPECT_EQ(choice.reused_tokens, 0);
  EXPECT_THAT(Verdict(choice, "k8v4", true), HasSubstr("behind a reused prefix was not measured"));
  EXPECT_EQ(Choose(Question(0), Pair(100e9), library).reused_tokens, 1920);
  // Exact chunks under a profile that chooses as it does cold need no other number.
  for (ProfileFacts& facts : library) facts.offer.exact = true;
  EXPECT_EQ(Choose(Question(0.9), Pair(100e9), library).reused_tokens, 1920);
  for (ProfileFacts& facts : library) facts.exact_hit_is_cold = false;
  EXPECT_EQ(Choose(Question(0.9), Pair(100e9), library).reused_tokens, 0);
}

ProfileQuestion Named(const std::string& profile) {
  ProfileQuestion question = Question(0);
  question.prompt_tokens = 1920 + 100;
  question.named = profile;
  return question;
}

// So slow at computing that a prefix is taken whatever the link costs.
PairCandidate SlowPair() {
  PairCandidate pair = Pair(1e6);
  pair.prefill_load.prefill_tokens_per_s = 10;
  return pair;
}

// 64 tokens of K8V4: 160 bytes of header, 3 x 4 counts of 2 bytes rounded to 32, 3 heads of 64 x (64 + 4 + 32 + 4)
// bytes; its overlay 48 + 32 + 3 x 64 x 4; all in 30 layers.
constexpr int64_t kChunkFrames = 30 * (160 + 32 + 3 * 64 * 104);
constexpr int64_t kChunkOverlays = 30 * (48 + 32 + 768);

TEST(ChooseProfileTest, BytesOfAForwardedPrefixAreCounted) {
  ProfileFacts diffkv = Facts("diffkv", 0.95, 4, 1e9);
  diffkv.high = FormatId::kK8V4;
  diffkv.overlays = true;
  diffkv.window = 64;
  diffkv.offer = PrefixOffer{1920, 30 * kChunkFrames, 30 * kChunkFrames, 0, 0.97, 30, false};
  const ProfileChoice choice = Choose(Named("diffkv"), SlowPair(), {diffkv, Library()[1]});
  // 30 stored chunks with fresh overlays; of 100 new tokens the newest 64 are high, the others as in a long prompt.
  EXPECT_EQ(choice.wire_bytes, 31 * (kChunkFrames + kChunkOverlays) + 36 * 23040 / 4);
  const double wire_ms = 8.0 * static_cast<double>(choice.wire_bytes) / 1000;  // at 1 Mbit/s
  EXPECT_GT(choice.predicted_ttft_ms, wire_ms);
  EXPECT_LT(choice.predicted_ttft_ms, wire_ms + 20000);
  EXPECT_THAT(choice.reason, HasSubstr(absl::StrCat(choice.wire_bytes, " bytes to decode")));
}

// A prefix of exact chunks is encoded on the way. It once was priced by the ratio of a cold prompt, of which more is
// pruned: 81 s were foretold for 197 s of bytes.
TEST(ChooseProfileTest, AnEncodedPrefixIsPricedByWhatHitsMeasured) {
  ProfileFacts diffkv = Facts("diffkv", 0.95, 5.6, 1e9);
  diffkv.high = FormatId::kK8V4;
  diffkv.overlays = true;
  diffkv.window = 64;
  diffkv.hit_wire_ratio = 2.4;
  diffkv.exact_hit_is_cold = false;
  diffkv.offer = PrefixOffer{1920, 1920 * 23040, 0, 1920, 1, 30, true};
  const auto bytes = [&] { return Choose(Named("diffkv"), SlowPair(), {diffkv, Library()[1]}).wire_bytes; };
  const double computed = static_cast<double>(kChunkFrames + kChunkOverlays) + 36 * 23040 / 5.6;
  EXPECT_NEAR(static_cast<double>(bytes()), computed + 1920 * 23040 / 2.4, 1);
  diffkv.exact_hit_is_cold = true;
  EXPECT_NEAR(static_cast<double>(bytes()), computed + 1920 * 23040 / 5.6, 1);
}

TEST(ChooseProfileTest, TheTimeOfAHitHasAllItsParts) {
  ProfileFacts diffkv = Facts("diffkv", 0.95, 4, 1e9);
  diffkv.offer = PrefixOffer{1920, 30 * kChunkFrames, 30 * kChunkFrames, 0, 0.97, 30, false};
  const auto ttft = [&] { return Choose(Named("diffkv"), Pair(1e12), {diffkv, Library()[1]}).predicted_ttft_ms; };
  const double plain = ttft();
  // 100 tokens at 2000 per second, each of which attends to the prefix; 44 MB are expanded.
  const double factor = ContextFactor(1920, 100, kContextPerWidth * 576);
  EXPECT_GT(plain, 50 * factor + 1000.0 * 1920 * 23040 / kExpandBytesPerS);
  diffkv.settles = true;
  EXPECT_NEAR(ttft() - plain, 1000.0 * 1920 * 23040 / kSettleBytesPerS, 1e-6);
}

TEST(ChooseProfileTest, TakesWhatFitsIntoTheFreePages) {
  PairCandidate pair = Pair(100e9);
  pair.decode_page_bytes = 4096;
  pair.decode_load.total_pages = 20000;
  // full needs 2100 tokens x 23040 bytes / 4096 = 11813 pages.
  pair.decode_load.free_pages = 9000;
  const ProfileChoice choice = Choose(Question(0.9), pair);
  EXPECT_NE(choice.profile, "full");
  EXPECT_TRUE(choice.has_room);
  EXPECT_THAT(Verdict(choice, "full"), HasSubstr("needs 11813 pages, 9000 are free"));
  EXPECT_THAT(choice.reason, HasSubstr("fits the free pages"));
  EXPECT_EQ(Choose(Question(1), pair).profile, "full");
  EXPECT_FALSE(Choose(Question(1), pair).has_room);
}

TEST(ChooseProfileTest, PrefersSmallOnesWhenPagesAreScarce) {
  PairCandidate pair = Pair(100e9);
  pair.decode_page_bytes = 4096;
  pair.decode_load.total_pages = 20000;
  pair.decode_load.free_pages = 20000;
  EXPECT_EQ(Choose(Question(0.9), pair).profile, "full");
  pair.decode_load.free_pages = 12000;
  const ProfileChoice choice = Choose(Question(0.9), pair);
  EXPECT_EQ(choice.profile, "diffkv");
  EXPECT_THAT(Verdict(choice, "full"), HasSubstr("pages are scarce"));
}

TEST(ChooseProfileTest, KeepsTheStatedTimePerToken) {
  std::vector<ProfileFacts> library = Library();
  for (ProfileFacts& facts : library) facts.tpot_ratio = facts.exact ? 1 : 0.5;
  PairCandidate pair = Pair(100e9);
  pair.decode_load.decode_steps_per_s = 20;
  ProfileQuestion question = Question(0.9);
  EXPECT_EQ(Choose(question, pair, library).profile, "full");
  question.tpot_ms = 40;
  const ProfileChoice choice = Choose(question, pair, library);
  EXPECT_EQ(choice.profile, "k8v4");
  EXPECT_EQ(Verdict(choice, "full"), "50.0 ms per token, asked for are 40.0");
  question.tpot_ms = 10;  // nobody can: the best one is taken all the same
  EXPECT_EQ(Choose(question, pair, library).profile, "full");
}

TEST(ChooseProfileTest, AStatedTimeToFirstTokenIsQuickEnough) {
  ProfileQuestion question = Question(0.9);
  EXPECT_EQ(Choose(question, Pair(200e6)).profile, "k8v4");
  question.ttft_ms = 60000;
  EXPECT_EQ(Choose(question, Pair(200e6)).profile, "full");
}

TEST(ChooseProfileTest, ALongQueueDoesNotMakeProfilesLookAlike) {
  PairCandidate pair = Pair(50e6);
  pair.prefill_queued_tokens = 10'000'000;
  EXPECT_EQ(Choose(Question(0.9), pair).profile, Choose(Question(0.9), Pair(50e6)).profile);
}

TEST(ChooseProfileTest, MonotoneInTheLink) {
  double last = 0;
  for (double rate = 1e12; rate > 1e3; rate /= 3) {
    const ProfileChoice choice = Choose(Question(0.9), Pair(rate));
    EXPECT_TRUE(std::isfinite(choice.predicted_ttft_ms));
    EXPECT_GE(choice.predicted_ttft_ms, last * 0.95 - 1);  // within the tolerance of the rule
    last = choice.predicted_ttft_ms;
  }
  EXPECT_EQ(Choose(Question(0.9), Pair(1e3)).profile, "diffkv");
}

TEST(ChooseProfileTest, SurvivesNumbersThatAreNone) {
  PairCandidate pair = Pair(std::numeric_limits<double>::quiet_NaN());
  pair.prefill_load.prefill_tokens_per_s = std::numeric_limits<double>::infinity();
  pair.decode_load.decode_steps_per_s = -1;
  pair.prefill_queued_tokens = -5;
  pair.decode_page_bytes = -1;
  ProfileQuestion question = Question(0);
  question.prompt_tokens = 1;
  question.max_tokens = 0;
  EXPECT_TRUE(std::isfinite(Choose(question, pair).predicted_ttft_ms));
}

}  // namespace
}  // namespace decant
