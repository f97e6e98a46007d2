// What a lab run has measured so far, unit by unit, on disk: an interrupted run goes on where it stopped.
#ifndef DECANT_SERVICES_LAB_JOURNAL_H_
#define DECANT_SERVICES_LAB_JOURNAL_H_

#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/lab/lab_engine.h"

namespace decant {

// What a run measures, by name; values are compared as texts.
using LabParameters = std::map<std::string, std::string>;

// JSON lines: the parameters, then one line per unit and group of points that were measured together. A last line
// without its end is that of a unit that was cut short and is measured again. Points are no parameter: a run with other
// points measures what is missing.
class Journal {
 public:
  // Opens or makes `path`. FAILED_PRECONDITION, naming what differs, for a journal of other parameters; DATA_LOSS with
  // the line for one that cannot be read.
  static absl::StatusOr<Journal> Open(const std::string& path, const LabParameters& parameters);

  // Null when the point has not been measured on the unit. Valid as long as the journal.
  const PointResult* Find(absl::string_view unit, absl::string_view point) const;
  // UNAVAILABLE when it cannot be written.
  absl::Status Append(const std::string& unit, const std::vector<std::string>& points,
                      std::vector<PointResult> results);

 private:
  std::string path_;
  using Points = std::map<std::string, PointResult, std::less<>>;
  std::map<std::string, Points, std::less<>> units_;
  std::ofstream file_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_JOURNAL_H_
