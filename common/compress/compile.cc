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
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Recipe> Compile(const Profile& profile, const Geometry& geometry, RunType run_type) {
  DECANT_RETURN_IF_ERROR(CheckGeometry(geometry));
  Recipe recipe;
  recipe.profile = profile.name;
  recipe.digest = ProfileDigest(profile);
  DECANT_RETURN_IF_ERROR(SetStage(profile, "high", profile.high, kFormatNames, recipe.high));
  if (!profile.low.empty()) DECANT_RETURN_IF_ERROR(SetStage(profile, "low", profile.low, kFormatNames, recipe.low));
  DECANT_RETURN_IF_ERROR(SetStage(profile, "score", profile.score, kScoreNames, recipe.score));
  DECANT_RETURN_IF_ERROR(SetStage(profile, "allocate", profile.allocate, kAllocateNames, recipe.allocation));
  DECANT_RETURN_IF_ERROR(SetStage(profile, "online", profile.online, kOnlineNames, recipe.online));
  recipe.alpha_high = static_cast<float>(profile.alpha_high);
  recipe.alpha_low = static_cast<float>(profile.alpha_low);
  recipe.window = profile.window;
  recipe.shareable = profile.shareable.empty() ? profile.name : profile.shareable;
  if (run_type == RunType::kF32) {
    if (recipe.high == FormatId::kFullBf16) recipe.high = FormatId::kFullF32;
    if (recipe.low == FormatId::kFullBf16) recipe.low = FormatId::kFullF32;
  }
  DECANT_RETURN_IF_ERROR(CheckFormats(profile, recipe, geometry.head_dim));
  DECANT_RETURN_IF_ERROR(CheckPolicy(profile, recipe));
  return recipe;
}

}  // namespace decant
