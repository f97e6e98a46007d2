#include <algorithm>
#include <cmath>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/compress/profile.h"
#include "common/compress/profile_names.h"
#include "common/kv/page.h"

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

// Every message names the two stages that cannot stand together.
absl::Status CheckFormats(const Profile& profile, const Recipe& recipe, int32_t head_dim) {
  const auto conflict = [&](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat("profile '", profile.name, "': ", parts...));
  };
  const bool moves = recipe.allocation != Allocation::kAllHigh || recipe.online != OnlinePolicy::kNone;
  if (recipe.low != FormatId::kNone && TokenBytes(recipe.low, head_dim) >= TokenBytes(recipe.high, head_dim)) {
    return conflict("low '", profile.low, "' (", TokenBytes(recipe.low, head_dim),
                    " bytes a token) must be smaller than high '", profile.high, "' (",
                    TokenBytes(recipe.high, head_dim), ")");
  }
  if (recipe.low != FormatId::kNone && !moves) {
    return conflict("low '", profile.low, "' is never used with allocate '", profile.allocate, "' and online '",
                    profile.online, "'; remove one");
  }
  if (recipe.online == OnlinePolicy::kNone) return absl::OkStatus();
  for (const FormatId id : {recipe.high, recipe.low}) {
    if (id != FormatId::kNone && !FormatOf(id).tracked) {
      return conflict("online '", profile.online, "' needs scores in pages, which ", id == recipe.high ? "high" : "low",
                      " 'full' does not keep");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPolicy(const Profile& profile, const Recipe& recipe) {
  const auto conflict = [&](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat("profile '", profile.name, "': ", parts...));
  };
  const bool by_threshold = recipe.allocation != Allocation::kAllHigh;
  const bool online = recipe.online != OnlinePolicy::kNone;
  if (!by_threshold && !online) return absl::OkStatus();
  if (recipe.score == ScoreSource::kNone) {
    return conflict(by_threshold ? absl::StrCat("allocate '", profile.allocate, "'")
                                 : absl::StrCat("online '", profile.online, "'"),
                    " needs scores, but score is 'none'");
  }
  const bool paper = recipe.online == OnlinePolicy::kDiffKvPaper;
  if (online && paper != (recipe.score == ScoreSource::kAllLaterQueries)) {
    return conflict("online '", profile.online, "' continues the sums of score '",
                    paper ? "all_later_queries" : "last_window", "', not of '", profile.score, "'");
  }
  if (!(std::isfinite(recipe.alpha_high) && std::isfinite(recipe.alpha_low) && recipe.alpha_low >= 0)) {
    return conflict("alpha_high ", profile.alpha_high, " and alpha_low ", profile.alpha_low,
                    " must be finite and not negative");
  }
  if (recipe.alpha_low > recipe.alpha_high) {
    return conflict("alpha_low ", profile.alpha_low, " is above alpha_high ", profile.alpha_high);
  }
  if (recipe.low == FormatId::kNone && recipe.alpha_low != recipe.alpha_high) {
    return conflict("alpha_low ", profile.alpha_low, " and alpha_high ", profile.alpha_high,
                    " differ, but there is no low format; make them equal or name one");
  }
  if (recipe.window < 1) return conflict("window ", profile.window, " must be at least 1 where tokens are dropped");
  if (recipe.score == ScoreSource::kReplay &&
      (profile.replay_first.empty() || profile.replay_later.empty() || profile.replay_chunk < 1)) {
    return conflict(
        "score 'replay' needs an instruction, replay_first and replay_later, and a replay_chunk of at "
        "least 1, not ",
        profile.replay_chunk);
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
    const auto whole = static_cast<int32_t>(std::lround(profile.propagation_depth * geometry.layers));
    recipe.propagation.layer = std::clamp(whole - 1, 0, geometry.layers - 2);
    recipe.propagation.share = static_cast<float>(profile.propagation_share);
  }
  if (profile.group_layers > 0) {
    const double width = double{1} * profile.group_layers * geometry.kv_heads * geometry.head_dim;
    recipe.low_rank = {profile.group_layers, static_cast<int32_t>(profile.key_rank * width),
                       static_cast<int32_t>(profile.value_rank * width)};
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
  DECANT_RETURN_IF_ERROR(CheckFormats(profile, recipe, geometry.head_dim));
  DECANT_RETURN_IF_ERROR(CheckPolicy(profile, recipe));
  return recipe;
}

}  // namespace decant
