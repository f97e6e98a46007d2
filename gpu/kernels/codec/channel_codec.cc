#include "gpu/kernels/codec/channel_codec.h"

#include <cstring>

#include "common/base/check.h"
#include "common/base/half.h"
#include "common/compress/arith/affine.h"
#include "common/compress/arith/pack.h"
#include "gpu/kernels/codec/vector_codec.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/kernels/codec/channel_codec.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
// Behind foreach_target.h.
#include "gpu/kernels/codec/floats-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {
namespace {

// The pairs of a group, channel by channel.
struct ChannelPairs {
  HWY_ALIGN float scale[kMaxHeadDim];
  HWY_ALIGN float zero[kMaxHeadDim];
  HWY_ALIGN float inverse[kMaxHeadDim];
};

void LoadPairs(const uint8_t* meta, int32_t head_dim, ChannelPairs& pairs) {
  for (int32_t i = 0; i < head_dim; ++i) {
    AffinePair pair;
    std::memcpy(&pair, meta + 4 * i, sizeof(pair));
    pairs.scale[i] = ToFloat(pair.scale);
    pairs.zero[i] = ToFloat(pair.zero);
    pairs.inverse[i] = InverseScale(pairs.scale[i]);
  }
}

void FitChannels(const float* x, int32_t tokens, int32_t head_dim, int32_t bits, int32_t levels, uint8_t* meta) {
  const auto lanes = static_cast<int32_t>(hn::Lanes(kFloats));
  for (int32_t i = 0; i < head_dim; i += lanes) {
    V low = hn::Set(kFloats, kLargestHalf);
    V high = hn::Set(kFloats, -kLargestHalf);
    for (int32_t t = 0; t < tokens; ++t) {
      const V tame = Tame(hn::LoadU(kFloats, x + t * kMaxHeadDim + i));
      low = hn::Min(low, tame);
      high = hn::Max(high, tame);
    }
    HWY_ALIGN float lows[8];
    HWY_ALIGN float highs[8];
    hn::Store(low, kFloats, lows);
    hn::Store(high, kFloats, highs);
    for (int32_t lane = 0; lane < lanes; ++lane) {
      const AffinePair pair = FitAffine(lows[lane], highs[lane], bits, levels);
      std::memcpy(meta + 4 * (i + lane), &pair, sizeof(pair));
    }
  }
}

void EncodeChannelsTarget(RunType run_type, const void* const* rows, int32_t tokens, int32_t head_dim, Element element,
                          int32_t levels, uint8_t* packed, uint8_t* meta, StoredError* error) {
  HWY_ALIGN float wanted[kTokenGroup * kMaxHeadDim];
  for (int32_t t = 0; t < tokens; ++t) LoadFloats(run_type, rows[t], head_dim, wanted + t * kMaxHeadDim);
  const int32_t bits = ElementBits(element);
  FitChannels(wanted, tokens, head_dim, bits, levels, meta);
  ChannelPairs pairs;
  LoadPairs(meta, head_dim, pairs);
  const V largest = hn::Set(kFloats, static_cast<float>(LargestCode(bits, levels)));
  for (int32_t t = 0; t < tokens; ++t) {
    const float* x = wanted + t * kMaxHeadDim;
    HWY_ALIGN float stored[kMaxHeadDim];
    uint8_t codes[kMaxHeadDim];
    for (int32_t i = 0; i < head_dim; i += static_cast<int32_t>(hn::Lanes(kFloats))) {
      const AffineLanes affine{hn::Load(kFloats, pairs.scale + i), hn::Load(kFloats, pairs.zero + i),
                               hn::Load(kFloats, pairs.inverse + i), largest};
      EncodeLanes(affine, hn::LoadU(kFloats, x + i), codes + i, stored + i);
    }
    PackCodes(codes, head_dim, bits, packed + t * VectorBytes(element, head_dim));
    if (error != nullptr) AddError(x, stored, head_dim, *error);
  }
}

void DecodeChannelTokenTarget(const uint8_t* packed, const uint8_t* meta, int32_t head_dim, Element element,
                              RunType run_type, void* x) {
  HWY_ALIGN float stored[kMaxHeadDim];
  uint8_t codes[kMaxHeadDim];
  UnpackCodes(packed, head_dim, ElementBits(element), codes);
  ChannelPairs pairs;
  LoadPairs(meta, head_dim, pairs);
  for (int32_t i = 0; i < head_dim; i += static_cast<int32_t>(hn::Lanes(kFloats))) {
    const V value = DecodeLanes(codes + i, hn::Load(kFloats, pairs.scale + i), hn::Load(kFloats, pairs.zero + i));
    hn::Store(value, kFloats, stored + i);
  }
  StoreFloats(stored, head_dim, run_type, x);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant {
namespace {

HWY_EXPORT(EncodeChannelsTarget);
HWY_EXPORT(DecodeChannelTokenTarget);

void CheckGroup(int32_t tokens, int32_t head_dim, Element element) {
  DECANT_CHECK_MSG(tokens > 0 && tokens <= kTokenGroup && head_dim > 0 && head_dim <= kMaxHeadDim &&
                       head_dim % 8 == 0 && IsChannel(element),
                   "%d vectors of %d, element %d", tokens, head_dim, static_cast<int>(element));
}

}  // namespace

void EncodeChannels(RunType run_type, const void* const* rows, int32_t tokens, int32_t head_dim, Element element,
                    int32_t levels, uint8_t* codes, uint8_t* meta, StoredError* error) {
  CheckGroup(tokens, head_dim, element);
  HWY_DYNAMIC_DISPATCH(EncodeChannelsTarget)(run_type, rows, tokens, head_dim, element, levels, codes, meta, error);
}

void DecodeChannelToken(const uint8_t* codes, const uint8_t* meta, int32_t head_dim, Element element, RunType run_type,
                        void* x) {
  CheckGroup(1, head_dim, element);
  HWY_DYNAMIC_DISPATCH(DecodeChannelTokenTarget)(codes, meta, head_dim, element, run_type, x);
}

}  // namespace decant
#endif
