// All that was measured of models: what is compiled in, and what the user measured.
#ifndef DECANT_COMMON_POLICY_MEASUREMENTS_H_
#define DECANT_COMMON_POLICY_MEASUREMENTS_H_

#include <string>

#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/compress/profile.h"
#include "common/policy/profile_table.h"

namespace decant {

struct Measurements {
  Catalogue catalogue;  // with calibrations
  ProfileTables tables;
};

// What is compiled in and then the *.json files of `folder`, as `decant calibrate` writes them with --out and --table;
// a model that has both keeps the user's. An empty `folder` is none. NOT_FOUND for one that is not there,
// INVALID_ARGUMENT with the file for one that cannot be read, ALREADY_EXISTS with it for a second of a model.
//
// `profiles` is a folder of the user's own profiles, *.json like those of common/compress/catalogue; empty for none. A
// broken or forbidden one is INVALID_ARGUMENT with file, line and what is allowed; a name that there is already is
// ALREADY_EXISTS.
absl::StatusOr<Measurements> LoadMeasurements(const std::string& folder, const std::string& profiles = "");

// One line that says what was not measured of a model and the command that measures it; empty when nothing is missing.
// `model_folder` and `tables` are those of the process that says it.
std::string MissingMeasurements(const Measurements& measurements, const Digest& fingerprint,
                                const std::string& model_name, const std::string& model_folder,
                                const std::string& tables);

}  // namespace decant

#endif  // DECANT_COMMON_POLICY_MEASUREMENTS_H_
