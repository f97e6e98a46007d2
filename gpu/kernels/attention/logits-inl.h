// The first pass over a range: query . key of every token. With x = scale * code + zero, q.x = scale * (q.code) +
// zero * sum(q).
// Included once per Highway target.
#if defined(DECANT_GPU_KERNELS_ATTENTION_LOGITS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_GPU_KERNELS_ATTENTION_LOGITS_INL_H_
#undef DECANT_GPU_KERNELS_ATTENTION_LOGITS_INL_H_
#else
#define DECANT_GPU_KERNELS_ATTENTION_LOGITS_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "common/compress/arith/key_shape.h"
#include "gpu/kernels/attention/decode_tile-inl.h"
#include "gpu/kernels/attention/range_tiles.h"
#include "gpu/kernels/attention/rotated_keys-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {
namespace {

// Tokens that one step of a dot product takes: their sums are added up together.
constexpr int32_t kStepTokens = 4;

// out[i] = sum of the lanes of v_i.
template <class D>
HWY_INLINE void StoreSums(D d, hn::Vec<D> v0, hn::Vec<D> v1, hn::Vec<D> v2, hn::Vec<D> v3, float* HWY_RESTRICT out) {
#if HWY_TARGET == HWY_SCALAR
  out[0] = hn::GetLane(v0);
  out[1] = hn::GetLane(v1);
  out[2] = hn::GetLane(v2);
  out[3] = hn::GetLane(v3);
  (void)d;
#else
  const hn::Repartition<double, D> pairs;
  const auto low = hn::Add(hn::InterleaveLower(d, v0, v1), hn::InterleaveUpper(d, v0, v1));
  const auto high = hn::Add(hn::InterleaveLower(d, v2, v3), hn::InterleaveUpper(d, v2, v3));
  const auto low_pairs = hn::BitCast(pairs, low);
  const auto high_pairs = hn::BitCast(pairs, high);
  // Every 128-bit part now holds its share of the four sums.
  const auto sums = hn::Add(hn::BitCast(d, hn::InterleaveLower(pairs, low_pairs, high_pairs)),
                            hn::BitCast(d, hn::InterleaveUpper(pairs, low_pairs, high_pairs)));
  alignas(64) float parts[16];
  hn::Store(sums, d, parts);
  const hn::CappedTag<float, 4> d4;
  auto total = hn::Load(d4, parts);
  for (size_t i = 4; i < hn::Lanes(d); i += 4) total = hn::Add(total, hn::Load(d4, parts + i));
  hn::StoreU(total, d4, out);
#endif
}

// dots[h][t] = queries[h] . tile[t] for kHeads heads; rows behind the last token are stale but finite.
template <int kHeads>
HWY_INLINE void DotTile(const float* HWY_RESTRICT queries, const float* HWY_RESTRICT tile, int32_t count,
                        int32_t stride, float (*HWY_RESTRICT dots)[kTileTokens]) {
  const DF d;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  for (int32_t t = 0; t < count; t += kStepTokens) {
    const float* row = tile + t * stride;
    VF sums[kHeads][kStepTokens];
    for (int h = 0; h < kHeads; ++h) {
      for (int k = 0; k < kStepTokens; ++k) sums[h][k] = hn::Zero(d);
    }
    for (int32_t i = 0; i < stride; i += lanes) {
      VF x[kStepTokens];
      for (int k = 0; k < kStepTokens; ++k) x[k] = hn::LoadU(d, row + k * stride + i);
      for (int h = 0; h < kHeads; ++h) {
        const VF q = hn::Load(d, queries + h * kGroupStride + i);
        for (int k = 0; k < kStepTokens; ++k) sums[h][k] = hn::MulAdd(x[k], q, sums[h][k]);
      }
    }
    for (int h = 0; h < kHeads; ++h) StoreSums(d, sums[h][0], sums[h][1], sums[h][2], sums[h][3], dots[h] + t);
  }
}

inline void DotGroup(Workspace& work, int32_t group, int32_t count, int32_t stride) {
  // As many sums as there are registers for.
  constexpr int32_t kHeads = HWY_MAX_BYTES >= 64 ? 4 : 2;
  int32_t h = 0;
  for (; h + kHeads <= group; h += kHeads) {
    DotTile<kHeads>(work.vectors + h * kGroupStride, work.tile, count, stride, work.dots + h);
  }
  for (; h < group; ++h) DotTile<1>(work.vectors + h * kGroupStride, work.tile, count, stride, work.dots + h);
}

// The same for one head, straight from the codes: no second head would use the decoded floats.
template <int kBits, class D>
HWY_INLINE void DotCodes(D d, const uint8_t* codes, int64_t vector_bytes, int32_t words, int32_t count,
                         const float* HWY_RESTRICT query, float* HWY_RESTRICT dots) {
  constexpr int32_t kCodes = 32 / kBits;
  const hn::RebindToFloat<D> df;
  const hn::RebindToSigned<D> di;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  for (int32_t t = 0; t < count; t += kStepTokens) {
    hn::Vec<decltype(df)> sums[kStepTokens];
    for (int k = 0; k < kStepTokens; ++k) sums[k] = hn::Zero(df);
    for (int32_t w = 0; w < words; w += lanes) {
      // Behind the last token its own words serve again.
      hn::Vec<D> word[kStepTokens];
      for (int k = 0; k < kStepTokens; ++k) {
        word[k] = LoadWords(d, codes + std::min(t + k, count - 1) * vector_bytes, w, words, vector_bytes);
      }
      for (int32_t j = 0; j < kCodes - 1; ++j) {
        const auto mask = hn::Set(d, ((uint32_t{1} << kBits) - 1) << (j * kBits));
        const auto q = hn::LoadU(df, query + j * words + w);
        for (int k = 0; k < kStepTokens; ++k) {
          sums[k] = hn::MulAdd(hn::ConvertTo(df, hn::BitCast(di, hn::And(word[k], mask))), q, sums[k]);
        }
      }
      const auto q = hn::LoadU(df, query + (kCodes - 1) * words + w);
      for (int k = 0; k < kStepTokens; ++k) {
        const auto code = hn::ShiftRight<32 - kBits>(word[k]);
        sums[k] = hn::MulAdd(hn::ConvertTo(df, hn::BitCast(di, code)), q, sums[k]);
      }
    }
    StoreSums(df, sums[0], sums[1], sums[2], sums[3], dots + t);
  }
}

template <int kBits>
void DotAffine(const uint8_t* codes, int64_t vector_bytes, int32_t words, int32_t count, const float* query,
               float* dots) {
  if (words <= 4) return DotCodes<kBits>(hn::CappedTag<uint32_t, 4>(), codes, vector_bytes, words, count, query, dots);
  if (words <= 8) return DotCodes<kBits>(hn::CappedTag<uint32_t, 8>(), codes, vector_bytes, words, count, query, dots);
  DotCodes<kBits>(DU(), codes, vector_bytes, words, count, query, dots);
}

template <typename T>
void DotPlain(const uint8_t* vectors, int32_t head_dim, int32_t count, const float* HWY_RESTRICT query,
              float* HWY_RESTRICT dots) {
  const DF d;
  const hn::CappedTag<float, 8> d8;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  const auto* from = reinterpret_cast<const T*>(vectors);
  for (int32_t t = 0; t < count; t += kStepTokens) {
    const T* row[kStepTokens];
    VF sums[kStepTokens];
    for (int k = 0; k < kStepTokens; ++k) {
      row[k] = from + int64_t{std::min(t + k, count - 1)} * head_dim;
      sums[k] = hn::Zero(d);
    }
    int32_t i = 0;
    for (; i + lanes <= head_dim; i += lanes) {
      const VF q = hn::Load(d, query + i);
      for (int k = 0; k < kStepTokens; ++k) sums[k] = hn::MulAdd(LoadFloats(d, row[k] + i), q, sums[k]);
    }
    StoreSums(d, sums[0], sums[1], sums[2], sums[3], dots + t);
    if (i == head_dim) continue;
    // Half of the widest vectors is left.
    const auto q = hn::LoadU(d8, query + i);
    for (int k = 0; k < kStepTokens; ++k) {
      dots[t + k] += hn::GetLane(hn::SumOfLanes(d8, hn::Mul(LoadFloats(d8, row[k] + i), q)));
    }
  }
}

inline void DotOne(Element element, const uint8_t* vectors, int32_t head_dim, int32_t count, const TileOrder& order,
                   Workspace& work) {
  const int64_t bytes = VectorBytes(element, head_dim);
  float* dots = work.dots[0];
  switch (element) {
    case Element::kF32:
      return DotPlain<float>(vectors, head_dim, count, work.vectors, dots);
    case Element::kBf16:
      return DotPlain<uint16_t>(vectors, head_dim, count, work.vectors, dots);
    case Element::kAffine8:
      return DotAffine<8>(vectors, bytes, order.words, count, work.vectors, dots);
    case Element::kAffine4:
    case Element::kChannel4:
      return DotAffine<4>(vectors, bytes, order.words, count, work.vectors, dots);
    case Element::kAffine2:
    case Element::kChannel2:
      return DotAffine<2>(vectors, bytes, order.words, count, work.vectors, dots);
    case Element::kAffine1:
      return DotAffine<1>(vectors, bytes, order.words, count, work.vectors, dots);
    default:
      break;
  }
}

// The queries of the group in the form of a tier's keys, times the attention's scale, in the order of the tile.
void ArrangeQueries(const AttentionRange& range, const KeyForm& form, const TileOrder& order, Workspace& work) {
  const int32_t head_dim = range.arena->geometry.head_dim;
  float shaped[kRowFloats];
  for (int32_t h = 0; h < range.group; ++h) {
    const float* q = range.q + int64_t{h} * head_dim;
    if (IsShaped(form)) {
      std::copy(q, q + head_dim, shaped);
      ShapeQuery(form, range.balance, head_dim, shaped);
      q = shaped;
    }
    float* row = work.vectors + h * kGroupStride;
    std::fill(row, row + kGroupStride, 0.0f);
    float sum = 0;
    for (int32_t i = 0; i < head_dim; ++i) {
      const float x = q[i] * range.scale;
      row[order.Place(i)] = x * order.Factor(i);
      sum += x;
    }
    work.sums[h] = sum;
  }
}

void StoreLogits(const AttentionRange& range, bool affine, int64_t at, int32_t count, Workspace& work) {
  const DF d;
  for (int32_t h = 0; h < range.group; ++h) {
    float* dots = work.dots[h];
    if (affine) {
      const VF sum = hn::Set(d, work.sums[h]);
      for (size_t i = 0; i < kTileTokens; i += hn::Lanes(d)) {
        const VF zero = hn::Mul(hn::Load(d, work.zero + i), sum);
        hn::Store(hn::MulAdd(hn::Load(d, work.scale + i), hn::Load(d, dots + i), zero), d, dots + i);
      }
    }
    std::memcpy(range.weights + h * range.weights_stride + at, dots, static_cast<size_t>(count) * 4);
  }
}

// The same for keys whose pairs belong to channels: q.x = sum (q scale) code + sum q zero, so that the scales go into
// the queries, once per group of tokens, and what is left is a dot product with codes.
void ArrangeChannelQueries(const AttentionRange& range, const TileOrder& order, const uint8_t* pairs, Workspace& work) {
  const int32_t head_dim = range.arena->geometry.head_dim;
  for (int32_t h = 0; h < range.group; ++h) {
    float* row = work.vectors + h * kGroupStride;
    std::fill(row, row + kGroupStride, 0.0f);
    work.sums[h] = 0;
  }
  for (int32_t i = 0; i < head_dim; ++i) {
    Fp16 pair[2];
    std::memcpy(pair, pairs + 4 * i, sizeof(pair));
    const float scale = ToFloat(pair[0]) * order.Factor(i);
    const float zero = ToFloat(pair[1]);
    const int32_t place = order.Place(i);
    for (int32_t h = 0; h < range.group; ++h) {
      const float x = range.q[int64_t{h} * head_dim + i] * range.scale;
      work.vectors[h * kGroupStride + place] = x * scale;
      work.sums[h] += x * zero;
    }
  }
}

// One tier after the other, and of channel elements one group after the other.
class QueryArrangement {
 public:
  QueryArrangement(const AttentionRange& range, Workspace& work) : range_(range), work_(work) {}

