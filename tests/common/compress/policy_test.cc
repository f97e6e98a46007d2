// Edges of the decisions, one head at a time; plan_step_test runs both policies against an oracle.
#include <gtest/gtest.h>

#include <algorithm>

#include "common/compress/arith/observations.h"
#include "common/compress/arith/online_step.h"
#include "common/compress/arith/prompt_tier.h"

namespace decant {
namespace {

TEST(ObservationsTest, CountTheQueriesThatAreInTheSum) {
  const auto paper = ScoreSource::kAllLaterQueries;
  const auto window = ScoreSource::kLastWindow;
  EXPECT_EQ(Observations(0, 0, 10, paper), 9);    // 1 .. 9
  EXPECT_EQ(Observations(0, 0, 10, window), 10);  // 0 .. 9
  EXPECT_EQ(Observations(9, 0, 10, paper), 0);
  EXPECT_EQ(Observations(9, 0, 10, window), 1);
  EXPECT_EQ(Observations(2, 7, 10, paper), 3);  // 7 .. 9
  EXPECT_EQ(Observations(7, 7, 10, paper), 2);
  EXPECT_EQ(Observations(7, 7, 10, window), 3);
  EXPECT_EQ(Observations(3, 20, 10, paper), 0);
}

// D13: the released code overwrites a prompt token's position with i + max(0, N - i - 64), so that the difference to
// the current position counts queries. Here the same count follows from the true position.
TEST(ObservationsTest, D13CountMatchesTheReleasedCodeWithoutLosingThePosition) {
  const int32_t prompt = 200;
  for (int32_t i = 0; i < prompt; ++i) {
    const int32_t forged = i + std::max(0, prompt - i - 64);
    for (int32_t now = prompt; now < prompt + 5; ++now) {
      EXPECT_EQ(Observations(i, prompt - 64, now, ScoreSource::kLastWindow), now - forged) << i;
    }
  }
}

PromptPolicy Paper(int32_t tokens, float alpha_high, float alpha_low, int32_t window) {
  PromptPolicy policy;
  policy.allocation = Allocation::kThresholdByPosition;
  policy.source = ScoreSource::kAllLaterQueries;
  policy.alpha_high = alpha_high;
  policy.alpha_low = alpha_low;
  policy.window = window;
  policy.tokens = tokens;
  return policy;
}

TEST(PromptTierTest, PositionsCountFromOneAndTiesStayInTheBetterTier) {
  // Token 0 of 17: 16 later queries; thresholds 1 / 1 and 0.25 / 1.
  const PromptPolicy policy = Paper(17, 1.0f, 0.25f, 4);
  EXPECT_EQ(ChoosePromptTier(policy, 0, 16.0f), PromptTier::kHigh);
  EXPECT_EQ(ChoosePromptTier(policy, 0, 15.99f), PromptTier::kLow);
  EXPECT_EQ(ChoosePromptTier(policy, 0, 4.0f), PromptTier::kLow);
  EXPECT_EQ(ChoosePromptTier(policy, 0, 3.99f), PromptTier::kPruned);
  // Token 8, i = 9: 8 later queries, thresholds 1/9.
  EXPECT_EQ(ChoosePromptTier(policy, 8, 8.0f / 9.0f), PromptTier::kHigh);
  EXPECT_EQ(ChoosePromptTier(policy, 8, 0.88f), PromptTier::kLow);
}

TEST(PromptTierTest, TheReleaseComparesWithOneThresholdForAll) {
  PromptPolicy policy = Paper(100, 1.0f, 0.5f, 4);
  policy.allocation = Allocation::kThresholdByLength;
  policy.source = ScoreSource::kLastWindow;
  policy.first_query = 36;
  for (const int32_t position : {0, 10, 36}) {
    EXPECT_EQ(ChoosePromptTier(policy, position, 0.64f), PromptTier::kHigh) << position;  // 0.64 / 64 = 1 / 100
    EXPECT_EQ(ChoosePromptTier(policy, position, 0.63f), PromptTier::kLow) << position;
    EXPECT_EQ(ChoosePromptTier(policy, position, 0.31f), PromptTier::kPruned) << position;
  }
  EXPECT_EQ(ChoosePromptTier(policy, 37, 0.63f), PromptTier::kHigh);  // seen by 63 queries only
}

TEST(PromptTierTest, WindowAndShortPromptsStayHigh) {
  for (const int32_t tokens : {1, 63, 64}) {
    for (int32_t i = 0; i < tokens; ++i) {
      EXPECT_EQ(ChoosePromptTier(Paper(tokens, 3, 3, 64), i, 0), PromptTier::kHigh);
    }
  }
  EXPECT_EQ(ChoosePromptTier(Paper(65, 3, 3, 64), 0, 0), PromptTier::kPruned);
  EXPECT_EQ(ChoosePromptTier(Paper(65, 3, 3, 64), 1, 0), PromptTier::kHigh);
}

// D6: alpha / N above 1 aborted the released kernel.
TEST(PromptTierTest, D6ThresholdsAboveOneAreLegal) {
  EXPECT_EQ(ChoosePromptTier(Paper(3, 3, 1.5f, 1), 0, 1.9f), PromptTier::kPruned);  // mean 0.95, thresholds 3 and 1.5
  EXPECT_EQ(ChoosePromptTier(Paper(3, 3, 0.5f, 1), 0, 1.9f), PromptTier::kLow);
}

TEST(PromptTierTest, EqualThresholdsLeaveTheLowTierEmpty) {
  for (float sum = 0; sum < 2; sum += 0.01f) {
    EXPECT_NE(ChoosePromptTier(Paper(100, 0.5f, 0.5f, 4), 20, sum), PromptTier::kLow);
  }
}

TEST(PromptTierTest, TokensThatTooFewQueriesSawKeepTheirPrecision) {
  PromptPolicy policy = Paper(1000, 3, 3, 64);
  policy.first_query = 937;  // a reused prefix, 63 new tokens
  EXPECT_EQ(ChoosePromptTier(policy, 5, 0), PromptTier::kHigh);
  policy.first_query = 936;
  EXPECT_EQ(ChoosePromptTier(policy, 5, 0), PromptTier::kLow);
}

TEST(PromptTierTest, NothingIsPrunedByLessThanHalfOfTheQueriesBehindIt) {
  PromptPolicy policy = Paper(1000, 3, 3, 64);
  policy.first_query = 900;                                          // 100 new tokens
  EXPECT_EQ(ChoosePromptTier(policy, 798, 0), PromptTier::kLow);     // 100 of 201 queries saw it
  EXPECT_EQ(ChoosePromptTier(policy, 799, 0), PromptTier::kPruned);  // 100 of 200
  policy.first_query = 501;
  EXPECT_EQ(ChoosePromptTier(policy, 0, 0), PromptTier::kLow);  // 499 of 999
  policy.first_query = 500;
  EXPECT_EQ(ChoosePromptTier(policy, 0, 0), PromptTier::kPruned);
  // The last window is all that the release ever looks at.
  policy.allocation = Allocation::kThresholdByLength;
  policy.source = ScoreSource::kLastWindow;
  policy.first_query = 936;
  EXPECT_EQ(ChoosePromptTier(policy, 0, 0), PromptTier::kPruned);
}

StepHead Head(OnlinePolicy policy, int32_t position, int32_t high, int32_t low, int32_t window) {
  StepHead head;
  head.policy = policy;
  head.alpha_high = 2;
  head.alpha_low = 1;
  head.window = window;
  head.position = position;
  head.tokens[kHigh] = high;
  head.tokens[kLow] = low;
  head.has_low = true;
  return head;
}

StepScan Scan(Weakest high, Weakest low, Weakest candidate = {}) {
  StepScan scan;
  scan.high = high;
  scan.low = low;
  scan.candidate = candidate;
  return scan;
}

// Release, N = 64: thresholds 2 / 64 and 1 / 64.
constexpr float kP = 1.0f / 64;
constexpr float kQ = 2.0f / 64;

TEST(CodeStepTest, TakesTheFiveBranchesOfItsTable) {
  const StepHead head = Head(OnlinePolicy::kDiffKvCode, 64, 40, 10, 8);
  const StepDecision prune = DecideStep(head, Scan({kP / 2, 3}, {kP, 4}));
  EXPECT_EQ(prune.action.high_slot, 3);
  EXPECT_EQ(prune.action.demote_to, -1);
  EXPECT_EQ(prune.dropped, 1);
  const StepDecision swap = DecideStep(head, Scan({kP, 3}, {kP / 2, 4}));
  EXPECT_EQ(swap.action.high_slot, 3);
  EXPECT_EQ(swap.action.demote_to, 4);
  EXPECT_EQ(swap.dropped, 1);
  EXPECT_EQ(swap.demoted, 1);
  const StepDecision demote = DecideStep(head, Scan({kP, 3}, {kP, 4}));
  EXPECT_EQ(demote.action.high_slot, 3);
  EXPECT_EQ(demote.action.demote_to, 10);
  EXPECT_EQ(demote.dropped, 0);
  EXPECT_EQ(DecideStep(head, Scan({kQ, 3}, {0, 4})).action.high_slot, 40);  // a tie at alpha_high / N stays
  EXPECT_EQ(DecideStep(head, Scan({}, {0, 4})).action.high_slot, 40);       // no victim
}

TEST(CodeStepTest, EqualMinimaBelowThePruningThresholdSwap) {
  const StepHead head = Head(OnlinePolicy::kDiffKvCode, 64, 40, 10, 8);
  const StepDecision swap = DecideStep(head, Scan({kP / 2, 3}, {kP / 2, 4}));
  EXPECT_EQ(swap.action.high_slot, 3);
  EXPECT_EQ(swap.action.demote_to, 4);
}

TEST(CodeStepTest, AppendsWhileTheWindowIsNotFull) {
  EXPECT_EQ(DecideStep(Head(OnlinePolicy::kDiffKvCode, 64, 5, 2, 8), Scan({0, 1}, {0, 1})).action.high_slot, 5);
  EXPECT_EQ(DecideStep(Head(OnlinePolicy::kDiffKvCode, 64, 6, 2, 8), Scan({0, 1}, {1, 1})).action.high_slot, 1);
}

TEST(PaperStepTest, FollowsAlgorithm1) {
  const StepHead head = Head(OnlinePolicy::kDiffKvPaper, 63, 40, 10, 8);  // N = 64 with the new token
  // The candidate stays high; the weakest of the high tier is demoted, dropped, or good enough.
  EXPECT_EQ(DecideStep(head, Scan({kP, 3}, {0, 4}, {kQ, 9})).action.demote_to, 10);
  const StepDecision drop = DecideStep(head, Scan({kP / 2, 3}, {0, 4}, {kQ, 9}));
  EXPECT_EQ(drop.action.high_slot, 3);
  EXPECT_EQ(drop.action.demote_to, -1);
  EXPECT_EQ(DecideStep(head, Scan({kQ, 3}, {0, 4}, {kQ, 9})).action.high_slot, 40);
  // The candidate goes low: into a fresh slot, or into that of a low token below alpha_low / N.
  const StepDecision low = DecideStep(head, Scan({0, 3}, {kP, 4}, {kP, 9}));
  EXPECT_EQ(low.action.high_slot, 9);
  EXPECT_EQ(low.action.demote_to, 10);
  EXPECT_EQ(low.dropped, 0);
  const StepDecision evict = DecideStep(head, Scan({0, 3}, {kP / 2, 4}, {kP, 9}));
  EXPECT_EQ(evict.action.high_slot, 9);
  EXPECT_EQ(evict.action.demote_to, 4);
  EXPECT_EQ(evict.dropped, 1);
  // The candidate is dropped, whatever the others are.
  const StepDecision gone = DecideStep(head, Scan({0, 3}, {0, 4}, {kP / 2, 9}));
  EXPECT_EQ(gone.action.high_slot, 9);
  EXPECT_EQ(gone.action.demote_to, -1);
  EXPECT_EQ(gone.dropped, 1);
  // No token leaves the window yet.
  EXPECT_EQ(DecideStep(head, Scan({0, 3}, {0, 4})).action.high_slot, 40);
}

// Behind a reused prefix: what may not be given up yet is demoted instead, and is no victim of the low tier.
TEST(PaperStepTest, TokensThatFewQueriesJudgedAreOnlyDemoted) {
  const StepHead head = Head(OnlinePolicy::kDiffKvPaper, 63, 40, 10, 8);
  const StepDecision high = DecideStep(head, Scan({0, 3, false}, {}, {kQ, 9}));
  EXPECT_EQ(high.action.demote_to, 10);
  EXPECT_EQ(high.dropped, 0);
  const StepDecision candidate = DecideStep(head, Scan({0, 3}, {}, {0, 9, false}));
  EXPECT_EQ(candidate.action.high_slot, 9);
  EXPECT_EQ(candidate.action.demote_to, 10);
  EXPECT_EQ(candidate.dropped, 0);

  StepHead reused = Head(OnlinePolicy::kDiffKvPaper, 100, 50, 20, 10);
  reused.first_query = 90;  // 10 queries, of 99 behind token 0 and of 20 behind token 79
  StepScan scan;
  ScanToken(reused, kHigh, 2, 0, 0, scan);
  EXPECT_EQ(scan.high.slot, 2);
  EXPECT_FALSE(scan.high.may_leave);
  StepScan merged;
  MergeScan(merged, scan);
  EXPECT_FALSE(merged.high.may_leave);
  ScanToken(reused, kLow, 5, 78, 0, scan);
  EXPECT_EQ(scan.low.slot, -1);
  ScanToken(reused, kLow, 6, 79, 0, scan);
  EXPECT_EQ(scan.low.slot, 6);
}

TEST(OnlineStepTest, ThresholdsAboveOneAndEqualThresholdsAreLegal) {
  for (const OnlinePolicy policy : {OnlinePolicy::kDiffKvPaper, OnlinePolicy::kDiffKvCode}) {
    StepHead head = Head(policy, 1, 9, 0, 1);
    head.alpha_high = 5;
    head.alpha_low = 5;
    head.has_low = false;
    const StepDecision step = DecideStep(head, Scan({1, 0}, {}, {1, 0}));
    EXPECT_EQ(step.action.high_slot, 0);
    EXPECT_EQ(step.action.demote_to, -1);
  }
}

TEST(OnlineStepTest, WindowLongerThanTheScoresProtectsThePrompt) {
  // W = 128 over sums of the last 64 queries: nothing is eligible until 64 more queries have passed.
  StepHead head = Head(OnlinePolicy::kDiffKvCode, 200, 200, 0, 128);
  head.first_query = 136;
  StepScan scan;
  for (int32_t p = 0; p < 200; ++p) ScanToken(head, kHigh, p, p, 0, scan);
  EXPECT_EQ(scan.high.slot, -1);
  head.position = 264;
  ScanToken(head, kHigh, 7, 7, 0, scan);
  EXPECT_EQ(scan.high.slot, 7);
}

TEST(OnlineStepTest, OfEqualVictimsTheFirstSlotGoes) {
  for (const auto& [first, second] : {std::pair{3, 8}, {8, 3}}) {
    Weakest weakest;
    Consider(weakest, 0.5f, first);
    Consider(weakest, 0.5f, second);
    EXPECT_EQ(weakest.slot, 3);
  }
}

TEST(OnlineStepTest, ScanDoesNotDependOnOrder) {
  const StepHead head = Head(OnlinePolicy::kDiffKvPaper, 100, 50, 20, 10);
  StepScan forward;
  StepScan halves[2];
  for (int32_t t = 0; t < 50; ++t) ScanToken(head, kHigh, t, 41 + t, static_cast<float>((t * 7) % 5), forward);
  for (int32_t t = 49; t >= 0; --t) {
    ScanToken(head, kHigh, t, 41 + t, static_cast<float>((t * 7) % 5), halves[t % 2]);
  }
  MergeScan(halves[1], halves[0]);
  EXPECT_EQ(forward.high.slot, halves[1].high.slot);
  EXPECT_EQ(forward.candidate.slot, 49);
  EXPECT_EQ(halves[1].candidate.slot, 49);
}

}  // namespace
}  // namespace decant
