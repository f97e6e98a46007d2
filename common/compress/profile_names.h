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
                                                         {"last_window", ScoreSource::kLastWindow},
                                                         {"all_queries", ScoreSource::kAllQueries},
                                                         {"replay", ScoreSource::kReplay},
                                                         {"position", ScoreSource::kPosition}};
inline constexpr StageName<GroupReduce> kReduceNames[] = {{"max", GroupReduce::kMax},
                                                          {"mean", GroupReduce::kMean},
                                                          {"sum", GroupReduce::kSum},
                                                          {"layer_mean", GroupReduce::kLayerMean}};
inline constexpr StageName<Pooling> kPoolNames[] = {
    {"none", Pooling::kNone}, {"average", Pooling::kAverage}, {"max", Pooling::kMax}};
inline constexpr StageName<Allocation> kAllocateNames[] = {{"all_high", Allocation::kAllHigh},
                                                           {"threshold_by_position", Allocation::kThresholdByPosition},
                                                           {"threshold_by_length", Allocation::kThresholdByLength},
                                                           {"top", Allocation::kTop},
                                                           {"pyramid", Allocation::kPyramid},
                                                           {"layer_shares", Allocation::kLayerShares},
                                                           {"global", Allocation::kGlobal},
                                                           {"global_tiers", Allocation::kGlobalTiers},
                                                           {"top_tiers", Allocation::kTopTiers},
                                                           {"sinks_and_recent", Allocation::kSinksAndRecent},
                                                           {"window_split", Allocation::kWindowSplit}};
inline constexpr StageName<OnlinePolicy> kOnlineNames[] = {{"none", OnlinePolicy::kNone},
                                                           {"diffkv_paper", OnlinePolicy::kDiffKvPaper},
                                                           {"diffkv_code", OnlinePolicy::kDiffKvCode},
                                                           {"heavy_hitter", OnlinePolicy::kHeavyHitter},
                                                           {"sinks_and_recent", OnlinePolicy::kSinksAndRecent},
                                                           {"freeze", OnlinePolicy::kFreeze},
                                                           {"demote_oldest", OnlinePolicy::kDemoteOldest},
                                                           {"keep_share", OnlinePolicy::kKeepShare}};
// `full` is the run type's format; Compile replaces kFullBf16 by kFullF32 where asked.
inline constexpr StageName<FormatId> kFormatNames[] = {{"full", FormatId::kFullBf16},
                                                       {"full_tracked", FormatId::kTrackedBf16},
                                                       {"full_indexed", FormatId::kIndexedBf16},
                                                       {"k8v4", FormatId::kK8V4},
                                                       {"k4v2", FormatId::kK4V2},
                                                       {"k8v4_untracked", FormatId::kPlainK8V4},
                                                       {"k4v2_untracked", FormatId::kPlainK4V2},
                                                       {"k4v8", FormatId::kK4V8},
                                                       {"k4v1", FormatId::kK4V1},
                                                       {"k4v4", FormatId::kK4V4},
                                                       {"k4v4_tracked", FormatId::kTrackedK4V4},
                                                       {"k4v4_groups", FormatId::kGroupK4V4},
                                                       {"k2v2_groups", FormatId::kGroupK2V2},
                                                       {"k4_channels", FormatId::kChannelK4},
                                                       {"k2_channels", FormatId::kChannelK2},
                                                       {"v4_groups", FormatId::kGroupV4},
                                                       {"v2_groups", FormatId::kGroupV2}};
inline constexpr StageName<uint8_t> kRopeNames[] = {{"post", 1}, {"pre", 0}};
inline constexpr StageName<uint8_t> kBalanceNames[] = {{"none", 0}, {"channel", 1}};
inline constexpr StageName<WireCode> kCodeNames[] = {{"raw", WireCode::kRaw}, {"entropy", WireCode::kEntropy}};

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

// SHA-256 of the canonical bytes.
Digest ProfileDigest(const Profile& profile);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_PROFILE_NAMES_H_
