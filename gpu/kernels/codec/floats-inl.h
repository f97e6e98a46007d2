// Run-type values as floats and back, and what storing them cost: shared by the codecs of vectors and channels.
// Included once per Highway target.
#if defined(DECANT_GPU_KERNELS_CODEC_FLOATS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_GPU_KERNELS_CODEC_FLOATS_INL_H_
#undef DECANT_GPU_KERNELS_CODEC_FLOATS_INL_H_
#else
#define DECANT_GPU_KERNELS_CODEC_FLOATS_INL_H_
#endif

#include <cstring>

#include "common/compress/arith/affine.h"
#include "common/compress/profile.h"
#include "common/kv/receipt.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// At most 8 lanes: every head_dim is a multiple of 8, so there are no tails.
using Floats = hn::CappedTag<float, 8>;
using Words = hn::RebindToUnsigned<Floats>;
using V = hn::Vec<Floats>;
constexpr Floats kFloats;
constexpr Words kWords;

HWY_INLINE V Tame(V x) {
  const V number = hn::IfThenElseZero(hn::Eq(x, x), x);
  return hn::Min(hn::Max(number, hn::Set(kFloats, -kLargestHalf)), hn::Set(kFloats, kLargestHalf));
}

HWY_INLINE V WidenBf16(const uint16_t* x) {
  const hn::Rebind<uint16_t, Floats> halves;
  return hn::BitCast(kFloats, hn::ShiftLeft<16>(hn::PromoteTo(kWords, hn::LoadU(halves, x))));
}

// ToBf16 of common/base/half.h.
HWY_INLINE void NarrowBf16(V x, uint16_t* out) {
  const auto bits = hn::BitCast(kWords, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(kWords, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(kWords, 0x7fffu))));
  const auto quiet = hn::Or(hn::ShiftRight<16>(bits), hn::Set(kWords, 0x40u));
  const auto is_nan = hn::RebindMask(kWords, hn::Ne(x, x));
  const auto narrow = hn::IfThenElse(is_nan, quiet, rounded);
  const hn::Rebind<uint16_t, Floats> halves;
  const hn::RebindToSigned<Floats> integers;
  hn::StoreU(hn::DemoteTo(halves, hn::BitCast(integers, narrow)), halves, out);
}

// Not inlined: the compiler would take the buffer for one that a loop over no elements leaves unset.
[[maybe_unused]] HWY_NOINLINE void LoadFloats(RunType run_type, const void* x, int32_t count, float* out) {
  if (run_type == RunType::kF32) {
    std::memcpy(out, x, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  const auto* halves = static_cast<const uint16_t*>(x);
  for (int32_t i = 0; i < count; i += static_cast<int32_t>(hn::Lanes(kFloats))) {
    hn::StoreU(WidenBf16(halves + i), kFloats, out + i);
  }
}

[[maybe_unused]] void StoreFloats(const float* x, int32_t count, RunType run_type, void* out) {
  if (run_type == RunType::kF32) {
    std::memcpy(out, x, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  auto* halves = static_cast<uint16_t*>(out);
  for (int32_t i = 0; i < count; i += static_cast<int32_t>(hn::Lanes(kFloats))) {
    NarrowBf16(hn::LoadU(kFloats, x + i), halves + i);
  }
}

[[maybe_unused]] void AddError(const float* x, const float* stored, int32_t count, StoredError& error) {
  V difference = hn::Zero(kFloats);
  V norm = hn::Zero(kFloats);
  for (int32_t i = 0; i < count; i += static_cast<int32_t>(hn::Lanes(kFloats))) {
    const V wanted = Tame(hn::LoadU(kFloats, x + i));
    const V off = hn::Sub(wanted, Tame(hn::LoadU(kFloats, stored + i)));
    difference = hn::Add(difference, hn::Mul(off, off));
    norm = hn::Add(norm, hn::Mul(wanted, wanted));
  }
  error.squared_difference += static_cast<double>(hn::GetLane(hn::SumOfLanes(kFloats, difference)));
  error.squared_norm += static_cast<double>(hn::GetLane(hn::SumOfLanes(kFloats, norm)));
}

// Codes of Lanes(kFloats) values and what they read back as.
struct AffineLanes {
  V scale;
  V zero;
  V inverse;
  V largest;
};

HWY_INLINE void EncodeLanes(const AffineLanes& affine, V x, uint8_t* codes, float* stored) {
  const V shift = hn::Set(kFloats, kRoundingShift);
  const hn::RebindToSigned<Floats> integers;
  const hn::Rebind<uint8_t, Floats> bytes;
  const V steps = hn::Mul(hn::Sub(Tame(x), affine.zero), affine.inverse);
  const V shifted = hn::Add(hn::Min(hn::Max(steps, hn::Zero(kFloats)), affine.largest), shift);
  const V code = hn::Sub(shifted, shift);
  hn::StoreU(hn::DemoteTo(bytes, hn::ConvertTo(integers, code)), bytes, codes);
  hn::StoreU(hn::Add(hn::Mul(code, affine.scale), affine.zero), kFloats, stored);
}

HWY_INLINE V DecodeLanes(const uint8_t* codes, V scale, V zero) {
  const hn::RebindToSigned<Floats> integers;
  const hn::Rebind<uint8_t, Floats> bytes;
  const V code = hn::ConvertTo(kFloats, hn::PromoteTo(integers, hn::LoadU(bytes, codes)));
  return hn::Add(hn::Mul(code, scale), zero);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#endif  // DECANT_GPU_KERNELS_CODEC_FLOATS_INL_H_
