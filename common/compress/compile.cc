#include <algorithm>
#include <cmath>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/compress/capabilities.h"
#include "common/compress/profile.h"
#include "common/compress/profile_names.h"

namespace decant {
namespace {

template <typename T, size_t kCount>
absl::Status SetStage(const Profile& profile, absl::string_view field, absl::string_view name,
                      const StageName<T> (&names)[kCount], T& out) {
  const std::optional<T> found = FindStage(names, name);
  if (!found.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("profile '", profile.name, "': ", field, " is '", name,
                                                   "'; it must be one of ", StageList(names)));
  }
  out = *found;
  return absl::OkStatus();
}

absl::Status CheckGeometry(const Geometry& geometry) {
  if (geometry.head_dim < 8 || geometry.head_dim > 256 || geometry.head_dim % 8 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("head_dim ", geometry.head_dim, "; it must be a multiple of 8 from 8 to 256"));
  }
  if (geometry.layers < 1 || geometry.kv_heads < 1 || geometry.q_heads < 1 ||
      geometry.q_heads % geometry.kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(geometry.layers, " layers, ", geometry.q_heads, " query and ",
                                                   geometry.kv_heads,
                                                   " kv heads; query heads must be a multiple of kv heads"));
  }
  return absl::OkStatus();
}

// Full precision is that of the run type.
FormatId InRunType(FormatId id, RunType run_type) {
  if (run_type != RunType::kF32) return id;
  switch (id) {
    case FormatId::kFullBf16:
      return FormatId::kFullF32;
    case FormatId::kTrackedBf16:
      return FormatId::kTrackedF32;
    case FormatId::kIndexedBf16:
      return FormatId::kIndexedF32;
    case FormatId::kFullK16:
      return FormatId::kFullK32;
    case FormatId::kFullV16:
      return FormatId::kFullV32;
    default:
      return id;
  }
}

absl::Status SetFormats(const Profile& profile, RunType run_type, Recipe& recipe) {
  DECANT_RETURN_IF_ERROR(SetStage(profile, "high", profile.high, kFormatNames, recipe.high));
  if (!profile.low.empty()) DECANT_RETURN_IF_ERROR(SetStage(profile, "low", profile.low, kFormatNames, recipe.low));
  if (recipe.split()) {
    recipe.window_keys = FormatId::kFullK16;
    recipe.window_values = FormatId::kFullV16;
  }
  for (FormatId* format : {&recipe.high, &recipe.low, &recipe.window_keys, &recipe.window_values}) {
    *format = InRunType(*format, run_type);
  }
  return absl::OkStatus();
}

void SetNumbers(const Profile& profile, const Geometry& geometry, Recipe& recipe) {
  recipe.score_queries = profile.score_queries;
  recipe.pool_width = profile.pool_width;
  recipe.budget = static_cast<float>(profile.budget);
  recipe.high_share = static_cast<float>(profile.high_share);
  recipe.beta = static_cast<float>(profile.beta);
  recipe.replay = {profile.replay_first, profile.replay_later, profile.replay_reply, profile.replay_chunk,
                   profile.replay_quote};
  recipe.layer_shares.assign(profile.layer_shares.begin(), profile.layer_shares.end());
  recipe.alpha_high = static_cast<float>(profile.alpha_high);
  recipe.alpha_low = static_cast<float>(profile.alpha_low);
  recipe.window = profile.window;
  recipe.sinks = profile.sinks;
  recipe.key_levels = profile.key_levels;
  recipe.value_levels = profile.value_levels;
  recipe.read = {profile.read_tokens, profile.dense_layers};
  for (int32_t order = profile.hadamard; order > 1; order /= 2) ++recipe.key_form.hadamard;
  if (profile.propagation_depth > 0 && geometry.layers > 1) {
    // So many layers see all tokens, and at least one does not.
    const auto whole = static_cast<int32_t>(std::lround(std::min(profile.propagation_depth, 1.0) * geometry.layers));
    recipe.propagation.layer = std::clamp(whole - 1, 0, geometry.layers - 2);
    recipe.propagation.share = static_cast<float>(profile.propagation_share);
  }
  if (profile.group_layers > 0) {
    const int32_t group = std::min(profile.group_layers, geometry.layers);
    const double width = double{1} * group * geometry.kv_heads * geometry.head_dim;
    recipe.low_rank = {group, static_cast<int32_t>(std::min(profile.key_rank, 1.0) * width),
                       static_cast<int32_t>(std::min(profile.value_rank, 1.0) * width)};
    recipe.code = WireCode::kLowRank;
  }
}

}  // namespace

absl::StatusOr<Recipe> Compile(const Profile& profile, const Geometry& geometry, RunType run_type) {
  DECANT_RETURN_IF_ERROR(CheckGeometry(geometry));
  Recipe recipe;
  recipe.profile = profile.name;
  recipe.digest = ProfileDigest(profile);
  recipe.shareable = profile.shareable.empty() ? profile.name : profile.shareable;
  DECANT_RETURN_IF_ERROR(SetStage(profile, "score", profile.score, kScoreNames, recipe.score));
  DECANT_RETURN_IF_ERROR(SetStage(profile, "reduce", profile.reduce, kReduceNames, recipe.reduce));
  DECANT_RETURN_IF_ERROR(SetStage(profile, "pool", profile.pool, kPoolNames, recipe.pooling));
  DECANT_RETURN_IF_ERROR(SetStage(profile, "allocate", profile.allocate, kAllocateNames, recipe.allocation));
  DECANT_RETURN_IF_ERROR(SetStage(profile, "online", profile.online, kOnlineNames, recipe.online));
  DECANT_RETURN_IF_ERROR(SetStage(profile, "rope", profile.rope, kRopeNames, recipe.key_form.rope));
  DECANT_RETURN_IF_ERROR(SetStage(profile, "balance", profile.balance, kBalanceNames, recipe.key_form.balanced));
  DECANT_RETURN_IF_ERROR(SetStage(profile, "code", profile.code, kCodeNames, recipe.code));
  DECANT_RETURN_IF_ERROR(SetFormats(profile, run_type, recipe));
  SetNumbers(profile, geometry, recipe);
  DECANT_RETURN_IF_ERROR(CheckStages(profile, recipe, geometry));
  DECANT_RETURN_IF_ERROR(CheckNumbers(profile, recipe, geometry));
  return recipe;
}

}  // namespace decant
