// The lengths, modes and numbers of questions of a run.
#ifndef DECANT_SERVICES_LAB_CHOOSE_GRID_H_
#define DECANT_SERVICES_LAB_CHOOSE_GRID_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/lab/app.h"
#include "services/lab/lab_plan.h"

namespace decant {

// INVALID_ARGUMENT: the same contexts twice would be pooled as if they were others, and intervals would be too narrow.
absl::Status StandsTwice(absl::string_view what);

absl::StatusOr<std::vector<LabMode>> ParseMode(absl::string_view mode);
// "512,1024", none twice; empty for "".
absl::StatusOr<std::vector<int32_t>> ParseLengths(absl::string_view list);
// Of the options, or the lab's own where they say nothing.
std::string BudgetList(const LabOptions& options);

// INVALID_ARGUMENT for lengths that a model of `max_positions` has no room for. `chat`: IsChatModel.
absl::StatusOr<LabGrid> ChooseGrid(const LabOptions& options, int32_t max_positions, bool chat);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_CHOOSE_GRID_H_
