#include "services/lab/progress.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace decant {
namespace {

constexpr double kFedTokens = 20;  // of a question and its answer
constexpr double kFedShare = 0.1;  // what a token fed to decode costs beside a token of prefill and its encoding

}  // namespace

Progress::Progress(const std::vector<LabTask>& tasks, const std::vector<LabUnit>& units,
                   const std::vector<bool>& skipped)
    : tasks_(tasks), units_(units) {
  for (size_t i = 0; i < units.size(); ++i) {
    const LabUnit& unit = units[i];
    Kind& kind = kinds_[KindOf(unit)];
    const bool is_long = tasks[unit.task].span_tokens > 0;
    const double prompts = unit.mode == LabMode::kQueryAware ? static_cast<double>(unit.questions) : 1;
    const double fed = is_long ? kLongTokens : kFedTokens * static_cast<double>(unit.questions);
    kind.weight = std::max(1, unit.length) * (prompts + kFedShare * fed);
    if (skipped[i]) {
      ++finished_;
    } else {
      ++kind.left;
    }
  }
}

std::string Progress::KindOf(const LabUnit& unit) const {
  return absl::StrCat(tasks_[unit.task].name, unit.length > 0 ? absl::StrCat(" at ", unit.length, " tokens") : "", ", ",
                      ModeName(unit.mode));
}

void Progress::Done(size_t unit, double seconds) {
  Kind& kind = kinds_[KindOf(units_[unit])];
  --kind.left;
  ++kind.done;
  kind.seconds += seconds;
  ++finished_;
}

double Progress::SecondsLeft() const {
  double seconds = 0, weight = 0, left = 0;
  for (const auto& [name, kind] : kinds_) {
    seconds += kind.seconds;
    weight += kind.done * kind.weight;
  }
  for (const auto& [name, kind] : kinds_) {
    if (kind.done > 0) {
      left += kind.left * kind.seconds / kind.done;
    } else if (weight > 0) {
      left += kind.left * kind.weight * seconds / weight;
    }
  }
  return left;
}

std::string Progress::Line(size_t unit) const {
  const absl::Duration left = absl::Trunc(absl::Seconds(SecondsLeft()), absl::Seconds(1));
  return absl::StrCat(finished_, " of ", units_.size(), " units, ", KindOf(units_[unit]), "; about ",
                      absl::FormatDuration(left), " left");
}

}  // namespace decant