  void Follow(const Tile& tile) {
    const Element element = FormatOf(tile.format).k;
    const int32_t head_dim = range_.arena->geometry.head_dim;
    const KeyForm& form = range_.rows->key_forms[tile.tier];
    // Keys before rope are decoded and rotated, so that their query stands plain.
    if (tile.tier != tier_) order_ = TileOrder(form.rope != 0 ? element : Element::kF32, head_dim);
    if (IsChannel(element)) {
      const int64_t group = tile.first / kTokenGroup;
      const uint8_t* pairs = tile.page + tile.layout->key_meta + group * 4 * head_dim;
      if (pairs != pairs_) {
        ArrangeChannelQueries(range_, order_, pairs, work_);
        std::fill(std::begin(work_.scale), std::end(work_.scale), 1.0f);
        std::fill(std::begin(work_.zero), std::end(work_.zero), 1.0f);
      }
      pairs_ = pairs;
    } else if (tile.tier != tier_) {
      ArrangeQueries(range_, form, order_, work_);
      pairs_ = nullptr;
    }
    tier_ = tile.tier;
  }
  const TileOrder& order() const { return order_; }

 private:
  const AttentionRange& range_;
  Workspace& work_;
  TileOrder order_{Element::kF32, 8};
  int32_t tier_ = -1;
  const uint8_t* pairs_ = nullptr;
};

void ComputeLogits(const AttentionRange& range, Workspace& work) {
  const int32_t head_dim = range.arena->geometry.head_dim;
  TileCursor cursor(range, true);
  Prefetcher<true> ahead(range);
  QueryArrangement queries(range, work);
  Tile tile;
  KeyRotation rotation;
  int32_t rotated = -1;  // tier
  for (int64_t at = 0; cursor.Next(tile); at += tile.count) {
    ahead.Step();
    const Element element = FormatOf(tile.format).k;
    queries.Follow(tile);
    const TileOrder& order = queries.order();
    if (range.rows->key_forms[tile.tier].rope == 0) {
      if (tile.tier != rotated) rotation.Arrange(element, range);
      rotated = tile.tier;
      RotateTile(range, tile, range.begin + at, RowStride(order), rotation, work);
      DotGroup(work, range.group, tile.count, RowStride(order));
      StoreLogits(range, false, at, tile.count, work);
      continue;
    }
    const uint8_t* keys = tile.page + tile.layout->keys + tile.first * VectorBytes(element, head_dim);
    const uint8_t* meta = tile.page + tile.layout->key_meta + tile.first * MetaBytes(element, head_dim);
    if (range.group == 1 && !IsGrouped(element)) {
      DotOne(element, keys, head_dim, tile.count, order, work);
    } else {
      const int32_t stride = RowStride(order);
      DecodeTile(element, keys, meta, head_dim, tile.count, stride, order, work.tile);
      DotGroup(work, range.group, tile.count, stride);
    }
    if (order.affine) DecodeMeta(meta, tile.count, work);
    StoreLogits(range, order.planar, at, tile.count, work);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#endif  // DECANT_GPU_KERNELS_ATTENTION_LOGITS_INL_H_
