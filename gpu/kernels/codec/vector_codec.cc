#include "gpu/kernels/codec/vector_codec.h"

#include <algorithm>
#include <cstring>

#include "common/base/check.h"
#include "common/base/half.h"
#include "common/compress/arith/affine.h"
#include "common/compress/arith/pack.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/kernels/codec/vector_codec.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
// Behind foreach_target.h.
#include "gpu/kernels/codec/floats-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {
namespace {

AffinePair FitFloats(const float* x, int32_t count, int32_t bits, int32_t levels) {
  V low = hn::Set(kFloats, kLargestHalf);
  V high = hn::Set(kFloats, -kLargestHalf);
  for (int32_t i = 0; i < count; i += static_cast<int32_t>(hn::Lanes(kFloats))) {
    const V tame = Tame(hn::LoadU(kFloats, x + i));
    low = hn::Min(low, tame);
    high = hn::Max(high, tame);
  }
  return FitAffine(hn::GetLane(hn::MinOfLanes(kFloats, low)), hn::GetLane(hn::MaxOfLanes(kFloats, high)), bits, levels);
}

// `codes` [count], one byte each.
void EncodeAffineTarget(const float* x, int32_t count, int32_t bits, int32_t levels, uint8_t* codes, uint8_t* meta,
                        float* stored) {
  const AffinePair pair = FitFloats(x, count, bits, levels);
  std::memcpy(meta, &pair, sizeof(pair));
  const float scale = ToFloat(pair.scale);
  const AffineLanes affine{hn::Set(kFloats, scale), hn::Set(kFloats, ToFloat(pair.zero)),
                           hn::Set(kFloats, InverseScale(scale)),
                           hn::Set(kFloats, static_cast<float>(LargestCode(bits, levels)))};
  for (int32_t i = 0; i < count; i += static_cast<int32_t>(hn::Lanes(kFloats))) {
    EncodeLanes(affine, hn::LoadU(kFloats, x + i), codes + i, stored + i);
  }
}

void DecodeAffineTarget(const uint8_t* codes, const uint8_t* meta, int32_t count, float* x) {
  AffinePair pair;
  std::memcpy(&pair, meta, sizeof(pair));
  const V scale = hn::Set(kFloats, ToFloat(pair.scale));
  const V zero = hn::Set(kFloats, ToFloat(pair.zero));
  for (int32_t i = 0; i < count; i += static_cast<int32_t>(hn::Lanes(kFloats))) {
    hn::StoreU(DecodeLanes(codes + i, scale, zero), kFloats, x + i);
  }
}

// Elements that share a pair.
int32_t PairWidth(Element element, int32_t count) { return IsGrouped(element) ? kElementGroup : count; }

void EncodeTarget(RunType run_type, const void* x, int32_t count, Element element, int32_t levels, uint8_t* packed,
                  uint8_t* meta, StoredError* error) {
  HWY_ALIGN float wanted[kMaxHeadDim];
  HWY_ALIGN float stored[kMaxHeadDim];
  LoadFloats(run_type, x, count, wanted);
  if (IsAffine(element)) {
    uint8_t codes[kMaxHeadDim];
    const int32_t bits = ElementBits(element);
    const int32_t width = PairWidth(element, count);
    for (int32_t i = 0; i < count; i += width) {
      EncodeAffineTarget(wanted + i, std::min(width, count - i), bits, levels, codes + i, meta + i / width * 4,
                         stored + i);
    }
    PackCodes(codes, count, bits, packed);
  } else {
    const RunType form = element == Element::kF32 ? RunType::kF32 : RunType::kBf16;
    StoreFloats(wanted, count, form, packed);
    LoadFloats(form, packed, count, stored);
  }
  if (error != nullptr) AddError(wanted, stored, count, *error);
}

void DecodeTarget(const uint8_t* packed, const uint8_t* meta, int32_t count, Element element, RunType run_type,
                  void* x) {
  HWY_ALIGN float stored[kMaxHeadDim];
  if (IsAffine(element)) {
    uint8_t codes[kMaxHeadDim];
    UnpackCodes(packed, count, ElementBits(element), codes);
    const int32_t width = PairWidth(element, count);
    for (int32_t i = 0; i < count; i += width) {
      DecodeAffineTarget(codes + i, meta + i / width * 4, std::min(width, count - i), stored + i);
    }
  } else {
    LoadFloats(element == Element::kF32 ? RunType::kF32 : RunType::kBf16, packed, count, stored);
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
  DECANT_CHECK_MSG(
      count > 0 && count <= kMaxHeadDim && count % 8 == 0 && element != Element::kNone && !IsChannel(element),
      "vector of %d, element %d", count, static_cast<int>(element));
}

}  // namespace

void EncodeVector(RunType run_type, const void* x, int32_t count, Element element, int32_t levels, uint8_t* codes,
                  uint8_t* meta, StoredError* error) {
  CheckVector(count, element);
  HWY_DYNAMIC_DISPATCH(EncodeTarget)(run_type, x, count, element, levels, codes, meta, error);
}

void DecodeVector(const uint8_t* codes, const uint8_t* meta, int32_t count, Element element, RunType run_type,
                  void* x) {
  CheckVector(count, element);
  HWY_DYNAMIC_DISPATCH(DecodeTarget)(codes, meta, count, element, run_type, x);
}

}  // namespace decant
#endif
