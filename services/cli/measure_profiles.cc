#include "services/cli/measure_profiles.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/base/status_macros.h"
#include "common/index/keys.h"
#include "services/cli/faithfulness.h"

namespace decant {
namespace {

constexpr int kRounds = 5;

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// What is chosen among when a request names nothing. `full` first: the others are told relative to it. Everything else
// is measured by the lab.
constexpr const char* kMeasured[] = {"full", "diffkv", "diffkv-release", "k4v2", "k8v4"};

absl::StatusOr<Recipe> RecipeOf(const LoadedModel& model, const Catalogue& catalogue, const std::string& name) {
  DECANT_ASSIGN_OR_RETURN(const Profile profile, catalogue.FindFor(name, model.folder.fingerprint));
  return Compile(profile, model.weights->config().geometry(), model.weights->run_type());
}

// The less of what is left when the prefix comes as `full` holds it and when it comes in the shareable form.
absl::StatusOr<HitCost> MeasureHits(const LoadedModel& model, const std::vector<std::vector<int32_t>>& prompts,
                                    const Catalogue& catalogue, const Recipe& full, const Recipe& recipe,
                                    int32_t answer_tokens) {
  DECANT_ASSIGN_OR_RETURN(const Recipe form, RecipeOf(model, catalogue, recipe.shareable));
  DECANT_ASSIGN_OR_RETURN(const HitFaithfulness exact, MeasureHit(model, prompts, full, recipe, full, answer_tokens));
  DECANT_ASSIGN_OR_RETURN(const HitFaithfulness lossy, MeasureHit(model, prompts, full, recipe, form, answer_tokens));
  double tokens = 0;
  for (const auto& prompt : prompts) tokens += static_cast<double>(prompt.size()) / static_cast<double>(prompts.size());
  const auto bytes_per_token = static_cast<double>(model.weights->config().geometry().full_bytes_per_token());
  HitCost hit;
  hit.quality = std::min(exact.agreement, lossy.agreement);
  hit.wire_ratio = exact.reused_tokens * bytes_per_token / exact.prefix_wire_bytes;
  hit.resident_ratio =
      (tokens + answer_tokens) * bytes_per_token / std::max(exact.resident_bytes, lossy.resident_bytes);
  return hit;
}

}  // namespace

absl::StatusOr<std::vector<ProfileCost>> MeasureProfiles(const LoadedModel& model,
                                                         const std::vector<std::vector<int32_t>>& prompts,
                                                         const Calibration& calibration, int32_t answer_tokens,
                                                         const std::function<void(absl::string_view)>& progress) {
  if (prompts.empty()) return absl::InvalidArgumentError("no prompts to measure on");
  DECANT_ASSIGN_OR_RETURN(Catalogue catalogue, Catalogue::BuiltIn());
  catalogue.ReplaceCalibration(calibration);
  std::vector<Recipe> recipes;
  for (const char* name : kMeasured) {
    DECANT_ASSIGN_OR_RETURN(Recipe recipe, RecipeOf(model, catalogue, name));
    recipes.push_back(std::move(recipe));
  }
  double tokens = 0;
  for (const auto& prompt : prompts) tokens += static_cast<double>(prompt.size()) / static_cast<double>(prompts.size());
  const auto bytes_per_token = static_cast<double>(model.weights->config().geometry().full_bytes_per_token());
  int32_t shortest = std::numeric_limits<int32_t>::max();
  for (const auto& prompt : prompts) shortest = std::min(shortest, static_cast<int32_t>(prompt.size()));
  std::vector<ProfileCost> costs;
  for (const Recipe& recipe : recipes) {
    DECANT_ASSIGN_OR_RETURN(const auto measured,
                            MeasureFaithfulness(model, prompts, {recipes[0], recipe}, answer_tokens, nullptr));
    ProfileCost cost;
    cost.name = recipe.profile;
    cost.quality = measured[1].agreement;
    cost.wire_ratio = tokens * bytes_per_token / measured[1].wire_bytes;
    cost.resident_ratio = (tokens + answer_tokens) * bytes_per_token / measured[1].resident_bytes;
    // Of prompts with nothing to reuse no hit can be measured.
    if (!recipe.exact() && shortest >= recipe.least_computed() + kDefaultChunkTokens) {
      DECANT_ASSIGN_OR_RETURN(cost.hit, MeasureHits(model, prompts, catalogue, recipes[0], recipe, answer_tokens));
    }
    costs.push_back(std::move(cost));
    progress(recipe.profile);
  }
  std::vector<std::vector<double>> encode_rates(recipes.size()), step_ratios(recipes.size());
  for (int round = 0; round < kRounds; ++round) {
    double full_step = 0;
    for (size_t i = 0; i < recipes.size(); ++i) {
      const auto& prompt = prompts[static_cast<size_t>(round) % prompts.size()];
      DECANT_ASSIGN_OR_RETURN(const auto alone,
                              MeasureFaithfulness(model, {prompt}, {recipes[i]}, answer_tokens, nullptr));
      if (i == 0) full_step = alone[0].step_seconds;
      step_ratios[i].push_back(alone[0].step_seconds / full_step);
      encode_rates[i].push_back(static_cast<double>(prompt.size()) * bytes_per_token / alone[0].encode_seconds);
    }
  }
  for (size_t i = 0; i < recipes.size(); ++i) {
    costs[i].encode_bytes_per_s = Median(encode_rates[i]);
    costs[i].tpot_ratio = Median(step_ratios[i]);
  }
  return costs;
}

}  // namespace decant
