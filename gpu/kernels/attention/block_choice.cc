#include "gpu/kernels/attention/block_choice.h"

#include <algorithm>
#include <limits>
#include <numeric>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/kernels/attention/block_choice.cc"
#include "hwy/foreach_target.h"
// Behind foreach_target.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// At most 8 lanes: every head_dim is a multiple of 8, so there are no tails.
using Floats = hn::CappedTag<float, 8>;

HWY_INLINE hn::Vec<Floats> Widen(const uint16_t* x) {
  const Floats d;
  const hn::RebindToUnsigned<Floats> du;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(hn::Rebind<uint16_t, Floats>(), x))));
}

float Bound(const float* HWY_RESTRICT q, const uint16_t* HWY_RESTRICT smallest, int32_t head_dim) {
  const Floats d;
  const uint16_t* HWY_RESTRICT largest = smallest + head_dim;
  auto sum = hn::Zero(d);
  for (int32_t i = 0; i < head_dim; i += static_cast<int32_t>(hn::Lanes(d))) {
    const auto x = hn::LoadU(d, q + i);
    // The larger end where q is positive, the smaller where it is not: one product instead of two.
    const auto end = hn::IfThenElse(hn::Gt(x, hn::Zero(d)), Widen(largest + i), Widen(smallest + i));
    sum = hn::MulAdd(x, end, sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

void BlockBounds(const AttentionRange& range, int32_t first, int32_t end, float* bounds) {
  const int32_t head_dim = range.arena->geometry.head_dim;
  const PageLayout& layout = range.arena->layouts[static_cast<int>(range.rows->formats[kHigh])];
  const int32_t page_blocks = layout.tokens / kStatisticsBlock;
  for (int32_t block = first; block < end; ++block) {
    const int32_t place = RowPlace(*range.head, range.rows->capacity, kHigh, block / page_blocks);
    const uint8_t* page = range.arena->pages + range.page_ids[place] * range.arena->page_bytes;
    const auto* entry =
        reinterpret_cast<const uint16_t*>(page + layout.statistics) + int64_t{2} * (block % page_blocks) * head_dim;
    float most = -std::numeric_limits<float>::infinity();
    for (int32_t h = 0; h < range.group; ++h) {
      const float bound = Bound(range.q + int64_t{h} * head_dim, entry, head_dim);
      most = bound == bound ? std::max(most, bound) : std::numeric_limits<float>::infinity();
    }
    bounds[block] = most;
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant {
HWY_EXPORT(BlockBounds);

void BlockBounds(const AttentionRange& range, int32_t first, int32_t end, float* bounds) {
  HWY_DYNAMIC_DISPATCH(BlockBounds)(range, first, end, bounds);
}

int32_t ChooseBlocks(const AttentionRange& range, float* bounds, int32_t* blocks) {
  const int32_t last = BlocksOf(range.head->tokens[kHigh]) - 1;
  const int32_t chosen = BlocksRead(*range.rows) - 1;
  BlockBounds(range, 0, last, bounds);
  std::iota(blocks, blocks + last, 0);
  std::nth_element(blocks, blocks + chosen, blocks + last, [bounds](int32_t a, int32_t b) {
    return bounds[a] > bounds[b] || (bounds[a] == bounds[b] && a < b);
  });
  std::sort(blocks, blocks + chosen);
  blocks[chosen] = last;
  return chosen + 1;
}

}  // namespace decant
#endif  // HWY_ONCE
