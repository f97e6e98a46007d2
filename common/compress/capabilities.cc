#include "common/compress/capabilities.h"

namespace decant {

Caps CapsOf(ScoreSource source) {
  Caps caps;
  switch (source) {
    case ScoreSource::kNone:
      break;
    case ScoreSource::kAllLaterQueries:
    case ScoreSource::kAllQueries:
      caps.needs = kColumnSums;
      caps.gives = kScores | kMeanScores;
      break;
    case ScoreSource::kLastWindow:
      caps.needs = kWindowQueries;
      caps.gives = kScores | kMeanScores;
      break;
    case ScoreSource::kReplay:
      caps.needs = kReplayPass;
      caps.gives = kScores;
      break;
    case ScoreSource::kPosition:
      caps.gives = kScores;
      break;
  }
  return caps;
}

Caps CapsOf(Allocation allocation, bool has_low) {
  Caps caps;
  switch (allocation) {
    case Allocation::kAllHigh:
      return caps;
    case Allocation::kThresholdByPosition:
    case Allocation::kThresholdByLength:
      caps.needs = kMeanScores;
      caps.drops = true;
      break;
    case Allocation::kTop:
    case Allocation::kPyramid:
      caps.needs = kScores;
      caps.drops = !has_low;
      break;
    case Allocation::kLayerShares:
      caps.needs = kScores;
      caps.drops = !has_low;
      caps.ragged_layers = true;
      return caps;
    case Allocation::kGlobal:
      caps.needs = kScores | kAllLayers;
      caps.drops = !has_low;
      caps.cross_layer = true;
      break;
    case Allocation::kGlobalTiers:
      caps.needs = kScores | kAllLayers | kLowFormat;
      caps.drops = true;
      caps.cross_layer = true;
      break;
    case Allocation::kTopTiers:
      caps.needs = kScores | kLowFormat;
      caps.drops = true;
      break;
    case Allocation::kSinksAndRecent:
      caps.needs = kScores;
      caps.drops = true;
      return caps;
    case Allocation::kWindowSplit:
      caps.needs = kHalfFormats;
      return caps;
  }
  caps.ragged_heads = true;
  caps.ragged_layers = true;
  return caps;
}

Caps CapsOf(OnlinePolicy policy) {
  Caps caps;
  caps.online = policy != OnlinePolicy::kNone;
  switch (policy) {
    case OnlinePolicy::kNone:
      break;
    case OnlinePolicy::kDiffKvPaper:
    case OnlinePolicy::kDiffKvCode:
    case OnlinePolicy::kHeavyHitter:
      caps.needs = kPositions | kScoreSums;
      caps.drops = true;
      break;
    case OnlinePolicy::kDemoteOldest:
      caps.needs = kPositions | kScoreSums | kLowFormat;
      break;
    case OnlinePolicy::kSinksAndRecent:
    case OnlinePolicy::kKeepShare:
      caps.needs = kPositions;
      caps.drops = true;
      break;
    case OnlinePolicy::kFreeze:
      caps.needs = kHalfFormats;
      break;
  }
  return caps;
}

Caps CapsOf(FormatId id) {
  const Format format = FormatOf(id);
  Caps caps;
  caps.lossy = IsAffine(format.k) || IsAffine(format.v);
  if (format.tracked) caps.gives |= kPositions | kScoreSums;
  if (format.statistics) {
    caps.gives |= kStatistics;
    caps.token_group = kStatisticsBlock;
  }
  if (format.k == Element::kNone || format.v == Element::kNone) caps.gives |= kHalfFormats;
  if (IsChannel(format.k) || IsChannel(format.v)) {
    caps.token_separable = false;
    caps.token_group = kTokenGroup;
  }
  return caps;
}

Caps CapsOf(const KeyForm& form) {
  Caps caps;
  if (form.rope == 0) {
    caps.needs |= kPreRopeKeys | kPositions;
    caps.rope = RopeNeed::kPre;
  }
  if (form.hadamard > 0 || form.balanced != 0) {
    caps.conjugates_q = true;
    caps.rope = RopeNeed::kPost;
  }
  if (form.balanced != 0) caps.needs |= kChannelPeaks;
  caps.mixes_channels = form.hadamard > 0;
  return caps;
}

Caps CapsOf(const LowRank& low_rank) {
  Caps caps;
  if (low_rank.group_layers == 0) return caps;
  caps.needs = kLayerGroup;
  caps.cross_layer = true;
  caps.lossy = true;
  caps.layer_group = low_rank.group_layers;
  caps.rope = RopeNeed::kPre;
  return caps;
}

Caps CapsOf(const ReadPolicy& read) {
  Caps caps;
  if (read.tokens == 0) return caps;
  caps.needs = kStatistics;
  caps.rope = RopeNeed::kPost;
  return caps;
}

Caps CapsOf(const TokenPropagation& propagation) {
  Caps caps;
  if (propagation.layer < 0) return caps;
  caps.needs = kWindowQueries;
  caps.drops = true;
  caps.ragged_layers = true;
  return caps;
}

bool Continues(OnlinePolicy policy, ScoreSource source) {
  switch (policy) {
    case OnlinePolicy::kDiffKvPaper:
      return source == ScoreSource::kAllLaterQueries;
    case OnlinePolicy::kDiffKvCode:
      return source == ScoreSource::kLastWindow;
    case OnlinePolicy::kHeavyHitter:
    case OnlinePolicy::kDemoteOldest:
      return source == ScoreSource::kAllQueries;
    case OnlinePolicy::kNone:
    case OnlinePolicy::kSinksAndRecent:
    case OnlinePolicy::kFreeze:
    case OnlinePolicy::kKeepShare:
      break;
  }
  return true;
}

bool Continues(OnlinePolicy policy, Allocation allocation) {
  const bool per_layer =
      allocation == Allocation::kTop || allocation == Allocation::kPyramid || allocation == Allocation::kLayerShares;
  switch (policy) {
    case OnlinePolicy::kNone:
      return true;
    case OnlinePolicy::kDiffKvPaper:
    case OnlinePolicy::kDiffKvCode:
      return allocation <= Allocation::kThresholdByLength;
    case OnlinePolicy::kHeavyHitter:
    case OnlinePolicy::kKeepShare:
      return per_layer;
    case OnlinePolicy::kDemoteOldest:
      return per_layer || allocation == Allocation::kGlobal;
    case OnlinePolicy::kSinksAndRecent:
      return allocation == Allocation::kSinksAndRecent;
    case OnlinePolicy::kFreeze:
      return allocation == Allocation::kWindowSplit;
  }
  return false;
}

}  // namespace decant
