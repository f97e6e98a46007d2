// The steps of the softmax of one query's scores, and the sums of what its keys receive.
// Included once per Highway target.
#if defined(DECANT_GPU_KERNELS_ATTENTION_PREFILL_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_GPU_KERNELS_ATTENTION_PREFILL_SOFTMAX_INL_H_
#undef DECANT_GPU_KERNELS_ATTENTION_PREFILL_SOFTMAX_INL_H_
#else
#define DECANT_GPU_KERNELS_ATTENTION_PREFILL_SOFTMAX_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "gpu/kernels/attention/prefill_attention.h"
#include "gpu/kernels/attention/prefill_scratch.h"
#include "gpu/kernels/nn/run_type-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {

using RowTag = hn::CappedTag<float, 16>;

// Probabilities of the first `keys` keys are added to `sums` [padded keys].
struct RowSums {
  float* sums = nullptr;
  int32_t keys = 0;
};

// One row of scores, scattered over panels of `panel_keys` (the last one narrower), of which `keys` are seen.
struct SoftmaxRow {
  float* scores = nullptr;  // the tile's first panel
  int32_t row = 0;
  int32_t rows = 0;         // of the tile
  int32_t padded_keys = 0;  // multiple of 64
  int32_t keys = 0;
  float scale = 0;
  RowSums sums[kMaxAttentionSums];
  int32_t sum_count = 0;
};

// body(vector tag, address, first key) over all vectors of the row; addresses count in floats from the panel's start.
template <class Body>
HWY_INLINE void ForPanels(const SoftmaxRow& row, const Body& body) {
  for (int32_t first = 0; first < row.padded_keys; first += PrefillScratch::kPanelKeys) {
    const int32_t width = HWY_MIN(PrefillScratch::kPanelKeys, row.padded_keys - first);
    float* panel = row.scores + static_cast<int64_t>(first) * row.rows;
    body(panel, first, width);
  }
}

HWY_INLINE hn::Vec<RowTag> LargestScore(const SoftmaxRow& row) {
  const RowTag d;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  const auto lowest = hn::Set(d, -3.0e38f);
  auto best = lowest;
  ForPanels(row, [&](float* panel, int32_t first, int32_t width) HWY_ATTR {
    float* x = panel + static_cast<int64_t>(row.row) * width;
    for (int32_t i = 0; i < width && first + i < row.keys; i += lanes) {
      const auto score = hn::LoadU(d, x + i);
      const auto seen = hn::FirstN(d, static_cast<size_t>(row.keys - first - i));
      best = hn::Max(best, hn::IfThenElse(seen, score, lowest));
    }
  });
  return hn::MaxOfLanes(d, best);
}

// Scores become exp(score - top), in place; what is not seen becomes 0. Returns the sum.
HWY_INLINE float RaisePowers(const SoftmaxRow& row, hn::Vec<RowTag> top) {
  const RowTag d;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  const auto scale = hn::Set(d, row.scale);
  auto total = hn::Zero(d);
  ForPanels(row, [&](float* panel, int32_t first, int32_t width) HWY_ATTR {
    float* x = panel + static_cast<int64_t>(row.row) * width;
    for (int32_t i = 0; i < width; i += lanes) {
      auto power = hn::Zero(d);
      if (first + i < row.keys) {
        const auto seen = hn::FirstN(d, static_cast<size_t>(row.keys - first - i));
        power = hn::IfThenElseZero(seen, hn::Exp(d, hn::Mul(hn::Sub(hn::LoadU(d, x + i), top), scale)));
        total = hn::Add(total, power);
      }
      hn::StoreU(power, d, x + i);
    }
  });
  return hn::GetLane(hn::SumOfLanes(d, total));
}

// Powers become probabilities of the run type T, in place: T is no wider than the float it comes from, and rows are
// done in ascending order, so nothing is overwritten before it has been read.
template <typename T>
void Normalise(const SoftmaxRow& row, float total) {
  const RowTag d;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  const auto inverse = hn::Set(d, 1.0f / total);
  ForPanels(row, [&](float* panel, int32_t first, int32_t width) HWY_ATTR {
    const float* x = panel + static_cast<int64_t>(row.row) * width;
    T* out = reinterpret_cast<T*>(panel) + static_cast<int64_t>(row.row) * width;
    for (int32_t i = 0; i < width; i += lanes) {
      const auto probability = hn::Mul(hn::LoadU(d, x + i), inverse);
      StoreRun(d, probability, out + i);
      for (int32_t s = 0; s < row.sum_count; ++s) {
        if (first + i >= row.sums[s].keys) continue;
        const auto counted = hn::FirstN(d, static_cast<size_t>(row.sums[s].keys - first - i));
        float* sums = row.sums[s].sums + first + i;
        hn::StoreU(hn::Add(hn::LoadU(d, sums), hn::IfThenElseZero(counted, probability)), d, sums);
      }
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#endif  // DECANT_GPU_KERNELS_ATTENTION_PREFILL_SOFTMAX_INL_H_
