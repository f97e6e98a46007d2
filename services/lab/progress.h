#ifndef DECANT_SERVICES_LAB_PROGRESS_H_
#define DECANT_SERVICES_LAB_PROGRESS_H_

#include <map>
#include <string>
#include <vector>

#include "services/lab/lab_plan.h"

namespace decant {

// Estimates the time left from the units that are done: by kind (task, length, mode) where one of its kind was, else by
// the tokens a unit makes the engine compute.
class Progress {
 public:
  // `skipped[i]`: unit i is in the journal.
  Progress(const std::vector<LabTask>& tasks, const std::vector<LabUnit>& units, const std::vector<bool>& skipped);

  void Done(size_t unit, double seconds);
  double SecondsLeft() const;
  // "12 of 80 units, recall at 512 tokens, query-aware; about 2m10s left".
  std::string Line(size_t unit) const;

 private:
  struct Kind {
    int left = 0;
    int done = 0;
    double seconds = 0;
    double weight = 0;  // of one unit
  };
  std::string KindOf(const LabUnit& unit) const;

  const std::vector<LabTask>& tasks_;
  const std::vector<LabUnit>& units_;
  std::map<std::string, Kind> kinds_;
  size_t finished_ = 0;
};

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_PROGRESS_H_
