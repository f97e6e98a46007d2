// What one head does with the next token: diffkv.md sections 2.2 (Algorithm 1 of the paper) and 2.5 (released code),
// and the policies of online_evict.h.
//
// A schedule shows every stored high and low token to a StepScan, merges the scans of its threads, and decides. Nothing
// depends on the order in which tokens are shown.
#ifndef DECANT_COMMON_COMPRESS_ARITH_ONLINE_STEP_H_
#define DECANT_COMMON_COMPRESS_ARITH_ONLINE_STEP_H_

#include <cstdint>

#include "common/base/host_device.h"
#include "common/compress/arith/observations.h"
#include "common/compress/arith/online_evict.h"
#include "common/kv/rows.h"

namespace decant {

// One head of one sequence before the step.
struct StepHead {
  OnlinePolicy policy = OnlinePolicy::kNone;
  float alpha_high = 0;
  float alpha_low = 0;
  int32_t window = 0;
  int32_t first_query = 0;
  int32_t position = 0;  // of the new token; queries 0 .. position - 1 have passed
  int32_t tokens[kTierCount] = {0, 0, 0};
  bool has_low = false;
  EvictRule evict;
};

DECANT_HOST_DEVICE StepHead StepHeadOf(const SequenceRows& rows, const HeadState& head, int32_t layer) {
  StepHead step;
  step.policy = rows.policy;
  step.alpha_high = rows.alpha_high;
  step.alpha_low = rows.alpha_low;
  step.window = rows.window;
  step.first_query = rows.first_query;
  step.position = *rows.length;
  for (int32_t tier = 0; tier < kTierCount; ++tier) step.tokens[tier] = head.tokens[tier];
  step.has_low = rows.formats[kLow] != FormatId::kNone;
  step.evict = EvictRuleOf(rows, layer);
  return step;
}

// The token with the lowest mean; of equal ones that in the lowest slot.
struct Weakest {
  float mean = 3.402823466e+38f;
  int32_t slot = -1;
  bool may_leave = true;  // MayLeave; else it can only be demoted
};

DECANT_HOST_DEVICE void Consider(Weakest& weakest, float mean, int32_t slot, bool may_leave = true) {
  if (slot < 0) return;
  if (mean < weakest.mean || (mean == weakest.mean && slot < weakest.slot)) weakest = Weakest{mean, slot, may_leave};
}

struct StepScan {
  Weakest high;
  Weakest low;
  // The paper's candidate: the token that the new one pushes out of the window.
  Weakest candidate;
  // Of the policies that hold a head to a limit.
  Victim victim;
};

DECANT_HOST_DEVICE void ScanToken(const StepHead& head, int32_t tier, int32_t slot, int32_t position, float sum,
                                  StepScan& scan) {
  if (HoldsToALimit(head.policy)) {
    if (tier == kHigh) ScanVictim(head.evict, slot, position, sum, scan.victim);
    return;
  }
  if (!HasSettled(position, head.first_query, head.position, head.window)) return;
  const ScoreSource source = SourceOf(head.policy);
  const float mean = MeanScore(sum, Observations(position, head.first_query, head.position, source));
  const bool may_leave = MayLeave(position, head.first_query, head.position, source);
  // A low token is looked at only to be given up.
  if (tier == kHigh) Consider(scan.high, mean, slot, may_leave);
  if (tier == kLow && may_leave) Consider(scan.low, mean, slot);
  if (tier == kHigh && position == head.position - head.window) Consider(scan.candidate, mean, slot, may_leave);
}

DECANT_HOST_DEVICE void MergeScan(StepScan& scan, const StepScan& other) {
  Consider(scan.high, other.high.mean, other.high.slot, other.high.may_leave);
  Consider(scan.low, other.low.mean, other.low.slot);
  Consider(scan.candidate, other.candidate.mean, other.candidate.slot, other.candidate.may_leave);
  Consider(scan.victim, other.victim.rank, other.victim.position, other.victim.slot);
}

struct StepDecision {
  StepAction action;
  int32_t demoted = 0;
  int32_t dropped = 0;
};

DECANT_HOST_DEVICE StepDecision Append(const StepHead& head) {
  StepDecision decision;
  decision.action.high_slot = head.tokens[kHigh];
  return decision;
}

// The victim leaves; the new token takes its slot.
DECANT_HOST_DEVICE StepDecision Drop(int32_t victim) {
  StepDecision decision;
  decision.action.high_slot = victim;
  decision.dropped = 1;
  return decision;
}

// The victim moves to low slot `to`, whose token, if any, leaves; the new token takes the victim's slot.
DECANT_HOST_DEVICE StepDecision Demote(const StepHead& head, int32_t victim, int32_t to) {
  StepDecision decision;
  decision.action.high_slot = victim;
  decision.action.demote_to = to;
  decision.demoted = 1;
  decision.dropped = to < head.tokens[kLow] ? 1 : 0;
  return decision;
}

// N, the current length, counts the new token.
DECANT_HOST_DEVICE StepDecision DecidePaperStep(const StepHead& head, const StepScan& scan) {
  if (scan.candidate.slot < 0) return Append(head);
  const float length = static_cast<float>(head.position + 1);
  const float keep_high = head.alpha_high / length;
  const float keep_low = head.alpha_low / length;
  if (scan.candidate.mean >= keep_high) {
    if (scan.high.mean < keep_low && scan.high.may_leave) return Drop(scan.high.slot);
    if (scan.high.mean < keep_high && head.has_low) return Demote(head, scan.high.slot, head.tokens[kLow]);
    return Append(head);
  }
  if (scan.candidate.mean < keep_low && scan.candidate.may_leave) return Drop(scan.candidate.slot);
  if (!head.has_low) return Append(head);
  const bool evicts = scan.low.slot >= 0 && scan.low.mean < keep_low;
  return Demote(head, scan.candidate.slot, evicts ? scan.low.slot : head.tokens[kLow]);
}

// Base threshold 1 / position of the new token.
DECANT_HOST_DEVICE StepDecision DecideCodeStep(const StepHead& head, const StepScan& scan) {
  const int32_t kept = head.tokens[kHigh] + head.tokens[kLow] + head.tokens[kFixed];
  if (kept + 1 <= head.window || scan.high.slot < 0) return Append(head);
  const float position = static_cast<float>(head.position);
  const float keep_high = head.alpha_high / position;
  const float keep_low = head.alpha_low / position;
  if (scan.high.mean < keep_low && scan.high.mean < scan.low.mean) return Drop(scan.high.slot);
  if (!head.has_low || !(scan.high.mean < keep_high)) return Append(head);
  const bool swaps = scan.low.slot >= 0 && scan.low.mean < keep_low;
  return Demote(head, scan.high.slot, swaps ? scan.low.slot : head.tokens[kLow]);
}

DECANT_HOST_DEVICE StepDecision DecideAtLimit(const StepHead& head, const StepScan& scan) {
  const int32_t held = head.tokens[kHigh] + head.tokens[kLow] + head.tokens[kFixed];
  if (scan.victim.slot < 0 || !IsAtLimit(head.evict, head.tokens[kHigh], held)) return Append(head);
  if (head.policy == OnlinePolicy::kDemoteOldest) return Demote(head, scan.victim.slot, head.tokens[kLow]);
  return Drop(scan.victim.slot);
}

DECANT_HOST_DEVICE StepDecision DecideStep(const StepHead& head, const StepScan& scan) {
  if (head.policy == OnlinePolicy::kDiffKvPaper) return DecidePaperStep(head, scan);
  if (head.policy == OnlinePolicy::kDiffKvCode) return DecideCodeStep(head, scan);
  if (HoldsToALimit(head.policy)) return DecideAtLimit(head, scan);
  return Append(head);
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ARITH_ONLINE_STEP_H_
