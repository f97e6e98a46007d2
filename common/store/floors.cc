#include "common/store/floors.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace decant {
namespace {

constexpr double kMostPrior = 65536;  // requests; then the counts are halved

}  // namespace

std::vector<Rung> RungsOf(std::vector<Rung> forms) {
  std::stable_sort(forms.begin(), forms.end(), [](const Rung& a, const Rung& b) {
    return a.quality != b.quality ? a.quality > b.quality : a.bytes_share < b.bytes_share;
  });
  std::vector<Rung> rungs;
  for (Rung& form : forms) {
    if (!(form.quality > 0) || !(form.bytes_share > 0) || rungs.size() == kMostRungs) continue;
    const bool better =
        rungs.empty() || (form.quality < rungs.back().quality && form.bytes_share < rungs.back().bytes_share);
    if (better) rungs.push_back(std::move(form));
  }
  return rungs;
}

size_t LastAccepted(absl::Span<const Rung> rungs, double floor) {
  size_t last = 0;
  for (size_t rung = 1; rung < rungs.size(); ++rung) {
    if (floor < 1 && rungs[rung].quality >= floor) last = rung;
  }
  return last;
}

void FloorCounts::Add(size_t last_accepted) {
  if (counts_[last_accepted] == std::numeric_limits<uint8_t>::max()) {
    for (uint8_t& count : counts_) count = static_cast<uint8_t>(count / 2);
  }
  ++counts_[last_accepted];
}

uint32_t FloorCounts::sum() const { return std::accumulate(counts_.begin(), counts_.end(), uint32_t{0}); }

uint8_t FloorCounts::Seen() const {
  uint8_t seen = 0;
  for (size_t rung = 0; rung < kMostRungs; ++rung) {
    if (counts_[rung] > 0) seen = static_cast<uint8_t>(seen | (1u << rung));
  }
  return seen;
}

FloorPrior::FloorPrior(size_t rungs) : counts_(rungs, 1.0) {}

void FloorPrior::Add(size_t last_accepted) {
  counts_[last_accepted] += 1;
  if (counts_[last_accepted] < kMostPrior) return;
  for (double& count : counts_) count /= 2;
}

double FloorPrior::Accepts(const FloorCounts& evidence, size_t rung, double weight) const {
  const double all = std::accumulate(counts_.begin(), counts_.end(), 0.0);
  double accepts = 0;
  for (size_t last = rung; last < counts_.size(); ++last) {
    accepts += evidence.count(last) + weight * counts_[last] / all;
  }
  return accepts / (evidence.sum() + weight);
}

}  // namespace decant
