// A recipe is a profile compiled for one geometry: the plain numbers and ids that host and device operations take.
#ifndef DECANT_COMMON_COMPRESS_RECIPE_H_
#define DECANT_COMMON_COMPRESS_RECIPE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/digest.h"
#include "common/kv/format.h"
#include "common/kv/rows.h"

namespace decant {

// What of the attention that a token received its score is made of. Sources differ in the queries that count.
enum class ScoreSource : uint8_t {
  kNone = 0,
  kAllLaterQueries = 1,  // column sums over every later query, own query left out: the DiffKV paper
  kLastWindow = 2,       // the last `score_queries` queries, own query included: SnapKV, the DiffKV release
  kAllQueries = 3,       // column sums over every query, own query included: H2O
  kReplay = 4,           // the largest attention while the model repeats its context: KVzip
  kPosition = 5,         // none at all: later is better
};

// How the sums of the query heads that share a kv head become one score.
enum class GroupReduce : uint8_t { kMax = 0, kMean = 1, kSum = 2, kLayerMean = 3 };  // kLayerMean: over all heads

// Smoothing along the sequence before tokens are chosen.
enum class Pooling : uint8_t { kNone = 0, kAverage = 1, kMax = 2 };

// Who gets which tier. `budget` is the share of the prompt's tokens that stays in the better of the two outcomes that
// the rule separates: high against low where there is a low format, kept against pruned where there is none.
enum class Allocation : uint8_t {
  kAllHigh = 0,
  kThresholdByPosition = 1,  // alpha / i, i counted from 1: the DiffKV paper
  kThresholdByLength = 2,    // alpha / N: the DiffKV release
  kTop = 3,                  // the same number of tokens in every head: SnapKV, H2O, FastKV
  kPyramid = 4,              // fewer from layer to layer, exact in sum: PyramidKV
  kLayerShares = 5,          // a measured share per layer, one set of tokens for all its heads: PrefixKV
  kGlobal = 6,               // one threshold over all layers and heads: KVzip
  kSinksAndRecent = 7,       // StreamingLLM
  kWindowSplit = 8,          // frozen groups and a window: KIVI
  kGlobalTiers = 9,          // one ranking over all layers and heads, cut twice: high, low, pruned
  kTopTiers = 10,            // the same two cuts in every head by itself: a fixed split
};

// Coding of frames on the wire and in cold storage; undone on import.
enum class WireCode : uint8_t { kRaw = 0, kEntropy = 1, kLowRank = 2 };

// Keys and values of several layers over one basis: xKV.
struct LowRank {
  int32_t group_layers = 0;  // 0: none
  int32_t key_rank = 0;
  int32_t value_rank = 0;
};

// What a model is told so that it repeats its context (score kReplay); the wording is a hyper-parameter.
struct ReplayWording {
  std::string first;         // asks for the whole context
  std::string later;         // asks for the part of it that begins with the tokens quoted behind
  std::string reply;         // opens the model's turn
  int32_t chunk_tokens = 0;  // repeated at a time
  int32_t quoted_tokens = 0;
};

// After which layer only some tokens of the prompt go on: FastKV.
struct TokenPropagation {
  int32_t layer = -1;  // -1: all go on through all layers
  float share = 1;     // of the prompt's tokens
};

struct Recipe {
  std::string profile;
  Digest digest;  // of the profile's canonical bytes
  FormatId high = FormatId::kNone;
  FormatId low = FormatId::kNone;
  ScoreSource score = ScoreSource::kNone;
  Allocation allocation = Allocation::kAllHigh;
  OnlinePolicy online = OnlinePolicy::kNone;
  float alpha_high = 0;
  float alpha_low = 0;
  int32_t window = 64;   // the newest tokens that no policy touches
  int32_t sinks = 0;     // the oldest ones
  float budget = 1;      // see Allocation
  float high_share = 0;  // kGlobalTiers, kTopTiers: the share of the kept tokens that is high
  int32_t score_queries = 64;
  GroupReduce reduce = GroupReduce::kMax;
  Pooling pooling = Pooling::kNone;
  int32_t pool_width = 1;           // odd
  float beta = 20;                  // of kPyramid
  std::vector<float> layer_shares;  // [layers] of kLayerShares, mean 1; times the budget
  ReplayWording replay;
  KeyForm key_form;
  // Codes in use, 0: all of the format's bits.
  int32_t key_levels = 0;
  int32_t value_levels = 0;
  ReadPolicy read;
  TokenPropagation propagation;
  LowRank low_rank;
  WireCode code = WireCode::kRaw;
  // The window tiers of a split row (Allocation::kWindowSplit), else none.
  FormatId window_keys = FormatId::kNone;
  FormatId window_values = FormatId::kNone;
  // The profile under whose name chunks computed with this one are stored for reuse; itself when token-wise.
  std::string shareable;

  // Nothing is lost: full precision, and every token stays.
  bool exact() const {
    return IsFull(FormatOf(high).k) && IsFull(FormatOf(high).v) && low == FormatId::kNone &&
           allocation == Allocation::kAllHigh && key_form == KeyForm{} && low_rank.group_layers == 0 &&
           read.tokens == 0;
  }
  // One ranking gives both tiers: the budget is what stays at all.
  bool cuts_twice() const { return allocation == Allocation::kGlobalTiers || allocation == Allocation::kTopTiers; }
  bool split() const { return allocation == Allocation::kWindowSplit; }
  // All layers have to be computed before the first can be encoded.
  bool needs_all_layers() const { return allocation == Allocation::kGlobal || allocation == Allocation::kGlobalTiers; }
  // Decode goes on with the scores of the prompt, so they travel in overlays.
  bool needs_overlays() const { return online != OnlinePolicy::kNone && FormatOf(high).tracked; }
  // Frames of a stored prefix go to decode as they are. Where not, its tokens are selected and encoded
  // with the others.
  bool forwards_prefix() const {
    return allocation <= Allocation::kThresholdByLength && key_form == KeyForm{} && low_rank.group_layers == 0 &&
           propagation.layer < 0 && read.tokens == 0;
  }
  // Tokens at the end of a prompt that are computed whatever is stored of it: the one that predicts, and the queries
  // that choose among the tokens before them, without which a reused prefix would not be chosen from at all.
  int32_t least_computed() const {
    int32_t least = 1;
    const bool by_threshold =
        allocation == Allocation::kThresholdByPosition || allocation == Allocation::kThresholdByLength;
    if (by_threshold && window > least) least = window;
    if (score == ScoreSource::kLastWindow && score_queries > least) least = score_queries;
    return least;
  }
  // Tokens of the prompt alone decide what becomes of them, so that a chunk of it can be stored and used again.
  bool token_wise() const {
    return allocation == Allocation::kAllHigh && key_form.balanced == 0 && low_rank.group_layers == 0 &&
           propagation.layer < 0;
  }

  // The format besides the tiers' own in which a stored prefix may arrive: decode keeps room for it as the row's fixed
  // run, prefill forwards such frames unchanged. Both sides derive it from the recipe, so no message has to name it.
  FormatId prefix_format() const {
    if (!forwards_prefix()) return FormatId::kNone;
    const bool has_k8v4 = high == FormatId::kK8V4 || low == FormatId::kK8V4;
    return exact() || has_k8v4 ? FormatId::kNone : FormatId::kK8V4;
  }
};

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_RECIPE_H_
