// The grid of a lab run as a list of units: the parts that are measured, written down and resumed one by one.
#ifndef DECANT_SERVICES_LAB_LAB_PLAN_H_
#define DECANT_SERVICES_LAB_LAB_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/model/tokenizer.h"
#include "services/lab/lab_engine.h"
#include "services/lab/task.h"

namespace decant {

enum class LabMode : uint8_t {
  kQueryAgnostic,  // the context alone is compressed; every question is then fed to a copy of it
  kQueryAware,     // context and question but its last token are compressed together
};
std::string ModeName(LabMode mode);

// One context of one task at one length in one mode, with its questions, under all points.
struct LabUnit {
  size_t task = 0;  // index into the tasks of the run
  int32_t length = 0;
  LabMode mode = LabMode::kQueryAgnostic;
  uint64_t seed = 0;    // of the run
  int32_t context = 0;  // counted from 0
  size_t questions = 0;

  // "recall/512/query-agnostic/0/3": what the journal knows it by.
  std::string Key(const std::vector<LabTask>& tasks) const;
};

struct LabGrid {
  std::vector<int32_t> lengths;
  std::vector<LabMode> modes;
  int32_t seeds = 1;
  int32_t samples = 1;              // questions of a task, length, mode and seed; windows of a text
  std::vector<int32_t> samples_at;  // in place of it by length, in their order; empty: the same for all
  int32_t file_samples = 0;         // questions of a file in a mode; 0: all of them
  int32_t long_contexts = 1;        // of the long output, per length and seed
};

// Contexts are drawn until a cell has its samples; the last one's questions are cut. A file's texts are taken in order,
// once, whatever lengths and seed.
std::vector<LabUnit> PlanUnits(const std::vector<LabTask>& tasks, const LabGrid& grid);

// The text of a unit; a pure function of the task's name, length, seed and context.
LabText UnitText(const LabTask& task, const LabUnit& unit);

// Tokens of the unit as the engine takes them. Context, question and answer are tokenised apart, so that a context has
// the same tokens whatever is asked. INVALID_ARGUMENT, naming the unit, for texts that cannot be tokenised, questions
// without a token, or more tokens than `max_positions`.
absl::StatusOr<std::vector<LabJob>> UnitJobs(const Tokenizer& tokenizer, int32_t max_positions, const LabTask& task,
                                             const LabUnit& unit);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_LAB_PLAN_H_
