#include "common/compress/allocate/heavy_hitters.h"

#include "common/base/check.h"
#include "common/compress/allocate/keep.h"

namespace decant {

void HeavyHitters::Step(absl::Span<const float> columns) {
  DECANT_CHECK_MSG(columns.size() >= positions_.size(), "%zu columns for %zu tokens", columns.size(),
                   positions_.size());
  for (size_t i = 0; i < columns.size(); ++i) {
    if (i < positions_.size()) {
      sums_[i] += columns[i];
    } else {
      positions_.push_back(next_position_++);
      sums_.push_back(columns[i]);
    }
  }
  if (held() <= heavy_ + recent_) return;
  const auto past = static_cast<size_t>(held() - recent_);
  std::vector<uint8_t> kept(past);
  KeepBest(absl::MakeConstSpan(sums_).subspan(0, past), heavy_, absl::MakeSpan(kept));
  size_t next = 0;
  for (size_t i = 0; i < positions_.size(); ++i) {
    if (i < past && kept[i] == 0) continue;
    positions_[next] = positions_[i];
    sums_[next] = sums_[i];
    ++next;
  }
  positions_.resize(next);
  sums_.resize(next);
}

}  // namespace decant
