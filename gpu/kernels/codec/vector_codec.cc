#include "gpu/kernels/codec/vector_codec.h"

#include <cstring>

#include "common/base/check.h"
#include "common/base/half.h"
#include "common/compress/arith/affine.h"
#include "common/compress/arith/pack.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/kernels/codec/vector_codec.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
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
HWY_NOINLINE void LoadFloats(RunType run_type, const void* x, int32_t count, float* out) {
  if (run_type == RunType::kF32) {
    std::memcpy(out, x, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  const auto* halves = static_cast<const uint16_t*>(x);
  for (int32_t i = 0; i < count; i += static_cast<int32_t>(hn::Lanes(kFloats))) {
    hn::StoreU(WidenBf16(halves + i), kFloats, out + i);
  }
}

void StoreFloats(const float* x, int32_t count, RunType run_type, void* out) {
  if (run_type == RunType::kF32) {
    std::memcpy(out, x, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  auto* halves = static_cast<uint16_t*>(out);
  for (int32_t i = 0; i < count; i += static_cast<int32_t>(hn::Lanes(kFloats))) {
    NarrowBf16(hn::LoadU(kFloats, x + i), halves + i);
  }
}

void AddError(const float* x, const float* stored, int32_t count, StoredError& error) {
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

AffinePair FitFloats(const float* x, int32_t count, int32_t bits) {
  V low = hn::Set(kFloats, kLargestHalf);
  V high = hn::Set(kFloats, -kLargestHalf);
  for (int32_t i = 0; i < count; i += static_cast<int32_t>(hn::Lanes(kFloats))) {
    const V tame = Tame(hn::LoadU(kFloats, x + i));
    low = hn::Min(low, tame);
    high = hn::Max(high, tame);
  }
  return FitAffine(hn::GetLane(hn::MinOfLanes(kFloats, low)), hn::GetLane(hn::MaxOfLanes(kFloats, high)), bits);
}

void EncodeAffineTarget(const float* x, int32_t count, int32_t bits, uint8_t* packed, uint8_t* meta, float* stored) {
  const AffinePair pair = FitFloats(x, count, bits);
  std::memcpy(meta, &pair, sizeof(pair));
  const float scale = ToFloat(pair.scale);
  const V zero = hn::Set(kFloats, ToFloat(pair.zero));
  const V inverse = hn::Set(kFloats, InverseScale(scale));
  const V largest = hn::Set(kFloats, static_cast<float>(MaxCode(bits)));
  const V shift = hn::Set(kFloats, kRoundingShift);
  const hn::RebindToSigned<Floats> integers;
  const hn::Rebind<uint8_t, Floats> bytes;
  uint8_t codes[kMaxHeadDim];
  for (int32_t i = 0; i < count; i += static_cast<int32_t>(hn::Lanes(kFloats))) {
    const V steps = hn::Mul(hn::Sub(Tame(hn::LoadU(kFloats, x + i)), zero), inverse);
    const V shifted = hn::Add(hn::Min(hn::Max(steps, hn::Zero(kFloats)), largest), shift);
    const V code = hn::Sub(shifted, shift);
    hn::StoreU(hn::DemoteTo(bytes, hn::ConvertTo(integers, code)), bytes, codes + i);
    hn::StoreU(hn::Add(hn::Mul(code, hn::Set(kFloats, scale)), zero), kFloats, stored + i);
  }
  if (bits == 8) {
    std::memcpy(packed, codes, static_cast<size_t>(count));
  } else {
    PackCodes(codes, count, bits, packed);
  }
}

void DecodeAffineTarget(const uint8_t* packed, const uint8_t* meta, int32_t count, int32_t bits, float* x) {
  AffinePair pair;
  std::memcpy(&pair, meta, sizeof(pair));
  const V scale = hn::Set(kFloats, ToFloat(pair.scale));
  const V zero = hn::Set(kFloats, ToFloat(pair.zero));
  const hn::RebindToSigned<Floats> integers;
  const hn::Rebind<uint8_t, Floats> bytes;
  uint8_t unpacked[kMaxHeadDim];
  const uint8_t* codes = packed;
  if (bits != 8) {
    UnpackCodes(packed, count, bits, unpacked);
    codes = unpacked;
  }
  for (int32_t i = 0; i < count; i += static_cast<int32_t>(hn::Lanes(kFloats))) {
    const V code = hn::ConvertTo(kFloats, hn::PromoteTo(integers, hn::LoadU(bytes, codes + i)));
    hn::StoreU(hn::Add(hn::Mul(code, scale), zero), kFloats, x + i);
  }
}

void EncodeTarget(RunType run_type, const void* x, int32_t count, Element element, uint8_t* codes, uint8_t* meta,
                  StoredError* error) {
  HWY_ALIGN float wanted[kMaxHeadDim];
  HWY_ALIGN float stored[kMaxHeadDim];
  LoadFloats(run_type, x, count, wanted);
  if (IsAffine(element)) {
    EncodeAffineTarget(wanted, count, ElementBits(element), codes, meta, stored);
  } else {
    const RunType form = element == Element::kF32 ? RunType::kF32 : RunType::kBf16;
    StoreFloats(wanted, count, form, codes);
    LoadFloats(form, codes, count, stored);
  }
  if (error != nullptr) AddError(wanted, stored, count, *error);
}

void DecodeTarget(const uint8_t* codes, const uint8_t* meta, int32_t count, Element element, RunType run_type,
                  void* x) {
  HWY_ALIGN float stored[kMaxHeadDim];
  if (IsAffine(element)) {
    DecodeAffineTarget(codes, meta, count, ElementBits(element), stored);
  } else {
    LoadFloats(element == Element::kF32 ? RunType::kF32 : RunType::kBf16, codes, count, stored);
  }
  StoreFloats(stored, count, run_type, x);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant {
namespace {

HWY_EXPORT(EncodeTarget);
HWY_EXPORT(DecodeTarget);

void CheckVector(int32_t count, Element element) {
  DECANT_CHECK_MSG(count > 0 && count <= kMaxHeadDim && count % 8 == 0 && element != Element::kNone,
                   "vector of %d, element %d", count, static_cast<int>(element));
}

}  // namespace

void EncodeVector(RunType run_type, const void* x, int32_t count, Element element, uint8_t* codes, uint8_t* meta,
                  StoredError* error) {
  CheckVector(count, element);
  HWY_DYNAMIC_DISPATCH(EncodeTarget)(run_type, x, count, element, codes, meta, error);
}

void DecodeVector(const uint8_t* codes, const uint8_t* meta, int32_t count, Element element, RunType run_type,
                  void* x) {
  CheckVector(count, element);
  HWY_DYNAMIC_DISPATCH(DecodeTarget)(codes, meta, count, element, run_type, x);
}

}  // namespace decant
#endif
