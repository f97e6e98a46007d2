// Two passes over the pages of a range: logits, softmax weights, then values. Both go in tiles of tokens that are
// decoded to floats once and used by every query head of the group.
//
// Codes stay in the order that unpacks fastest: element i of a vector with C codes per 32-bit word lies in word i / C
// at bit (i % C) * bits, so one AND gives the i % C = j elements of all words at once, scaled by 2^(j * bits). The tile
// holds them planar, [j][word], and the query (for keys) and the sums (for values) take the same order and the inverse
// power of two, which is exact. With x = scale * code + zero, q.x = scale * (q.code) + zero * sum(q).
#include "gpu/kernels/attention/attention_range.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "common/base/half.h"
#include "common/kv/format.h"
#include "gpu/kernels/attention/decode_attention.h"

#include "hwy/cache_control.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/kernels/attention/attention_range.cc"
// Targets between the baseline and AVX2 have no machines that serve models; scalable vectors cannot stand in arrays.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include "hwy/foreach_target.h"
// Behind foreach_target.h.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

#ifndef DECANT_ATTENTION_RANGE_ONCE
#define DECANT_ATTENTION_RANGE_ONCE
namespace decant {
namespace {

// One vector of 32-bit lanes of the widest target, and what hides the latency of memory behind the work on a tile.
constexpr int32_t kTileTokens = 16;
// A tile row is padded to whole vectors.
constexpr int32_t kRowFloats = kMaxAttentionHeadDim;
constexpr int32_t kGroupStride = kRowFloats + 16;

// A run of tokens in one page: at most a tile of them.
struct Tile {
  FormatId format = FormatId::kNone;
  const PageLayout* layout = nullptr;
  uint8_t* page = nullptr;
  int32_t first = 0;  // token of the page
  int32_t count = 0;
};

// Walks the tiles of a range.
class TileCursor {
 public:
  explicit TileCursor(const AttentionRange& range) : range_(range), left_(range.end - range.begin) {
    int64_t skip = range.begin;
    for (int i = 0; i < kTierCount; ++i) {
      tier_ = i;
      const int32_t tokens = range.head->tokens[kOrder[i]];
      if (skip < tokens) {
        token_ = static_cast<int32_t>(skip);
        break;
      }
      skip -= tokens;
    }
  }

  bool Next(Tile& tile) {
    if (left_ <= 0) return false;
    while (token_ >= range_.head->tokens[kOrder[tier_]]) {
      ++tier_;
      token_ = 0;
    }
    const int32_t tier = kOrder[tier_];
    tile.format = range_.rows->formats[tier];
    tile.layout = &range_.arena->layouts[static_cast<int>(tile.format)];
    const int32_t page = token_ / tile.layout->tokens;
    tile.first = token_ % tile.layout->tokens;
    const int32_t place = RowPlace(*range_.head, range_.rows->capacity, tier, page);
    tile.page = range_.arena->pages + range_.page_ids[place] * range_.arena->page_bytes;
    const int32_t in_page = std::min(tile.layout->tokens - tile.first, range_.head->tokens[tier] - token_);
    tile.count = static_cast<int32_t>(std::min<int64_t>({kTileTokens, in_page, left_}));
    token_ += tile.count;
    left_ -= tile.count;
    return true;
  }

 private:
  static constexpr int32_t kOrder[kTierCount] = {kFixed, kHigh, kLow};

  const AttentionRange& range_;
  int64_t left_;
  int tier_ = 0;
  int32_t token_ = 0;  // of the tier
};

// The order in which the floats of a decoded vector stand in a tile.
struct TileOrder {
  explicit TileOrder(Element element, int32_t head_dim) : bits(ElementBits(element)), affine(IsAffine(element)) {
    codes = affine ? 32 / bits : 1;
    words = (head_dim + codes - 1) / codes;
    floats = words * codes;
  }
  int32_t Place(int32_t i) const { return affine ? (i % codes) * words + i / codes : i; }
  // What a decoded float of element i must be multiplied by to be its code.
  float Factor(int32_t i) const {
    const int32_t j = i % codes;
    if (!affine || j == codes - 1) return 1.0f;
    return 1.0f / static_cast<float>(uint32_t{1} << (j * bits));
  }
  int32_t bits;
  bool affine;
  int32_t codes;
  int32_t words;
  int32_t floats;
};

inline void PrefetchBytes(const uint8_t* bytes, int64_t count) {
  for (int64_t i = 0; i < count; i += 64) hwy::Prefetch(bytes + i);
}

}  // namespace
}  // namespace decant
#endif  // DECANT_ATTENTION_RANGE_ONCE

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

int32_t RowStride(const TileOrder& order) {
  const auto lanes = static_cast<int32_t>(hn::Lanes(DF()));
  return (order.floats + lanes - 1) / lanes * lanes;
}

