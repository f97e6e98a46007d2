// The words of a profile's stages and what they stand for, once.
#ifndef DECANT_COMMON_COMPRESS_PROFILE_NAMES_H_
#define DECANT_COMMON_COMPRESS_PROFILE_NAMES_H_

#include <optional>

#include "absl/strings/string_view.h"
#include "common/compress/profile.h"
#include "common/compress/recipe.h"

namespace decant {

template <typename T>
struct StageName {
  absl::string_view name;
  T value;
};

inline constexpr StageName<ScoreSource> kScoreNames[] = {{"none", ScoreSource::kNone},
                                                         {"all_later_queries", ScoreSource::kAllLaterQueries},
                                                         {"last_window", ScoreSource::kLastWindow}};
inline constexpr StageName<Allocation> kAllocateNames[] = {{"all_high", Allocation::kAllHigh},
                                                           {"threshold_by_position", Allocation::kThresholdByPosition},
                                                           {"threshold_by_length", Allocation::kThresholdByLength}};
inline constexpr StageName<OnlinePolicy> kOnlineNames[] = {{"none", OnlinePolicy::kNone},
                                                           {"diffkv_paper", OnlinePolicy::kDiffKvPaper},
                                                           {"diffkv_code", OnlinePolicy::kDiffKvCode}};
// `full` is the run type's format; Compile replaces kFullBf16 by kFullF32 where asked.
inline constexpr StageName<FormatId> kFormatNames[] = {
    {"full", FormatId::kFullBf16}, {"k8v4", FormatId::kK8V4}, {"k4v2", FormatId::kK4V2}};

template <typename T, size_t kCount>
std::optional<T> FindStage(const StageName<T> (&names)[kCount], absl::string_view name) {
  for (const StageName<T>& stage : names) {
    if (stage.name == name) return stage.value;
  }
  return std::nullopt;
}

// "none, all_later_queries, last_window"
template <typename T, size_t kCount>
std::string StageList(const StageName<T> (&names)[kCount]) {
  std::string list;
  for (const StageName<T>& stage : names) {
    if (!list.empty()) list += ", ";
    list.append(stage.name.data(), stage.name.size());
  }
  return list;
}

// SHA-256 of the canonical bytes: all fields with their values, keys sorted, no white space.
Digest ProfileDigest(const Profile& profile);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_PROFILE_NAMES_H_
