#include "common/policy/measurements.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace decant {
namespace {

absl::StatusOr<std::vector<std::string>> JsonFiles(const std::string& folder, absl::string_view of,
                                                   absl::string_view advice) {
  std::error_code error;
  std::vector<std::string> files;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".json") files.push_back(it->path().string());
  }
  if (error) {
    return absl::NotFoundError(absl::StrCat("the folder of ", of, " ", folder, ": ", error.message(), "; ", advice));
  }
  std::sort(files.begin(), files.end());
  return files;
}

absl::StatusOr<std::string> ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file.is_open() || file.bad()) return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read"));
  return text;
}

absl::Status AddProfiles(const std::string& folder, Catalogue& catalogue) {
  DECANT_ASSIGN_OR_RETURN(const std::vector<std::string> files,
                          JsonFiles(folder, "profiles", "name one with the profiles' *.json files"));
  for (const std::string& path : files) {
    DECANT_ASSIGN_OR_RETURN(const std::string text, ReadWhole(path));
    DECANT_RETURN_IF_ERROR(catalogue.AddFile(path, text));
  }
  const absl::Status shareable = catalogue.CheckShareable();
  return shareable.ok() ? shareable : absl::Status(shareable.code(), absl::StrCat(folder, ": ", shareable.message()));
}

// What the user's folder has held so far, to find a second file of one model.
struct Seen {
  std::set<Digest> calibrations;
  std::set<Digest> tables;
};

absl::Status Take(const std::string& text, Measurements& into, Seen& seen) {
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto format = json.is_object() ? json.value("format", nlohmann::json()) : nlohmann::json();
  const auto second = absl::AlreadyExistsError("another file of the folder has the same fingerprint; keep one");
  if (format == "decant profile table v1") {
    DECANT_ASSIGN_OR_RETURN(ProfileTable table, ParseProfileTable(text));
    if (!seen.tables.insert(table.fingerprint).second) return second;
    into.tables.Replace(std::move(table));
    return absl::OkStatus();
  }
  if (format == "decant calibration v1") {
    DECANT_ASSIGN_OR_RETURN(Calibration calibration, ParseCalibration(text));
    if (!seen.calibrations.insert(calibration.fingerprint).second) return second;
    into.catalogue.ReplaceCalibration(std::move(calibration));
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      "field format names neither a calibration nor a profile table of this build; write it with `decant calibrate`");
}

}  // namespace

absl::StatusOr<Measurements> LoadMeasurements(const std::string& folder, const std::string& profiles) {
  Measurements measurements;
  DECANT_ASSIGN_OR_RETURN(measurements.catalogue, Catalogue::BuiltIn());
  DECANT_ASSIGN_OR_RETURN(measurements.tables, ProfileTables::BuiltIn());
  if (!profiles.empty()) DECANT_RETURN_IF_ERROR(AddProfiles(profiles, measurements.catalogue));
  if (folder.empty()) return measurements;
  DECANT_ASSIGN_OR_RETURN(const std::vector<std::string> files,
                          JsonFiles(folder, "measurements", "make it and write into it with `decant calibrate`"));
  Seen seen;
  for (const std::string& path : files) {
    DECANT_ASSIGN_OR_RETURN(const std::string text, ReadWhole(path));
    const absl::Status taken = Take(text, measurements, seen);
    if (!taken.ok()) return absl::Status(taken.code(), absl::StrCat(path, ": ", taken.message()));
  }
  return measurements;
}

std::string MissingMeasurements(const Measurements& measurements, const Digest& fingerprint,
                                const std::string& model_name, const std::string& model_folder,
                                const std::string& tables) {
  const ProfileTable* const table = measurements.tables.For(fingerprint);
  const bool has_table = table != nullptr && table->fingerprint == fingerprint;
  const bool calibrated = measurements.catalogue.IsCalibrated(fingerprint);
  if (has_table && calibrated) return "";
  const std::string folder = tables.empty() ? "TABLES" : tables;
  const std::string stem = absl::StrCat(folder, "/", model_name);
  std::string line =
      absl::StrCat("model '", model_name, "' (fingerprint ", fingerprint.Hex().substr(0, 16), ") has no ");
  absl::StrAppend(&line, calibrated ? "" : "calibration", calibrated || has_table ? "" : " and no ",
                  has_table ? "" : "profile table", ", so ", calibrated ? "" : "profiles keep their default thresholds",
                  calibrated || has_table ? "" : " and ",
                  has_table ? "" : "only full is used unless a request names a profile");
  absl::StrAppend(&line, "; to measure: decant calibrate --model ", model_folder, " --out ", stem,
                  ".calibration.json --table ", stem, ".table.json, then start with --tables ", folder);
  return line;
}

}  // namespace decant
