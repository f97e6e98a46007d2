// How every load test takes and prints its figures.
#ifndef DECANT_LOAD_TESTS_SUPPORT_REPORT_H_
#define DECANT_LOAD_TESTS_SUPPORT_REPORT_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace decant {

// --quick, --json FILE; prints a line and ends the process for anything else.
struct LoadTestFlags {
  bool quick = false;     // fewer and smaller rounds, for "does it run"
  std::string json_file;  // empty = none
};
LoadTestFlags ParseLoadTestFlags(int argc, char** argv);

double Median(std::vector<double> values);  // REQUIRES: not empty

// Wall time that only grows, and CPU time of this process, in seconds.
double WallSeconds();
double CpuSeconds();

// Runs every contestant once per round, in turn, so that what disturbs the machine disturbs all alike. The result is
// [contestant][round], of whatever each returns.
std::vector<std::vector<double>> InterleavedRounds(int rounds, const std::vector<std::function<double()>>& contestants);

// The median over rounds of a[i] / b[i]: the ratio within each round.
double MedianRatio(const std::vector<double>& a, const std::vector<double>& b);

// Collects figures; each is printed at once as `name value unit (baseline value, ratio)`.
class Report {
 public:
  explicit Report(LoadTestFlags flags) : flags_(std::move(flags)) {}

  void Add(absl::string_view name, double value, absl::string_view unit);
  // `ratio` = value / baseline unless the median ratio of rounds is given.
  void Add(absl::string_view name, double value, absl::string_view unit, double baseline);
  void Add(absl::string_view name, double value, absl::string_view unit, double baseline, double ratio);

  // Writes the JSON file when asked for; returns main's exit status, 1 when it can't be written.
  int Finish() const;

 private:
  struct Figure {
    std::string name;
    double value;
    std::string unit;
    bool has_baseline;
    double baseline;
    double ratio;
  };
  void Add(Figure figure);

  LoadTestFlags flags_;
  std::vector<Figure> figures_;
};

}  // namespace decant

#endif  // DECANT_LOAD_TESTS_SUPPORT_REPORT_H_
