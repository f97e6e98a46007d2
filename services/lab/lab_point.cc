#include "services/lab/lab_point.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"

namespace decant {

std::string PointKey(const LabPoint& point) {
  return absl::StrCat(point.profile, point.budget > 0 ? absl::StrCat(" ", point.budget) : "", " ",
                      point.recipe.digest.Hex().substr(0, 12));
}

std::vector<FormatId> FormatsOf(const std::vector<LabPoint>& points) {
  std::vector<FormatId> formats;
  for (const LabPoint& point : points) {
    const Recipe& recipe = point.recipe;
    for (const FormatId format : {recipe.high, recipe.low, recipe.window_keys, recipe.window_values}) {
      if (format == FormatId::kNone || std::find(formats.begin(), formats.end(), format) != formats.end()) continue;
      formats.push_back(format);
    }
  }
  return formats;
}

absl::StatusOr<std::vector<double>> ParseBudgets(absl::string_view list) {
  std::vector<double> budgets;
  if (list.empty()) return budgets;
  for (const absl::string_view word : absl::StrSplit(list, ',')) {
    double budget = 0;
    if (!absl::SimpleAtod(word, &budget) || !std::isfinite(budget)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "budget '", word, "' is no number; give shares of full precision between 0 and 1, such as 0.1,0.25"));
    }
    if (budget <= 0) {
      return absl::InvalidArgumentError(absl::StrCat("budget ", word, " would keep nothing; give more than 0"));
    }
    if (budget >= 1) {
      return absl::InvalidArgumentError(absl::StrCat("budget ", word, " would keep ", budget == 1 ? "" : "more than ",
                                                     "everything: that is profile full; give less than 1"));
    }
    if (std::find(budgets.begin(), budgets.end(), budget) != budgets.end()) {
      return absl::InvalidArgumentError(absl::StrCat("budget ", word, " stands there twice"));
    }
    budgets.push_back(budget);
  }
  std::sort(budgets.begin(), budgets.end());
  return budgets;
}

absl::StatusOr<std::vector<std::string>> ParseProfiles(absl::string_view list, const Catalogue& catalogue) {
  std::vector<std::string> names = {"full"};
  std::vector<std::string> asked = catalogue.Names();
  if (!list.empty()) asked = absl::StrSplit(list, ',');
  bool full_asked = false;
  for (const std::string& word : asked) {
    const std::string name(absl::StripAsciiWhitespace(word));
    DECANT_RETURN_IF_ERROR(catalogue.Find(name).status());
    const bool again = name == "full" ? full_asked : std::find(names.begin(), names.end(), name) != names.end();
    if (again) return absl::InvalidArgumentError(absl::StrCat("profile ", name, " stands there twice"));
    full_asked = full_asked || name == "full";
    if (name != "full") names.push_back(name);
  }
  return names;
}

absl::StatusOr<Catalogue> CatalogueWithFiles(std::string& list) {
  DECANT_ASSIGN_OR_RETURN(Catalogue catalogue, Catalogue::BuiltIn());
  std::vector<std::string> words = absl::StrSplit(list, ',');
  for (std::string& word : words) {
    if (!absl::EndsWith(word, ".json")) continue;
    std::ifstream file(word, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    if (text.empty())
      return absl::NotFoundError(absl::StrCat("the profile file ", word, " cannot be read, or is empty"));
    DECANT_RETURN_IF_ERROR(catalogue.AddFile(absl::StrCat("profile file ", word), text));
    DECANT_ASSIGN_OR_RETURN(const Profile profile, ParseProfile(text));
    word = profile.name;
  }
  DECANT_RETURN_IF_ERROR(catalogue.CheckShareable());
  list = absl::StrJoin(words, ",");
  return catalogue;
}

bool HasThresholds(const Profile& profile) {
  return profile.allocate == "threshold_by_position" || profile.allocate == "threshold_by_length";
}

}  // namespace decant
