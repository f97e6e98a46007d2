// What the lab measures: every profile at its own setting and, where it has a budget, at each budget of the grid.
#ifndef DECANT_SERVICES_LAB_LAB_POINT_H_
#define DECANT_SERVICES_LAB_LAB_POINT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/compress/profile.h"

namespace decant {

struct LabPoint {
  std::string profile;
  double budget = 0;  // the share of full precision that may be kept; 0 = the profile's own setting
  Recipe recipe;
};

// "snapkv 0.2 0123456789ab": what the journal knows it by.
std::string PointKey(const LabPoint& point);

// Every format that a page may hold for one of the points: the page size is chosen for them.
std::vector<FormatId> FormatsOf(const std::vector<LabPoint>& points);

// "0.1,0.25": every one in (0, 1), ascending, none twice. INVALID_ARGUMENT with the word that is wrong.
absl::StatusOr<std::vector<double>> ParseBudgets(absl::string_view list);

// "full,k8v4" -> the names, `full` put first where it is missing: the others are compared with it. Empty = all of the
// catalogue. NOT_FOUND lists the names there are, INVALID_ARGUMENT for a name that stands there twice.
absl::StatusOr<std::vector<std::string>> ParseProfiles(absl::string_view list, const Catalogue& catalogue);

// The built-in catalogue, and of a list of profiles the files *.json, each under the name that it gives itself, which
// takes the file's place in `list`. INVALID_ARGUMENT with the file.
absl::StatusOr<Catalogue> CatalogueWithFiles(std::string& list);

// Whether a budget sets its thresholds: see threshold_budget.h. Other profiles' budgets: byte_budget.h.
bool HasThresholds(const Profile& profile);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_LAB_POINT_H_
