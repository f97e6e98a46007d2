// What each choice of a stage needs, gives and rules out: the static facts by which Compile decides whether the stages
// of a profile can stand together. A new choice declares itself here and nowhere else.
#ifndef DECANT_COMMON_COMPRESS_CAPABILITIES_H_
#define DECANT_COMMON_COMPRESS_CAPABILITIES_H_

#include <cstdint>

#include "absl/status/status.h"
#include "common/compress/profile.h"
#include "common/compress/recipe.h"
#include "common/kv/format.h"
#include "common/kv/geometry.h"

namespace decant {

// What a stage takes from the forward pass or from another stage. Bits of a mask.
enum Signal : uint32_t {
  kNoSignal = 0,
  kScores = 1u << 0,         // one number per token
  kMeanScores = 1u << 1,     // such that are means of attention, comparable with 1 / length
  kWindowQueries = 1u << 2,  // queries of the last tokens
  kColumnSums = 1u << 3,     // attention received, summed over queries
  kReplayPass = 1u << 4,     // a second pass in which the model repeats its context
  kChannelPeaks = 1u << 5,   // largest |q| and |k| per channel
  kPreRopeKeys = 1u << 6,
  kLayerGroup = 1u << 7,    // keys and values of several layers at once
  kAllLayers = 1u << 8,     // scores of all layers at once
  kPositions = 1u << 9,     // of every stored token, beside it
  kScoreSums = 1u << 10,    // running sums of every stored token, beside it
  kStatistics = 1u << 11,   // smallest and largest key per channel and block
  kLowFormat = 1u << 12,    // a second, smaller format
  kHalfFormats = 1u << 13,  // formats that hold only K or only V
};
using SignalMask = uint32_t;

enum class RopeNeed : uint8_t { kAny = 0, kPre = 1, kPost = 2 };

struct Caps {
  SignalMask needs = kNoSignal;
  SignalMask gives = kNoSignal;
  bool drops = false;           // tokens of the prompt may be missing
  bool ragged_heads = false;    // which ones differs from head to head
  bool ragged_layers = false;   // ... from layer to layer
  bool cross_layer = false;     // several layers are decided or stored together
  bool online = false;          // goes on while decoding
  bool lossy = false;           // other than by dropping
  bool token_separable = true;  // a stored token can be dropped or requantised by itself
  bool conjugates_q = false;    // the query has to be transformed before it meets the key
  bool mixes_channels = false;  // every stored channel is made of several
  RopeNeed rope = RopeNeed::kAny;
  int32_t token_group = 1;  // tokens that share scales
  int32_t layer_group = 1;  // layers that share storage
};

Caps CapsOf(ScoreSource source);
Caps CapsOf(Allocation allocation, bool has_low);
Caps CapsOf(OnlinePolicy policy);
Caps CapsOf(FormatId format);
Caps CapsOf(const KeyForm& form);
Caps CapsOf(const LowRank& low_rank);
Caps CapsOf(const ReadPolicy& read);
Caps CapsOf(const TokenPropagation& propagation);

// Whether an online policy can go on with what a score source summed, and with what an allocation left.
bool Continues(OnlinePolicy policy, ScoreSource source);
bool Continues(OnlinePolicy policy, Allocation allocation);

// OK, or INVALID_ARGUMENT that names the profile, two of its stages and what to change. `recipe` is the profile's,
// compiled but for these checks.
absl::Status CheckStages(const Profile& profile, const Recipe& recipe, const Geometry& geometry);

// OK, or INVALID_ARGUMENT with the field, its value and what is allowed: numbers out of range, or fields that say
// something no stage of the profile reads.
absl::Status CheckNumbers(const Profile& profile, const Recipe& recipe, const Geometry& geometry);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_CAPABILITIES_H_
