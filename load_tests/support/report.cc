#include "load_tests/support/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

namespace decant {
namespace {

double Seconds(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

}  // namespace

LoadTestFlags ParseLoadTestFlags(int argc, char** argv) {
  LoadTestFlags flags;
  for (int i = 1; i < argc; ++i) {
    const absl::string_view argument = argv[i];
    if (argument == "--quick") {
      flags.quick = true;
    } else if (argument == "--json" && i + 1 < argc) {
      flags.json_file = argv[++i];
    } else {
      std::fprintf(stderr, "%s: unknown argument \"%s\"; use [--quick] [--json FILE]\n", argv[0], argv[i]);
      std::exit(2);
    }
  }
  return flags;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double WallSeconds() { return Seconds(CLOCK_MONOTONIC); }
double CpuSeconds() { return Seconds(CLOCK_PROCESS_CPUTIME_ID); }

std::vector<std::vector<double>> InterleavedRounds(int rounds,
                                                   const std::vector<std::function<double()>>& contestants) {
  std::vector<std::vector<double>> results(contestants.size());
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < contestants.size(); ++i) results[i].push_back(contestants[i]());
  }
  return results;
}

double MedianRatio(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) ratios.push_back(a[i] / b[i]);
  return Median(std::move(ratios));
}

void Report::Add(absl::string_view name, double value, absl::string_view unit) {
  Add(Figure{std::string(name), value, std::string(unit), false, 0, 0});
}

void Report::Add(absl::string_view name, double value, absl::string_view unit, double baseline) {
  Add(name, value, unit, baseline, value / baseline);
}

void Report::Add(absl::string_view name, double value, absl::string_view unit, double baseline, double ratio) {
  Add(Figure{std::string(name), value, std::string(unit), true, baseline, ratio});
}

void Report::Add(Figure figure) {
  std::printf("%s %.4g %s", figure.name.c_str(), figure.value, figure.unit.c_str());
  if (figure.has_baseline) std::printf(" (%.4g, %.3f)", figure.baseline, figure.ratio);
  std::printf("\n");
  std::fflush(stdout);
  figures_.push_back(std::move(figure));
}

int Report::Finish() const {
  if (flags_.json_file.empty()) return 0;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Figure& figure : figures_) {
    nlohmann::ordered_json item = {{"name", figure.name}, {"value", figure.value}, {"unit", figure.unit}};
    item["baseline"] = figure.has_baseline ? nlohmann::ordered_json(figure.baseline) : nlohmann::ordered_json();
    item["ratio"] = figure.has_baseline ? nlohmann::ordered_json(figure.ratio) : nlohmann::ordered_json();
    list.push_back(std::move(item));
  }
  std::ofstream file(flags_.json_file);
  file << list.dump(2) << "\n";
  file.close();
  if (file.fail()) {
    std::fprintf(stderr, "can't write %s; choose a folder that exists and is writable\n", flags_.json_file.c_str());
    return 1;
  }
  return 0;
}

}  // namespace decant
