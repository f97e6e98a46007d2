// Codes, run-type values, scales and zeros of a tile of tokens as floats.
// Included once per Highway target.
#if defined(DECANT_GPU_KERNELS_ATTENTION_DECODE_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_GPU_KERNELS_ATTENTION_DECODE_TILE_INL_H_
#undef DECANT_GPU_KERNELS_ATTENTION_DECODE_TILE_INL_H_
#else
#define DECANT_GPU_KERNELS_ATTENTION_DECODE_TILE_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "common/base/half.h"
#include "gpu/kernels/attention/range_tiles.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using DF = hn::CappedTag<float, 16>;
using DU = hn::RebindToUnsigned<DF>;
using VF = hn::Vec<DF>;

// What is decoded in between: one tile of floats and the scales and zeros of its tokens.
struct Workspace {
  alignas(64) float tile[kTileTokens * kRowFloats + 32];
  alignas(64) float scale[kTileTokens];
  alignas(64) float zero[kTileTokens];
  alignas(64) float dots[kMaxAttentionGroup][kTileTokens];
  alignas(64) float vectors[kMaxAttentionGroup * kGroupStride];  // queries, or sums of values
  float sums[kMaxAttentionGroup];                                // of q, or of weight x zero
};

// Floats between two rows of a tile: whole vectors.
inline int32_t RowStride(const TileOrder& order) {
  const auto lanes = static_cast<int32_t>(hn::Lanes(DF()));
  return (order.floats + lanes - 1) / lanes * lanes;
}

// Words [first, words) of a vector of `bytes` bytes, as many as there are lanes; lanes behind the end are 0.
template <class D>
HWY_INLINE hn::Vec<D> LoadWords(D d, const uint8_t* vector, int32_t first, int32_t words, int64_t bytes) {
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  const uint8_t* at = vector + int64_t{4} * first;
  if (words - first >= lanes && int64_t{4} * (first + lanes) <= bytes) {
    return hn::LoadU(d, reinterpret_cast<const uint32_t*>(at));
  }
#if !HWY_MEM_OPS_MIGHT_FAULT
  if (bytes % 4 == 0) {
    const auto mask = hn::FirstN(d, static_cast<size_t>(words - first));
    return hn::MaskedLoad(mask, d, reinterpret_cast<const uint32_t*>(at));
  }
#endif
  uint32_t buffer[16] = {};
  std::memcpy(buffer, at, static_cast<size_t>(std::min<int64_t>(bytes - int64_t{4} * first, int64_t{4} * lanes)));
  return hn::LoadU(d, buffer);
}

// Rows overlap the next ones where the words do not fill whole vectors, so they are written in ascending order.
template <int kBits, class D>
HWY_INLINE void DecodeCodes(D d, const uint8_t* codes, int64_t vector_bytes, int32_t words, int32_t count,
                            int32_t stride, float* HWY_RESTRICT tile) {
  constexpr int32_t kCodes = 32 / kBits;
  const hn::RebindToFloat<D> df;
  const hn::RebindToSigned<D> di;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  for (int32_t t = 0; t < count; ++t) {
    const uint8_t* vector = codes + t * vector_bytes;
    float* row = tile + t * stride;
    if (words <= lanes) {
      const auto word = LoadWords(d, vector, 0, words, vector_bytes);
      for (int32_t j = 0; j < kCodes - 1; ++j) {
        const auto mask = hn::Set(d, ((uint32_t{1} << kBits) - 1) << (j * kBits));
        hn::StoreU(hn::ConvertTo(df, hn::BitCast(di, hn::And(word, mask))), df, row + j * words);
      }
      const auto last = hn::ShiftRight<32 - kBits>(word);
      hn::StoreU(hn::ConvertTo(df, hn::BitCast(di, last)), df, row + (kCodes - 1) * words);
      continue;
    }
    for (int32_t j = 0; j < kCodes; ++j) {
      const auto mask = hn::Set(d, ((uint32_t{1} << kBits) - 1) << (j * kBits));
      for (int32_t w = 0; w < words; w += lanes) {
        const auto word = LoadWords(d, vector, w, words, vector_bytes);
        const auto code = j == kCodes - 1 ? hn::ShiftRight<32 - kBits>(word) : hn::And(word, mask);
        hn::StoreU(hn::ConvertTo(df, hn::BitCast(di, code)), df, row + j * words + w);
      }
    }
  }
}

template <int kBits>
void DecodeAffine(const uint8_t* codes, int64_t vector_bytes, int32_t words, int32_t count, int32_t stride,
                  float* HWY_RESTRICT tile) {
  // The narrowest vectors that hold all words waste no lanes.
  if (words <= 4)
    return DecodeCodes<kBits>(hn::CappedTag<uint32_t, 4>(), codes, vector_bytes, words, count, stride, tile);
  if (words <= 8)
    return DecodeCodes<kBits>(hn::CappedTag<uint32_t, 8>(), codes, vector_bytes, words, count, stride, tile);
  DecodeCodes<kBits>(DU(), codes, vector_bytes, words, count, stride, tile);
}

template <class D>
HWY_INLINE hn::Vec<D> LoadFloats(D d, const float* from) {
  return hn::LoadU(d, from);
}
template <class D>
HWY_INLINE hn::Vec<D> LoadFloats(D d, const uint16_t* from) {
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::PromoteTo(du, hn::LoadU(hn::Rebind<uint16_t, D>(), from));
  return hn::BitCast(d, hn::ShiftLeft<16>(bits));
}

