// The last pass over a range: the weighted sum of the values.
// Included once per Highway target.
#if defined(DECANT_GPU_KERNELS_ATTENTION_VALUES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_GPU_KERNELS_ATTENTION_VALUES_INL_H_
#undef DECANT_GPU_KERNELS_ATTENTION_VALUES_INL_H_
#else
#define DECANT_GPU_KERNELS_ATTENTION_VALUES_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "gpu/kernels/attention/decode_tile-inl.h"
#include "gpu/kernels/attention/range_tiles.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {
namespace {

// sums[h] += sum over t of weights[h][t] * tile[t] for kHeads heads and kVectors vectors of a row.
template <int kHeads, int kVectors>
HWY_INLINE void AddVectors(const float (*HWY_RESTRICT weights)[kTileTokens], const float* HWY_RESTRICT tile,
                           int32_t count, int32_t stride, float* HWY_RESTRICT sums) {
  const DF d;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  VF acc[kHeads][kVectors];
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVectors; ++v) acc[h][v] = hn::Load(d, sums + h * kGroupStride + v * lanes);
  }
  for (int32_t t = 0; t < count; ++t) {
    const float* row = tile + t * stride;
    for (int v = 0; v < kVectors; ++v) {
      const VF x = hn::LoadU(d, row + v * lanes);
      for (int h = 0; h < kHeads; ++h) acc[h][v] = hn::MulAdd(hn::Set(d, weights[h][t]), x, acc[h][v]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVectors; ++v) hn::Store(acc[h][v], d, sums + h * kGroupStride + v * lanes);
  }
}

template <int kHeads>
void AddTile(const float (*weights)[kTileTokens], const float* tile, int32_t count, int32_t stride, float* sums) {
  const auto lanes = static_cast<int32_t>(hn::Lanes(DF()));
  int32_t i = 0;
  for (; i + 4 * lanes <= stride; i += 4 * lanes) AddVectors<kHeads, 4>(weights, tile + i, count, stride, sums + i);
  for (; i < stride; i += lanes) AddVectors<kHeads, 1>(weights, tile + i, count, stride, sums + i);
}

void AddGroup(Workspace& work, int32_t group, int32_t count, int32_t stride) {
  int32_t h = 0;
  for (; h + 2 <= group; h += 2) AddTile<2>(work.dots + h, work.tile, count, stride, work.vectors + h * kGroupStride);
  if (h < group) AddTile<1>(work.dots + h, work.tile, count, stride, work.vectors + h * kGroupStride);
}

// The same for one head, straight from the codes. Vectors overlap the next ones where the words do not fill them; what
// they carry over is unchanged, so they are stored in ascending order.
template <int kBits, class D>
HWY_INLINE void AddCodes(D d, const uint8_t* codes, int64_t vector_bytes, int32_t words, int32_t count,
                         const float* HWY_RESTRICT weights, float* HWY_RESTRICT sums) {
  constexpr int32_t kCodes = 32 / kBits;
  const hn::RebindToFloat<D> df;
  const hn::RebindToSigned<D> di;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  for (int32_t w = 0; w < words; w += lanes) {
    hn::Vec<decltype(df)> acc[kCodes];
    for (int32_t j = 0; j < kCodes; ++j) acc[j] = hn::LoadU(df, sums + j * words + w);
    for (int32_t t = 0; t < count; ++t) {
      const auto word = LoadWords(d, codes + t * vector_bytes, w, words, vector_bytes);
      const auto weight = hn::Set(df, weights[t]);
      for (int32_t j = 0; j < kCodes - 1; ++j) {
        const auto mask = hn::Set(d, ((uint32_t{1} << kBits) - 1) << (j * kBits));
        acc[j] = hn::MulAdd(hn::ConvertTo(df, hn::BitCast(di, hn::And(word, mask))), weight, acc[j]);
      }
      const auto last = hn::ShiftRight<32 - kBits>(word);
      acc[kCodes - 1] = hn::MulAdd(hn::ConvertTo(df, hn::BitCast(di, last)), weight, acc[kCodes - 1]);
    }
    for (int32_t j = 0; j < kCodes; ++j) hn::StoreU(acc[j], df, sums + j * words + w);
  }
}

template <int kBits>
void AddAffine(const uint8_t* codes, int64_t vector_bytes, int32_t words, int32_t count, const float* weights,
               float* sums) {
  if (words <= 4)
    return AddCodes<kBits>(hn::CappedTag<uint32_t, 4>(), codes, vector_bytes, words, count, weights, sums);
  if (words <= 8)
    return AddCodes<kBits>(hn::CappedTag<uint32_t, 8>(), codes, vector_bytes, words, count, weights, sums);
  AddCodes<kBits>(DU(), codes, vector_bytes, words, count, weights, sums);
}

template <int kVectors, class D, typename T>
HWY_INLINE void AddRows(D d, const T* from, int32_t head_dim, int32_t count, const float* HWY_RESTRICT weights,
                        float* HWY_RESTRICT sums) {
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  hn::Vec<D> acc[kVectors];
  for (int v = 0; v < kVectors; ++v) acc[v] = hn::LoadU(d, sums + v * lanes);
  for (int32_t t = 0; t < count; ++t) {
    const auto weight = hn::Set(d, weights[t]);
    const T* row = from + int64_t{t} * head_dim;
    for (int v = 0; v < kVectors; ++v) acc[v] = hn::MulAdd(LoadFloats(d, row + v * lanes), weight, acc[v]);
  }
  for (int v = 0; v < kVectors; ++v) hn::StoreU(acc[v], d, sums + v * lanes);
}

