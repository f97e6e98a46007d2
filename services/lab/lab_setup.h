// What a lab command means: its tasks, its grid and its points.
#ifndef DECANT_SERVICES_LAB_LAB_SETUP_H_
#define DECANT_SERVICES_LAB_LAB_SETUP_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "gpu/engine/loaded_model.h"
#include "services/lab/app.h"
#include "services/lab/journal.h"
#include "services/lab/lab_plan.h"
#include "services/lab/lab_point.h"
#include "services/lab/task.h"

namespace decant {

struct LabSetup {
  std::vector<LabTask> tasks;
  LabGrid grid;
  std::vector<LabPoint> points;
  std::vector<std::string> notes;  // what was left out, and why
};

// Options that can be checked without a model, and are before one is loaded.
absl::Status CheckOptions(const LabOptions& options);

// REQUIRES: CheckOptions. Sets thresholds for budgets, which computes some prompts.
absl::StatusOr<LabSetup> SetUp(const LabOptions& options, const LoadedModel& model);

// What a unit's name in the journal leaves open: the model and the texts of files.
LabParameters ParametersOf(const LabSetup& setup, const LoadedModel& model);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_LAB_SETUP_H_
