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

// body(address, first key, keys) over the subset of the keys that a replay's softmax takes.
template <class Body>
HWY_INLINE void ForSubset(const PrefillAttentionArgs& args, const SoftmaxRow& row, const Body& body) {
  ForKeys(row, 0, args.replay.sinks, body);
  ForKeys(row, args.replay.begin, args.replay.end, body);
  ForKeys(row, args.tail_from, row.keys, body);
}

HWY_INLINE hn::Vec<RowTag> LargestOfSubset(const PrefillAttentionArgs& args, const SoftmaxRow& row) {
  const RowTag d;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  const auto lowest = hn::Set(d, -3.0e38f);
  auto best = lowest;
  ForSubset(args, row, [&](const float* x, int32_t, int32_t count) HWY_ATTR {
    for (int32_t i = 0; i < count; i += lanes) {
      const auto inside = hn::FirstN(d, static_cast<size_t>(count - i));
      best = hn::Max(best, hn::IfThenElse(inside, hn::LoadU(d, x + i), lowest));
    }
  });
  return hn::MaxOfLanes(d, best);
}

// power(address) gives the vector of exp(score - a constant of the row) there. Raises peaks[key] of the repeated keys
// to their share of the subset.
template <class Power>
HWY_INLINE void RaiseToShares(const PrefillAttentionArgs& args, const SoftmaxRow& row, float* HWY_RESTRICT peaks,
                              const Power& power) {
  const RowTag d;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  auto total = hn::Zero(d);
  ForSubset(args, row, [&](const float* x, int32_t, int32_t count) HWY_ATTR {
    for (int32_t i = 0; i < count; i += lanes) {
      const auto inside = hn::FirstN(d, static_cast<size_t>(count - i));
      total = hn::Add(total, hn::IfThenElseZero(inside, power(x + i)));
    }
  });
  const auto inverse = hn::Set(d, 1.0f / hn::GetLane(hn::SumOfLanes(d, total)));
  ForKeys(row, args.replay.begin, args.replay.end, [&](const float* x, int32_t first, int32_t count) HWY_ATTR {
    for (int32_t i = 0; i < count; i += lanes) {
      const auto inside = hn::FirstN(d, static_cast<size_t>(count - i));
      const auto share = hn::IfThenElseZero(inside, hn::Mul(power(x + i), inverse));
      float* const peak = peaks + first + i;
      hn::StoreU(hn::Max(hn::LoadU(d, peak), share), d, peak);
    }
  });
}

template <typename T>
void SoftmaxWithReplay(const PrefillAttentionArgs& args, const SoftmaxRow& row, float* peaks) {
  const RowTag d;
  const auto scale = hn::Set(d, row.scale);
  const auto top = LargestScore(row);
  const auto top_of_subset = LargestOfSubset(args, row);
  // Powers relative to the row's largest score serve while the subset's largest one is far from where f32 ends.
  const bool own_powers = hn::GetLane(hn::Mul(hn::Sub(top, top_of_subset), scale)) > 30.0f;
  if (own_powers) {
    RaiseToShares(args, row, peaks, [&](const float* x) HWY_ATTR {
      return hn::Exp(d, hn::Mul(hn::Sub(hn::LoadU(d, x), top_of_subset), scale));
    });
  }
  const float total = RaisePowers(row, top);
  if (!own_powers) RaiseToShares(args, row, peaks, [&](const float* x) HWY_ATTR { return hn::LoadU(d, x); });
  Normalise<T>(row, total);
}
}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#endif  // DECANT_GPU_KERNELS_ATTENTION_PREFILL_REPLAY_INL_H_