template <typename T>
void AddPlain(const uint8_t* vectors, int32_t head_dim, int32_t count, const float* weights, float* sums) {
  const DF d;
  const hn::CappedTag<float, 8> d8;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  const auto* from = reinterpret_cast<const T*>(vectors);
  int32_t i = 0;
  for (; i + 8 * lanes <= head_dim; i += 8 * lanes) AddRows<8>(d, from + i, head_dim, count, weights, sums + i);
  for (; i + 4 * lanes <= head_dim; i += 4 * lanes) AddRows<4>(d, from + i, head_dim, count, weights, sums + i);
  for (; i + lanes <= head_dim; i += lanes) AddRows<1>(d, from + i, head_dim, count, weights, sums + i);
  for (; i < head_dim; i += static_cast<int32_t>(hn::Lanes(d8))) {
    AddRows<1>(d8, from + i, head_dim, count, weights, sums + i);
  }
}

inline void AddOne(Element element, const uint8_t* vectors, int32_t head_dim, int32_t count, const TileOrder& order,
                   Workspace& work) {
  const int64_t bytes = VectorBytes(element, head_dim);
  const float* weights = work.dots[0];
  switch (element) {
    case Element::kF32:
      return AddPlain<float>(vectors, head_dim, count, weights, work.vectors);
    case Element::kBf16:
      return AddPlain<uint16_t>(vectors, head_dim, count, weights, work.vectors);
    case Element::kAffine8:
      return AddAffine<8>(vectors, bytes, order.words, count, weights, work.vectors);
    case Element::kAffine4:
      return AddAffine<4>(vectors, bytes, order.words, count, weights, work.vectors);
    case Element::kAffine2:
      return AddAffine<2>(vectors, bytes, order.words, count, weights, work.vectors);
    case Element::kAffine1:
      return AddAffine<1>(vectors, bytes, order.words, count, weights, work.vectors);
    default:
      break;
  }
}

// The weights of a tile, times the tokens' scales, and the sums of weight x zero.
void LoadWeights(const AttentionRange& range, bool affine, int64_t at, int32_t count, Workspace& work) {
  const DF d;
  for (int32_t h = 0; h < range.group; ++h) {
    float* weights = work.dots[h];
    std::fill(weights, weights + kTileTokens, 0.0f);
    std::memcpy(weights, range.weights + h * range.weights_stride + at, static_cast<size_t>(count) * 4);
    if (!affine) continue;
    VF zeros = hn::Zero(d);
    for (size_t i = 0; i < kTileTokens; i += hn::Lanes(d)) {
      const VF weight = hn::Load(d, weights + i);
      zeros = hn::MulAdd(weight, hn::Load(d, work.zero + i), zeros);
      hn::Store(hn::Mul(weight, hn::Load(d, work.scale + i)), d, weights + i);
    }
    work.sums[h] += hn::GetLane(hn::SumOfLanes(d, zeros));
  }
}

void ClearSums(Workspace& work) {
  std::fill(std::begin(work.vectors), std::end(work.vectors), 0.0f);
  std::fill(std::begin(work.sums), std::end(work.sums), 0.0f);
}

// Adds the sums of one format to the range's output.
void FlushSums(const AttentionRange& range, const TileOrder& order, Workspace& work) {
  const int32_t head_dim = range.arena->geometry.head_dim;
  for (int32_t h = 0; h < range.group; ++h) {
    const float* sums = work.vectors + h * kGroupStride;
    float* out = range.out + int64_t{h} * head_dim;
    for (int32_t i = 0; i < head_dim; ++i) out[i] += sums[order.Place(i)] * order.Factor(i) + work.sums[h];
  }
  ClearSums(work);
}

void AddValues(const AttentionRange& range, Workspace& work) {
  const int32_t head_dim = range.arena->geometry.head_dim;
  ClearSums(work);
  TileCursor cursor(range, false);
  Prefetcher<false> ahead(range);
  Tile tile;
  FormatId format = FormatId::kNone;
  TileOrder order(Element::kF32, head_dim);
  for (int64_t at = 0; cursor.Next(tile); at += tile.count) {
    ahead.Step();
    const Element element = FormatOf(tile.format).v;
    if (tile.format != format) {
      if (format != FormatId::kNone) FlushSums(range, order, work);
      format = tile.format;
      order = TileOrder(element, head_dim);
    }
    const uint8_t* values = tile.page + tile.layout->values + tile.first * VectorBytes(element, head_dim);
    const uint8_t* meta = tile.page + tile.layout->value_meta + tile.first * MetaBytes(element, head_dim);
    if (order.affine) DecodeMeta(meta, tile.count, work);
    LoadWeights(range, order.affine, at, tile.count, work);
    if (range.group == 1 && !IsGrouped(element)) {
      AddOne(element, values, head_dim, tile.count, order, work);
    } else {
      const int32_t stride = RowStride(order);
      DecodeTile(element, values, meta, head_dim, tile.count, stride, order, work.tile);
      AddGroup(work, range.group, tile.count, stride);
    }
  }
  FlushSums(range, order, work);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#endif  // DECANT_GPU_KERNELS_ATTENTION_VALUES_INL_H_