// ---- decoding a tile
// -------------------------------------------------------------------------------------------------

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

void DecodeTile(Element element, const uint8_t* vectors, int32_t head_dim, int32_t count, int32_t stride,
                const TileOrder& order, float* HWY_RESTRICT tile) {
  const int64_t bytes = VectorBytes(element, head_dim);
  switch (element) {
    case Element::kF32:
      return DecodePlain<float>(vectors, head_dim, count, stride, tile);
    case Element::kBf16:
      return DecodePlain<uint16_t>(vectors, head_dim, count, stride, tile);
    case Element::kAffine8:
      return DecodeAffine<8>(vectors, bytes, order.words, count, stride, tile);
    case Element::kAffine4:
      return DecodeAffine<4>(vectors, bytes, order.words, count, stride, tile);
    case Element::kAffine2:
      return DecodeAffine<2>(vectors, bytes, order.words, count, stride, tile);
    case Element::kNone:
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

// ---- logits
// ----------------------------------------------------------------------------------------------------------

// dots[h][t] = queries[h] . tile[t] for kHeads heads.
template <int kHeads>
HWY_INLINE void DotTile(const float* HWY_RESTRICT queries, const float* HWY_RESTRICT tile, int32_t count,
                        int32_t stride, float (*HWY_RESTRICT dots)[kTileTokens]) {
  const DF d;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  for (int32_t t = 0; t < count; ++t) {
    const float* row = tile + t * stride;
    VF sums[kHeads];
    for (int h = 0; h < kHeads; ++h) sums[h] = hn::Zero(d);
    for (int32_t i = 0; i < stride; i += lanes) {
      const VF x = hn::LoadU(d, row + i);
      for (int h = 0; h < kHeads; ++h) sums[h] = hn::MulAdd(x, hn::Load(d, queries + h * kGroupStride + i), sums[h]);
    }
    for (int h = 0; h < kHeads; ++h) dots[h][t] = hn::GetLane(hn::SumOfLanes(d, sums[h]));
  }
}

void DotGroup(Workspace& work, int32_t group, int32_t count, int32_t stride) {
  int32_t h = 0;
  for (; h + 4 <= group; h += 4) DotTile<4>(work.vectors + h * kGroupStride, work.tile, count, stride, work.dots + h);
  if (group - h == 3) return DotTile<3>(work.vectors + h * kGroupStride, work.tile, count, stride, work.dots + h);
  if (group - h == 2) return DotTile<2>(work.vectors + h * kGroupStride, work.tile, count, stride, work.dots + h);
  if (group - h == 1) DotTile<1>(work.vectors + h * kGroupStride, work.tile, count, stride, work.dots + h);
}

// The queries of the group, times the attention's scale, in the order of the tile.
void ArrangeQueries(const AttentionRange& range, const TileOrder& order, Workspace& work) {
  const int32_t head_dim = range.arena->geometry.head_dim;
  for (int32_t h = 0; h < range.group; ++h) {
    const float* q = range.q + int64_t{h} * head_dim;
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

void ComputeLogits(const AttentionRange& range, Workspace& work) {
  const int32_t head_dim = range.arena->geometry.head_dim;
  TileCursor cursor(range);
  Tile tile;
  Tile next;
  bool more = cursor.Next(next);
  FormatId arranged = FormatId::kNone;
  TileOrder order(Element::kF32, head_dim);
  int64_t at = 0;
  while (more) {
    tile = next;
    more = cursor.Next(next);
    const Element element = FormatOf(tile.format).k;
    const int64_t bytes = VectorBytes(element, head_dim);
    if (more) {
      const int64_t next_bytes = VectorBytes(FormatOf(next.format).k, head_dim);
      PrefetchBytes(next.page + next.layout->keys + next.first * next_bytes, next.count * next_bytes);
    }
    if (tile.format != arranged) {
      order = TileOrder(element, head_dim);
      ArrangeQueries(range, order, work);
      arranged = tile.format;
    }
    const int32_t stride = RowStride(order);
    DecodeTile(element, tile.page + tile.layout->keys + tile.first * bytes, head_dim, tile.count, stride, order,
               work.tile);
    if (order.affine) DecodeMeta(tile.page + tile.layout->key_meta + tile.first * 4, tile.count, work);
    DotGroup(work, range.group, tile.count, stride);
    StoreLogits(range, order.affine, at, tile.count, work);
    at += tile.count;
  }
}

// ---- softmax
// ---------------------------------------------------------------------------------------------------------

// Replaces logits by exp(logit - max) and gives max and sum.
void Exponentiate(float* HWY_RESTRICT row, int64_t count, float* max_out, float* sum_out) {
  const DF d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const float lowest = -std::numeric_limits<float>::infinity();
  const int64_t whole = count / lanes * lanes;
  alignas(64) float tail[16];
  std::fill(tail, tail + 16, lowest);
  std::copy(row + whole, row + count, tail);

  VF max = hn::Load(d, tail);
  for (int64_t i = 0; i < whole; i += lanes) max = hn::Max(max, hn::LoadU(d, row + i));
  *max_out = hn::GetLane(hn::MaxOfLanes(d, max));
  const VF shift = hn::Set(d, *max_out);
  VF sum = hn::Zero(d);
  for (int64_t i = 0; i < whole; i += lanes) {
    const VF weight = hn::Exp(d, hn::Sub(hn::LoadU(d, row + i), shift));
    sum = hn::Add(sum, weight);
    hn::StoreU(weight, d, row + i);
  }
  if (whole < count) {
    const VF weight = hn::Exp(d, hn::Sub(hn::Load(d, tail), shift));
    hn::Store(weight, d, tail);
    std::copy(tail, tail + (count - whole), row + whole);
    for (int64_t i = 0; i < count - whole; ++i) *sum_out += tail[i];
  }
  *sum_out += hn::GetLane(hn::SumOfLanes(d, sum));
}

// ---- values
// ----------------------------------------------------------------------------------------------------------

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
  TileCursor cursor(range);
  Tile tile;
  Tile next;
  bool more = cursor.Next(next);
  FormatId format = next.format;
  TileOrder order(FormatOf(format).v, head_dim);
  int64_t at = 0;
  while (more) {
    tile = next;
    more = cursor.Next(next);
    if (tile.format != format) {
      FlushSums(range, order, work);
      format = tile.format;
      order = TileOrder(FormatOf(format).v, head_dim);
    }
    const Element element = FormatOf(format).v;
    const int64_t bytes = VectorBytes(element, head_dim);
    if (more) {
      const int64_t next_bytes = VectorBytes(FormatOf(next.format).v, head_dim);
      PrefetchBytes(next.page + next.layout->values + next.first * next_bytes, next.count * next_bytes);
    }
    const int32_t stride = RowStride(order);
    DecodeTile(element, tile.page + tile.layout->values + tile.first * bytes, head_dim, tile.count, stride, order,
               work.tile);
    if (order.affine) DecodeMeta(tile.page + tile.layout->value_meta + tile.first * 4, tile.count, work);
    LoadWeights(range, order.affine, at, tile.count, work);
    AddGroup(work, range.group, tile.count, stride);
    at += tile.count;
  }
  FlushSums(range, order, work);
}

void AttendRange(const AttentionRange& range) {
  const int32_t head_dim = range.arena->geometry.head_dim;
  std::fill(range.out, range.out + int64_t{range.group} * head_dim, 0.0f);
  std::fill(range.sum, range.sum + range.group, 0.0f);
  std::fill(range.max, range.max + range.group, -std::numeric_limits<float>::infinity());
  const int64_t count = range.end - range.begin;
  if (count <= 0) return;
  Workspace work;
  // The padding of a row is multiplied by zeros: it must be finite.
  std::fill(std::begin(work.tile), std::end(work.tile), 0.0f);
  ComputeLogits(range, work);
  for (int32_t h = 0; h < range.group; ++h) {
    Exponentiate(range.weights + h * range.weights_stride, count, range.max + h, range.sum + h);
  }
  AddValues(range, work);
}

void AddScores(const AttentionRange& range, const float* factors) {
  const DF d;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  TileCursor cursor(range);
  Tile tile;
  int64_t at = 0;
  while (cursor.Next(tile)) {
    if (FormatOf(tile.format).tracked) {
      alignas(64) float received[kTileTokens] = {};
      for (int32_t h = 0; h < range.group; ++h) {
        alignas(64) float weights[kTileTokens] = {};
        std::memcpy(weights, range.weights + h * range.weights_stride + at, static_cast<size_t>(tile.count) * 4);
        for (int32_t i = 0; i < kTileTokens; i += lanes) {
          const VF share = hn::Mul(hn::Load(d, weights + i), hn::Set(d, factors[h]));
          hn::Store(hn::Max(hn::Load(d, received + i), share), d, received + i);
        }
      }
      auto* scores = reinterpret_cast<float*>(tile.page + tile.layout->scores) + tile.first;
      for (int32_t t = 0; t < tile.count; ++t) scores[t] += received[t];
    }
    at += tile.count;
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant {

HWY_EXPORT(AttendRange);
HWY_EXPORT(AddScores);

void AttendRange(const AttentionRange& range) { HWY_DYNAMIC_DISPATCH(AttendRange)(range); }
void AddScores(const AttentionRange& range, const float* factors) { HWY_DYNAMIC_DISPATCH(AddScores)(range, factors); }

}  // namespace decant
#endif  // HWY_ONCE
