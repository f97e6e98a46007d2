// A recipe is a profile compiled for one geometry: the plain numbers and ids that host and device operations take.
#ifndef DECANT_COMMON_COMPRESS_RECIPE_H_
#define DECANT_COMMON_COMPRESS_RECIPE_H_

#include <cstdint>
#include <string>

#include "common/base/digest.h"
#include "common/kv/format.h"
#include "common/kv/rows.h"

namespace decant {

enum class ScoreSource : uint8_t {
  kNone = 0,
  kAllLaterQueries = 1,  // column sums over every later query: the DiffKV paper
  kLastWindow = 2,       // the last 64 queries, own query included: the DiffKV release
};

enum class Allocation : uint8_t {
  kAllHigh = 0,
  kThresholdByPosition = 1,  // alpha / i, i counted from 1: the DiffKV paper
  kThresholdByLength = 2,    // alpha / N: the DiffKV release
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
  int32_t window = 64;
  // The profile under whose name chunks computed with this one are stored for reuse; itself when token-wise.
  std::string shareable;

  bool exact() const { return high == FormatId::kFullF32 || high == FormatId::kFullBf16; }

  // The format besides the tiers' own in which a stored prefix may arrive: decode keeps room for it as the row's fixed
  // run, prefill forwards such frames unchanged. Both sides derive it from the recipe, so no message has to name it.
  FormatId prefix_format() const {
    const bool has_k8v4 = high == FormatId::kK8V4 || low == FormatId::kK8V4;
    return exact() || has_k8v4 ? FormatId::kNone : FormatId::kK8V4;
  }
};

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_RECIPE_H_
