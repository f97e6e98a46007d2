#include "services/cli/alpha_search.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "services/cli/faithfulness.h"

namespace decant {

size_t ChooseAlphas(const std::vector<AlphaScore>& scores, double loss) {
  const double allowed = scores[1].divergence + loss;
  size_t best = 2;
  for (size_t i = 3; i < scores.size(); ++i) {
    const bool best_fits = scores[best].divergence <= allowed;
    const bool fits = scores[i].divergence <= allowed;
    const bool better = fits && best_fits ? scores[i].resident_bytes < scores[best].resident_bytes
                                          : fits || (!best_fits && scores[i].divergence < scores[best].divergence);
    if (better) best = i;
  }
  return best;
}

absl::StatusOr<AlphaChoice> SearchAlphas(const LoadedModel& model, const std::vector<std::vector<int32_t>>& prompts,
                                         const AlphaSearchOptions& options) {
  if (options.profile.allocate == "all_high" || options.highs.empty() || options.lows.empty() || prompts.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("nothing to search: profile ", options.profile.name, " allocates ",
                                                   options.profile.allocate, ", ", prompts.size(), " prompts"));
  }
  DECANT_ASSIGN_OR_RETURN(const Catalogue catalogue, Catalogue::BuiltIn());
  int32_t done = 0;
  const auto prompt_done = [&] {
    if (options.progress) options.progress(++done, 2 * static_cast<int32_t>(prompts.size()));
  };
  const auto measure =
      [&](const std::vector<std::pair<double, double>>& alphas) -> absl::StatusOr<std::vector<AlphaScore>> {
    std::vector<AlphaScore> scores;
    std::vector<Recipe> recipes;
    const auto add = [&](const std::string& name, const Profile& profile) -> absl::Status {
      DECANT_ASSIGN_OR_RETURN(Recipe recipe,
                              Compile(profile, model.weights->config().geometry(), model.weights->run_type()));
      recipes.push_back(std::move(recipe));
      scores.push_back(AlphaScore{name, profile.alpha_high, profile.alpha_low});
      return absl::OkStatus();
    };
    for (const char* name : {"full", "k8v4"}) {
      DECANT_ASSIGN_OR_RETURN(const Profile profile, catalogue.Find(name));
      DECANT_RETURN_IF_ERROR(add(name, profile));
    }
    for (const auto& [high, low] : alphas) {
      Profile profile = options.profile;
      profile.alpha_high = high;
      profile.alpha_low = low;
      DECANT_RETURN_IF_ERROR(add(absl::StrCat(high, " / ", low), profile));
    }
    DECANT_ASSIGN_OR_RETURN(const auto measured,
                            MeasureFaithfulness(model, prompts, recipes, options.answer_tokens, prompt_done));
    for (size_t i = 0; i < scores.size(); ++i) {
      scores[i].divergence = measured[i].divergence;
      scores[i].agreement = measured[i].agreement;
      scores[i].resident_bytes = measured[i].resident_bytes;
    }
    return scores;
  };
  AlphaChoice choice;
  std::vector<std::pair<double, double>> alphas;
  for (const double high : options.highs) alphas.emplace_back(high, 0.0);
  DECANT_ASSIGN_OR_RETURN(choice.first, measure(alphas));
  choice.alpha_high = choice.first[ChooseAlphas(choice.first, options.loss)].alpha_high;
  alphas.clear();
  for (const double low : options.lows) {
    if (low <= choice.alpha_high) alphas.emplace_back(choice.alpha_high, low);
  }
  DECANT_ASSIGN_OR_RETURN(choice.second, measure(alphas));
  choice.alpha_low = choice.second[ChooseAlphas(choice.second, options.loss)].alpha_low;
  return choice;
}

}  // namespace decant
