// The lab: profiles over a grid of budgets, judged on quality against true bytes, with no network.
#ifndef DECANT_SERVICES_LAB_APP_H_
#define DECANT_SERVICES_LAB_APP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace decant {

// What the command line says, word for word; empty or 0 leaves the choice to the lab.
struct LabOptions {
  std::string model;     // Hugging Face folder
  std::string profiles;  // "full,k8v4,mine.json"; empty = all of the catalogue
  std::string budgets;   // "0.1,0.2"
  std::string tasks;     // names with commas, a file *.jsonl, or text:FILE
  std::string mode = "both";
  std::string lengths;  // "512,1024"
  int32_t seeds = 0;
  std::vector<int32_t> samples;  // one for all lengths, or one for each; empty: the defaults
  bool quick = false;
  std::string out;  // folder; made where missing
  std::string dtype = "auto";
  int threads = 0;
  std::string commit = "unknown";  // what quality.json says it was measured with
};

// Measures, and writes into `out`: journal.jsonl while it runs, at the end table.csv, table.md, quality.json and the
// plots. Progress goes to stderr, the summary to stdout. The same command again takes from the journal what is there.
// INVALID_ARGUMENT and NOT_FOUND name the option and what is allowed; FAILED_PRECONDITION for a journal of another
// command, and, after everything is written, for an online profile that did nothing in the long output.
absl::Status RunLab(const LabOptions& options);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_APP_H_
