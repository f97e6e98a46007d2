// Two passes over the pages of a range: logits, softmax weights, then values. Both go in tiles of tokens. A group of
// query heads decodes a tile to floats once and uses it for every head; a single head multiplies as it decodes.
#include "gpu/kernels/attention/attention_range.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "common/compress/arith/score_policy.h"
#include "gpu/kernels/attention/range_tiles.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/kernels/attention/attention_range.cc"
// Scalable vectors cannot stand in arrays; what else is left out has no machines that serve models.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include "hwy/foreach_target.h"
// Behind foreach_target.h.
#include "gpu/kernels/attention/decode_tile-inl.h"
#include "gpu/kernels/attention/logits-inl.h"
#include "gpu/kernels/attention/values-inl.h"
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {
namespace {

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
  const bool mean = ScoresAreMeans(range.rows->policy);
  const float part = mean ? 1.0f / static_cast<float>(range.group) : 1.0f;
  TileCursor cursor(range, true);
  Tile tile;
  int64_t at = 0;
  while (cursor.Next(tile)) {
    if (FormatOf(tile.format).tracked) {
      alignas(64) float received[kTileTokens] = {};
      for (int32_t h = 0; h < range.group; ++h) {
        alignas(64) float weights[kTileTokens] = {};
        std::memcpy(weights, range.weights + h * range.weights_stride + at, static_cast<size_t>(tile.count) * 4);
        for (int32_t i = 0; i < kTileTokens; i += lanes) {
          const VF share = hn::Mul(hn::Load(d, weights + i), hn::Set(d, factors[h] * part));
          const VF before = hn::Load(d, received + i);
          hn::Store(mean ? hn::Add(before, share) : hn::Max(before, share), d, received + i);
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
