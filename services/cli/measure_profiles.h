#ifndef DECANT_SERVICES_CLI_MEASURE_PROFILES_H_
#define DECANT_SERVICES_CLI_MEASURE_PROFILES_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/compress/profile.h"
#include "common/policy/profile_table.h"
#include "gpu/engine/loaded_model.h"

namespace decant {

// Quality and cost of every built-in profile on this model, with the alphas of `calibration` where it has them; the
// fields are those of ProfileTable. Quality is the mean share of the greedy answer before it leaves the one of `full`;
// times are medians of five interleaved rounds. Hits reuse
// all but what has to be computed, over exact chunks and over those of the shareable form; prompts that are too short
// for that leave them out.
absl::StatusOr<std::vector<ProfileCost>> MeasureProfiles(const LoadedModel& model,
                                                         const std::vector<std::vector<int32_t>>& prompts,
                                                         const Calibration& calibration, int32_t answer_tokens,
                                                         const std::function<void(absl::string_view)>& progress);

}  // namespace decant

#endif  // DECANT_SERVICES_CLI_MEASURE_PROFILES_H_
