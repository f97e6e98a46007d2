// KVzip's score: the attention that repeated keys receive within a subset of the keys.
// Included once per Highway target.
#if defined(DECANT_GPU_KERNELS_ATTENTION_PREFILL_REPLAY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_GPU_KERNELS_ATTENTION_PREFILL_REPLAY_INL_H_
#undef DECANT_GPU_KERNELS_ATTENTION_PREFILL_REPLAY_INL_H_
#else
#define DECANT_GPU_KERNELS_ATTENTION_PREFILL_REPLAY_INL_H_
#endif

#include <hwy/highway.h>

#include "gpu/kernels/attention/prefill_softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {

// body(address, first key, keys) for the keys [begin, end) of a row, cut where panels end.
template <class Body>
HWY_INLINE void ForKeys(const SoftmaxRow& row, int32_t begin, int32_t end, const Body& body) {
  while (begin < end) {
    const int32_t panel = begin / PrefillScratch::kPanelKeys * PrefillScratch::kPanelKeys;
    const int32_t width = HWY_MIN(PrefillScratch::kPanelKeys, row.padded_keys - panel);
    const int32_t stop = HWY_MIN(end, panel + width);
    body(row.scores + static_cast<int64_t>(panel) * row.rows + static_cast<int64_t>(row.row) * width + begin - panel,
         begin, stop - begin);
    begin = stop;
  }
}

// Before Softmax, which overwrites the scores: raises peaks[key] of the repeated keys to their attention within the
// subset. `powers` has room for all keys and a vector.
HWY_INLINE void ReplayRow(const PrefillAttentionArgs& args, const SoftmaxRow& row, float* HWY_RESTRICT powers,
                          float* HWY_RESTRICT peaks) {
  const hn::CappedTag<float, 16> d;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  const auto lowest = hn::Set(d, -3.0e38f);
  const ReplayPeaks& replay = args.replay;
  const auto for_subset = [&](const auto& body) HWY_ATTR {
    ForKeys(row, replay.begin, replay.end, body);
    ForKeys(row, 0, replay.sinks, body);
    ForKeys(row, args.tail_from, row.keys, body);
  };
  auto best = lowest;
  for_subset([&](const float* x, int32_t, int32_t count) HWY_ATTR {
    for (int32_t i = 0; i < count; i += lanes) {
      const auto inside = hn::FirstN(d, static_cast<size_t>(count - i));
      best = hn::Max(best, hn::IfThenElse(inside, hn::LoadU(d, x + i), lowest));
    }
  });
  const auto top = hn::MaxOfLanes(d, best);
  const auto scale = hn::Set(d, row.scale);
  auto total = hn::Zero(d);
  int32_t place = 0;
  for_subset([&](const float* x, int32_t, int32_t count) HWY_ATTR {
    for (int32_t i = 0; i < count; i += lanes) {
      const auto inside = hn::FirstN(d, static_cast<size_t>(count - i));
      const auto power = hn::Exp(d, hn::Mul(hn::Sub(hn::LoadU(d, x + i), top), scale));
      const auto counted = hn::IfThenElseZero(inside, power);
      total = hn::Add(total, counted);
      hn::StoreU(counted, d, powers + place + i);
    }
    place += count;
  });
  const auto inverse = hn::Set(d, 1.0f / hn::GetLane(hn::SumOfLanes(d, total)));
  // The repeated keys came first. What lies behind the last of them is other keys' powers: their peaks are never read.
  for (int32_t i = 0; i < replay.end - replay.begin; i += lanes) {
    float* const peak = peaks + replay.begin + i;
    hn::StoreU(hn::Max(hn::LoadU(d, peak), hn::Mul(hn::LoadU(d, powers + i), inverse)), d, peak);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#endif  // DECANT_GPU_KERNELS_ATTENTION_PREFILL_REPLAY_INL_H_