template <typename T>
void DecodePlain(const uint8_t* vectors, int32_t head_dim, int32_t count, int32_t stride, float* HWY_RESTRICT tile) {
  const DF d;
  const hn::CappedTag<float, 8> d8;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  for (int32_t t = 0; t < count; ++t) {
    const T* from = reinterpret_cast<const T*>(vectors) + int64_t{t} * head_dim;
    float* row = tile + t * stride;
    int32_t i = 0;
    for (; i + lanes <= head_dim; i += lanes) hn::StoreU(LoadFloats(d, from + i), d, row + i);
    for (; i < head_dim; i += static_cast<int32_t>(hn::Lanes(d8))) hn::StoreU(LoadFloats(d8, from + i), d8, row + i);
  }
}

// Vectors with a pair per kElementGroup elements, as numbers.
template <int kBits>
void DecodeGroups(const uint8_t* vectors, const uint8_t* meta, int32_t head_dim, int32_t count, int32_t stride,
                  float* HWY_RESTRICT tile) {
  const hn::CappedTag<float, 8> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const hn::RebindToSigned<decltype(d)> di;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  const auto mask = hn::Set(du, (uint32_t{1} << kBits) - 1);
  const auto step = hn::Mul(hn::Iota(du, 0), hn::Set(du, uint32_t{kBits}));
  const int64_t vector_bytes = int64_t{head_dim} * kBits / 8;
  const int32_t pairs = (head_dim + kElementGroup - 1) / kElementGroup;
  for (int32_t t = 0; t < count; ++t) {
    const uint8_t* vector = vectors + t * vector_bytes;
    const uint8_t* pair = meta + int64_t{4} * t * pairs;
    float* row = tile + t * stride;
    for (int32_t group = 0; group < head_dim; group += kElementGroup, pair += 4) {
      Fp16 halves[2];
      std::memcpy(halves, pair, sizeof(halves));
      const auto scale = hn::Set(d, ToFloat(halves[0]));
      const auto zero = hn::Set(d, ToFloat(halves[1]));
      // Eight codes fill kBits bytes.
      for (int32_t i = group; i < std::min(group + kElementGroup, head_dim); i += 8) {
        uint32_t word = 0;
        std::memcpy(&word, vector + i / 8 * kBits, kBits);
        for (int32_t j = 0; j < 8; j += lanes) {
          const auto code = hn::And(hn::Set(du, word >> (j * kBits)) >> step, mask);
          const auto value = hn::ConvertTo(d, hn::BitCast(di, code));
          hn::StoreU(hn::MulAdd(value, scale, zero), d, row + i + j);
        }
      }
    }
  }
}

// `meta` is that of the tile's first token; only elements with several pairs per token need it.
void DecodeTile(Element element, const uint8_t* vectors, const uint8_t* meta, int32_t head_dim, int32_t count,
                int32_t stride, const TileOrder& order, float* HWY_RESTRICT tile) {
  const int64_t bytes = VectorBytes(element, head_dim);
  switch (element) {
    case Element::kF32:
      return DecodePlain<float>(vectors, head_dim, count, stride, tile);
    case Element::kBf16:
      return DecodePlain<uint16_t>(vectors, head_dim, count, stride, tile);
    case Element::kAffine8:
      return DecodeAffine<8>(vectors, bytes, order.words, count, stride, tile);
    case Element::kAffine4:
    case Element::kChannel4:
      return DecodeAffine<4>(vectors, bytes, order.words, count, stride, tile);
    case Element::kAffine2:
    case Element::kChannel2:
      return DecodeAffine<2>(vectors, bytes, order.words, count, stride, tile);
    case Element::kAffine1:
      return DecodeAffine<1>(vectors, bytes, order.words, count, stride, tile);
    case Element::kGroup4:
      return DecodeGroups<4>(vectors, meta, head_dim, count, stride, tile);
    case Element::kGroup2:
      return DecodeGroups<2>(vectors, meta, head_dim, count, stride, tile);
    default:
      break;
  }
}

// fp16 in the low 16 bits of every lane, exact, subnormals, infinities and NaN included.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToFloat<D>> HalfToFloat(D d, hn::Vec<D> half) {
  const hn::RebindToFloat<D> df;
  const auto rest = hn::ShiftLeft<13>(hn::And(half, hn::Set(d, 0x7fffu)));
  const auto sign = hn::ShiftLeft<16>(hn::And(half, hn::Set(d, 0x8000u)));
  const auto magnitude = hn::BitCast(d, hn::Mul(hn::BitCast(df, rest), hn::Set(df, 0x1p112f)));
  const auto special = hn::Eq(hn::And(half, hn::Set(d, 0x7c00u)), hn::Set(d, 0x7c00u));
  const auto extreme = hn::Or(rest, hn::Set(d, 0x7f800000u));
  return hn::BitCast(df, hn::Or(sign, hn::IfThenElse(special, extreme, magnitude)));
}

void DecodeMeta(const uint8_t* meta, int32_t count, Workspace& work) {
  const DU d;
  const DF df;
  alignas(64) uint32_t pairs[kTileTokens] = {};
  std::memcpy(pairs, meta, static_cast<size_t>(count) * 4);
  for (size_t i = 0; i < kTileTokens; i += hn::Lanes(d)) {
    const auto pair = hn::Load(d, pairs + i);
    hn::Store(HalfToFloat(d, hn::And(pair, hn::Set(d, 0xffffu))), df, work.scale + i);
    hn::Store(HalfToFloat(d, hn::ShiftRight<16>(pair)), df, work.zero + i);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#endif  // DECANT_GPU_KERNELS_ATTENTION_DECODE_TILE_INL_H_
