// The lab's results in the form that Plan reads: common/policy/profile_table.h.
#ifndef DECANT_SERVICES_LAB_QUALITY_TABLE_H_
#define DECANT_SERVICES_LAB_QUALITY_TABLE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/policy/profile_table.h"
#include "gpu/engine/loaded_model.h"
#include "services/lab/lab_engine.h"
#include "services/lab/lab_table.h"

namespace decant {

// How the numbers came about.
struct QualitySource {
  std::string model;   // its name, for people
  Digest fingerprint;  // of the model: the table serves no other
  std::string command;
  std::string machine;
  std::string commit;
  std::string date;
};

// Quality of every profile at its own setting, full precision first: the credit it got over all tasks and modes, as a
// share of that of `full`, at most 1. Ratios are of the same prompts. Speeds are left at 0: see MeasureSpeed.
std::vector<ProfileCost> QualityOf(const std::vector<LabPoint>& points, const std::vector<LabRow>& summary,
                                   const std::vector<PointResult>& totals, int64_t full_bytes_per_token);

// Fills in encode_bytes_per_s and tpot_ratio: the median of some rounds on `prompt`, every profile alone in a batch of
// copies of it.
absl::Status MeasureSpeed(const LoadedModel& model, const std::vector<LabPoint>& points,
                          const std::vector<int32_t>& prompt, std::vector<ProfileCost>& costs);

std::string QualityJson(const QualitySource& source, const std::vector<ProfileCost>& costs);

// The processor's name and the cores.
std::string MachineName();

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_QUALITY_TABLE_H_
