// Loads and stores of f32 vectors from rows of either run type, and the loop over a row with its tail; included once
// per Highway target.
#if defined(DECANT_GPU_KERNELS_NN_RUN_TYPE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_GPU_KERNELS_NN_RUN_TYPE_INL_H_
#undef DECANT_GPU_KERNELS_NN_RUN_TYPE_INL_H_
#else
#define DECANT_GPU_KERNELS_NN_RUN_TYPE_INL_H_
#endif

#include <hwy/highway.h>

#include "common/base/half.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> LoadRun(D d, const float* from) {
  return hn::LoadU(d, from);
}
template <class D>
HWY_INLINE hn::Vec<D> LoadRun(D d, const Bf16* from) {
  const hn::RebindToUnsigned<D> d32;
  const hn::Rebind<uint16_t, D> d16;
  const auto bits = hn::PromoteTo(d32, hn::LoadU(d16, reinterpret_cast<const uint16_t*>(from)));
  return hn::BitCast(d, hn::ShiftLeft<16>(bits));
}

template <class D>
HWY_INLINE void StoreRun(D d, hn::Vec<D> x, float* to) {
  hn::StoreU(x, d, to);
}
// Rounds to nearest even, as ToBf16.
template <class D>
HWY_INLINE void StoreRun(D d, hn::Vec<D> x, Bf16* to) {
  const hn::RebindToUnsigned<D> d32;
  const hn::RebindToSigned<D> i32;
  const hn::Rebind<uint16_t, D> d16;
  const auto bits = hn::BitCast(d32, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d32, 1u));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(d32, 0x7fffu)));
  const auto quiet = hn::Or(bits, hn::Set(d32, 0x400000u));
  const auto chosen = hn::ShiftRight<16>(
      hn::BitCast(d32, hn::IfThenElse(hn::IsNaN(x), hn::BitCast(d, quiet), hn::BitCast(d, rounded))));
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(i32, chosen)), d16, reinterpret_cast<uint16_t*>(to));
}

// body(tag, index) over [0, count): whole vectors, then the tail one element at a time.
template <class Body>
HWY_INLINE void ForLanes(int64_t count, const Body& body) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) body(d, i);
  const hn::CappedTag<float, 1> one;
  for (; i < count; ++i) body(one, i);
}

}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#endif  // DECANT_GPU_KERNELS_NN_RUN_TYPE_INL_H_
