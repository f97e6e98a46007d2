#include "gpu/kernels/codec/reencode_plan.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/compress/arith/hadamard.h"
#include "common/compress/arith/key_shape.h"
#include "gpu/kernels/codec/frame_reencoder.h"

namespace decant {
namespace {

// Neither half of a token would gain bits.
bool Reaches(FormatId from, FormatId to) {
  if (to == FormatId::kNone) return false;
  const Format source = FormatOf(from);
  const Format target = FormatOf(to);
  return ElementBits(target.k) <= ElementBits(source.k) && ElementBits(target.v) <= ElementBits(source.v);
}

bool GoesByScores(const Recipe& target) { return target.allocation != Allocation::kAllHigh; }

absl::Status Refuse(const Recipe& target, const std::string& why) {
  return absl::FailedPreconditionError(absl::StrCat("cannot re-encode as profile ", target.profile, ": ", why));
}

// The tiers of one head's stored tokens, merged by position.
std::vector<PlannedToken> StoredTokens(const FrameView& frame, int32_t layer, int32_t head) {
  std::vector<PlannedToken> tokens;
  const char* base = frame.bytes.data() - frame.layout.offset;
  for (int32_t tier = 0; tier < kFrameTiers; ++tier) {
    const FrameRun& run = frame.layout.run(layer, head, tier);
    for (int32_t i = 0; i < run.tokens; ++i) {
      PlannedToken token{StoredPlace(tier, i), static_cast<uint16_t>(i)};
      if (run.positions >= 0) std::memcpy(&token.offset, base + run.positions + int64_t{2} * i, 2);
      tokens.push_back(token);
    }
  }
  std::sort(tokens.begin(), tokens.end(),
            [](const PlannedToken& a, const PlannedToken& b) { return a.offset < b.offset; });
  return tokens;
}

PromptPolicy PolicyOf(const Recipe& target, const OverlayView* overlay, int32_t prompt_tokens) {
  PromptPolicy policy;
  policy.allocation = target.allocation;
  policy.source = target.score;
  policy.alpha_high = target.alpha_high;
  policy.alpha_low = target.alpha_low;
  policy.window = target.window;
  policy.tokens = prompt_tokens;
  if (overlay != nullptr) policy.first_query = overlay->header.first_query;
  return policy;
}

float ScoreOf(const OverlayView* overlay, int32_t layer, int32_t head, uint32_t place) {
  if (overlay == nullptr) return 0;
  const char* base = overlay->bytes.data() - overlay->layout.offset;
  float score;
  const int64_t at = overlay->layout.run(layer, head, TierOfPlace(place)) + int64_t{4} * TokenOfPlace(place);
  std::memcpy(&score, base + at, sizeof(score));
  return score;
}

FormatId FormatOfTier(const Recipe& target, int32_t tier) { return tier == kHigh ? target.high : target.low; }

// Sorts a head's tokens into the target's tiers; returns how many it dropped.
int64_t Distribute(const FrameView& frame, const OverlayView* overlay, const PromptPolicy& policy, const Recipe& target,
                   int32_t layer, int32_t head, std::vector<PlannedToken>* tiers) {
  int64_t dropped = 0;
  for (const PlannedToken& token : StoredTokens(frame, layer, head)) {
    const int32_t position = frame.header.first_position + token.offset;
    const PromptTier tier = ChoosePromptTier(policy, position, ScoreOf(overlay, layer, head, token.place));
    if (tier == PromptTier::kPruned) {
      ++dropped;
      continue;
    }
    const FormatId stored = frame.header.formats[TierOfPlace(token.place)];
    const bool high = tier == PromptTier::kHigh || target.low == FormatId::kNone;
    const bool reached = Reaches(stored, FormatOfTier(target, high ? kHigh : kLow));
    // CheckReencode has seen to it that one of the two can be.
    tiers[high == reached ? kHigh : kLow].push_back(token);
  }
  return dropped;
}

void Describe(const FrameView& frame, const Recipe& target, ReencodePlan& plan) {
  FrameHeader& header = plan.header;
  int64_t held[2] = {0, 0};
  bool changed = target.key_form != frame.header.key_form;
  header.explicit_positions = false;
  for (size_t row = 0; row < plan.tokens.size(); row += kFrameTiers) {
    const auto whole = static_cast<size_t>(header.span);
    if (plan.tokens[row + kHigh].size() != whole && plan.tokens[row + kLow].size() != whole) {
      header.explicit_positions = true;
    }
    for (const int32_t tier : {kHigh, kLow}) {
      for (const PlannedToken& token : plan.tokens[row + static_cast<size_t>(tier)]) {
        changed = changed || frame.header.formats[TierOfPlace(token.place)] != FormatOfTier(target, tier);
        ++held[tier];
      }
    }
  }
  changed = changed || target.key_levels != 0 || target.value_levels != 0;
  for (FormatId& format : header.formats) format = FormatId::kNone;
  if (held[kHigh] > 0) header.formats[kHigh] = target.high;
  if (held[kLow] > 0) header.formats[kLow] = target.low;
  header.version = kFrameVersion;
  header.key_form = target.key_form;
  header.profile = target.digest;
  if (changed) header.provenance = std::max(header.provenance, Provenance::kQuantised);
  if (plan.dropped > 0) header.provenance = std::max(header.provenance, Provenance::kPruned);
}

// Appends the places unless the tokens are the first of tier 0 one after the other; returns the first, or -1.
int64_t AppendPlaces(const std::vector<PlannedToken>& tokens, int32_t& lone_tier, std::vector<uint32_t>& places) {
  lone_tier = TierOfPlace(tokens.front().place);
  bool in_a_row = true;
  for (size_t i = 0; i < tokens.size(); ++i) {
    in_a_row = in_a_row && tokens[i].place == StoredPlace(lone_tier, static_cast<int32_t>(i));
  }
  if (in_a_row) return -1;
  const auto first = static_cast<int64_t>(places.size());
  for (const PlannedToken& token : tokens) places.push_back(token.place);
  return first;
}

}  // namespace

absl::Status CheckReencode(const FrameHeader& source, const Recipe& target) {
  const KeyForm& from = source.key_form;
  const KeyForm& to = target.key_form;
  if (target.allocation > Allocation::kThresholdByLength) {
    return Refuse(target, "only all_high and thresholds over scores can decide about single chunks");
  }
  if (target.low_rank.group_layers != 0) return Refuse(target, "its layers share a basis");
  if (from.rope != to.rope || from.balanced != to.balanced) {
    return Refuse(target, absl::StrCat("stored keys are ", from.rope != 0 ? "after" : "before", " rope and ",
                                       from.balanced != 0 ? "" : "not ", "balanced"));
  }
  if (to.hadamard != 0 && !IsHadamardOrder(HadamardOrder(to), source.head_dim)) {
    return Refuse(target, absl::StrCat("head_dim ", source.head_dim, " has no blocks of 2^", to.hadamard));
  }
  if (from.hadamard != 0 && !IsHadamardOrder(HadamardOrder(from), source.head_dim)) {
    return Refuse(target, absl::StrCat("head_dim ", source.head_dim, " has no blocks of 2^", from.hadamard));
  }
  if (source.head_dim > 256) return Refuse(target, absl::StrCat("head_dim ", source.head_dim));
  for (const FormatId format : {target.high, target.low}) {
    if (IsHalf(format)) return Refuse(target, absl::StrCat("format ", static_cast<int>(format), " holds half a token"));
  }
  for (const FormatId format : source.formats) {
    if (format == FormatId::kNone) continue;
    if (IsHalf(format)) {
      return Refuse(target, absl::StrCat("stored format ", static_cast<int>(format), " holds half a token"));
    }
    if (!Reaches(format, target.high) && !Reaches(format, target.low)) {
      return Refuse(target, absl::StrCat("stored format ", static_cast<int>(format), " would be promoted"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ReencodePlan> PlanReencode(const FrameView& frame, const OverlayView* overlay, int32_t prompt_tokens,
                                          const Recipe& target) {
  DECANT_RETURN_IF_ERROR(CheckReencode(frame.header, target));
  if (GoesByScores(target)) {
    if (overlay == nullptr) return Refuse(target, "it goes by scores, and the frame comes without");
    DECANT_RETURN_IF_ERROR(CheckOverlayMatches(frame, *overlay));
    if (prompt_tokens < frame.header.first_position + frame.header.span) {
      return absl::InvalidArgumentError(absl::StrCat("a prompt of ", prompt_tokens,
                                                     " tokens with a chunk that ends at ",
                                                     frame.header.first_position + frame.header.span));
    }
  }
  ReencodePlan plan;
  plan.header = frame.header;
  const PromptPolicy policy = PolicyOf(target, overlay, prompt_tokens);
  plan.tokens.resize(frame.layout.runs.size());
  std::vector<int32_t> counts(plan.tokens.size());
  for (int32_t layer = 0; layer < frame.header.layers; ++layer) {
    for (int32_t head = 0; head < frame.header.heads; ++head) {
      const auto row = static_cast<size_t>((layer * frame.header.heads + head) * kFrameTiers);
      plan.dropped += Distribute(frame, overlay, policy, target, layer, head, plan.tokens.data() + row);
    }
  }
  for (size_t i = 0; i < counts.size(); ++i) counts[i] = static_cast<int32_t>(plan.tokens[i].size());
  Describe(frame, target, plan);
  plan.layout = LayOutFrame(plan.header, counts);
  return plan;
}

void AppendReencodeRuns(const FrameView& frame, const ReencodePlan& plan, const Recipe& target, int64_t in, int64_t out,
                        std::vector<ReencodeRun>& runs, std::vector<uint32_t>& places) {
  const int64_t shift = in - frame.layout.offset;
  for (size_t i = 0; i < plan.tokens.size(); ++i) {
    const std::vector<PlannedToken>& tokens = plan.tokens[i];
    if (tokens.empty()) continue;
    const FrameRun* const stored = frame.layout.runs.data() + i / kFrameTiers * kFrameTiers;
    const FrameRun& to = plan.layout.runs[i];
    const Format format = FormatOf(plan.header.formats[i % kFrameTiers]);
    int32_t lone_tier = 0;
    ReencodeRun keys;
    keys.places = AppendPlaces(tokens, lone_tier, places);
    keys.tokens = static_cast<int32_t>(tokens.size());
    ReencodeRun values = keys;
    for (int32_t tier = 0; tier < kFrameTiers; ++tier) {
      const int32_t from = keys.places < 0 ? lone_tier : tier;
      const Format held = FormatOf(frame.header.formats[from]);
      keys.sources[tier] = StoredVectors{held.k, stored[from].keys + shift, stored[from].key_meta + shift};
      values.sources[tier] = StoredVectors{held.v, stored[from].values + shift, stored[from].value_meta + shift};
    }
    keys.element = format.k;
    keys.levels = target.key_levels;
    keys.unrotate = frame.header.key_form.hadamard;
    keys.rotate = target.key_form.hadamard;
    keys.codes = to.keys + out;
    keys.meta = to.key_meta + out;
    if (format.statistics) keys.statistics = to.statistics + out;
    values.element = format.v;
    values.levels = target.value_levels;
    values.codes = to.values + out;
    values.meta = to.value_meta + out;
    runs.push_back(keys);
    runs.push_back(values);
  }
}

void WriteHostParts(const FrameView& frame, const ReencodePlan& plan, uint8_t* to) {
  for (size_t i = 0; i < plan.tokens.size(); ++i) {
    if (plan.layout.runs[i].positions < 0) continue;
    uint8_t* at = to + plan.layout.runs[i].positions;
    for (const PlannedToken& token : plan.tokens[i]) {
      std::memcpy(at, &token.offset, sizeof(token.offset));
      at += sizeof(token.offset);
    }
  }
  if (plan.layout.balance < 0) return;
  const int64_t factors = int64_t{4} * plan.header.layers * plan.header.heads * plan.header.head_dim;
  std::memcpy(to + plan.layout.balance, frame.bytes.data() + (frame.layout.balance - frame.layout.offset),
              static_cast<size_t>(factors));
}

}  // namespace decant
