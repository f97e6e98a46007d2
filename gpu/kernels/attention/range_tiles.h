// The walk over the tokens of a range, in tiles that lie in one page.
#ifndef DECANT_GPU_KERNELS_ATTENTION_RANGE_TILES_H_
#define DECANT_GPU_KERNELS_ATTENTION_RANGE_TILES_H_

#include <algorithm>
#include <cstdint>

#include "common/kv/format.h"
#include "common/kv/rows.h"
#include "gpu/kernels/attention/attention_range.h"
#include "gpu/kernels/attention/decode_attention.h"
#include "hwy/cache_control.h"

namespace decant {

// Enough tokens for one vector of logits of the widest target and few enough for the first cache.
inline constexpr int32_t kTileTokens = 16;
// Floats of a decoded vector, and between the vectors of two query heads: whole vectors may be read behind the end.
inline constexpr int32_t kRowFloats = kMaxAttentionHeadDim;
inline constexpr int32_t kGroupStride = kRowFloats + 16;

// A run of tokens in one page: at most a tile of them.
struct Tile {
  FormatId format = FormatId::kNone;
  int32_t tier = 0;
  const PageLayout* layout = nullptr;
  uint8_t* page = nullptr;
  int32_t first = 0;  // token of the page
  int32_t count = 0;
};

// Walks the tiles of a range: those of its keys or, which differs in split rows only, those of its values.
class TileCursor {
 public:
  TileCursor(const AttentionRange& range, bool keys) : range_(range), left_(range.end - range.begin) {
    order_ = !range.rows->split() ? kOrder : keys ? kSplitKeys : kSplitValues;
    if (range.blocks != nullptr) {
      order_ = kBlocks;
      token_ = static_cast<int32_t>(range.begin);
      return;
    }
    int64_t skip = range.begin;
    for (int i = 0; i < kTierCount; ++i) {
      tier_ = i;
      const int32_t tokens = range.head->tokens[order_[i]];
      if (skip < tokens) {
        token_ = static_cast<int32_t>(skip);
        break;
      }
      skip -= tokens;
    }
  }

  bool Next(Tile& tile) {
    if (left_ <= 0) return false;
    while (token_ >= range_.head->tokens[order_[tier_]]) {
      ++tier_;
      token_ = 0;
    }
    const int32_t tier = order_[tier_];
    int32_t slot = token_;
    int32_t end = range_.head->tokens[tier];
    if (tier == kTail) TurnWindow(slot, end);
    if (range_.blocks != nullptr) FindBlock(slot, end);
    tile.tier = tier;
    tile.format = range_.rows->formats[tier];
    tile.layout = &range_.arena->layouts[static_cast<int>(tile.format)];
    const int32_t page = slot / tile.layout->tokens;
    tile.first = slot % tile.layout->tokens;
    const int32_t place = RowPlace(*range_.head, range_.rows->capacity, tier, page);
    tile.page = range_.arena->pages + range_.page_ids[place] * range_.arena->page_bytes;
    int32_t in_page = std::min(tile.layout->tokens - tile.first, end - slot);
    if (IsChannel(FormatOf(tile.format).k)) in_page = std::min(in_page, kTokenGroup - tile.first % kTokenGroup);
    tile.count = static_cast<int32_t>(std::min<int64_t>({kTileTokens, in_page, left_}));
    token_ += tile.count;
    left_ -= tile.count;
    return true;
  }

 private:
  static constexpr int32_t kOrder[kTierCount] = {kFixed, kTail, kHigh, kLow};
  static constexpr int32_t kBlocks[kTierCount] = {kHigh, kLow, kFixed, kTail};
  // By position: what is frozen, then the window. The tiers of the other half come last and are never reached.
  static constexpr int32_t kSplitKeys[kTierCount] = {kHigh, kFixed, kLow, kTail};
  static constexpr int32_t kSplitValues[kTierCount] = {kLow, kTail, kHigh, kFixed};

  // The window's values stand at their position modulo the window: the oldest is the first that is not frozen.
  void TurnWindow(int32_t& slot, int32_t& end) const {
    const int32_t oldest = range_.head->tokens[kLow] % range_.rows->window;
    const int32_t window = range_.rows->window;
    slot += oldest;
    end = std::min(end + oldest, window);
    if (slot >= window) {
      slot -= window;
      end = oldest;
    }
  }

  // All chosen blocks but the last are whole.
  void FindBlock(int32_t& slot, int32_t& end) const {
    const int32_t first = range_.blocks[slot / kStatisticsBlock] * kStatisticsBlock;
    slot = first + slot % kStatisticsBlock;
    end = std::min(end, first + kStatisticsBlock);
  }

  const AttentionRange& range_;
  const int32_t* order_ = kOrder;
  int64_t left_;
  int tier_ = 0;
  int32_t token_ = 0;  // of the tier
};

// The order in which the floats of a decoded vector stand. Codes stay in the order that unpacks fastest: element i of a
// vector with C codes per 32-bit word lies in word i / C at bit (i % C) * bits, so one AND gives the i % C = j elements
// of all words at once, as floats times 2^(j * bits). Decoded vectors are planar, [j][word]; the query (for keys) and
// the sums (for values) take the same order and the inverse power of two, which is exact. Vectors with several pairs
// are decoded wholly, in their own order.
struct TileOrder {
  explicit TileOrder(Element element, int32_t head_dim)
      : bits(ElementBits(element)), planar(IsAffine(element) && !IsGrouped(element)) {
    affine = planar && !IsChannel(element);
    codes = planar ? 32 / bits : 1;
    words = (head_dim + codes - 1) / codes;
    floats = words * codes;
  }
  int32_t Place(int32_t i) const { return planar ? (i % codes) * words + i / codes : i; }
  // What a decoded float of element i must be multiplied by to be its code.
  float Factor(int32_t i) const {
    const int32_t j = i % codes;
    if (!planar || j == codes - 1) return 1.0f;
    return 1.0f / static_cast<float>(uint32_t{1} << (j * bits));
  }
  int32_t bits;
  bool planar;
  bool affine;  // one pair per token
  int32_t codes;
  int32_t words;
  int32_t floats;
};

// Asks for the keys or values of the tiles that come next: pages lie anywhere, so the hardware cannot guess them.
template <bool kKeys>
class Prefetcher {
 public:
  explicit Prefetcher(const AttentionRange& range) : cursor_(range, kKeys), head_dim_(range.arena->geometry.head_dim) {
    for (int i = 0; i < kTilesAhead; ++i) Step();
  }
  void Step() {
    Tile tile;
    if (!cursor_.Next(tile)) return;
    const Format format = FormatOf(tile.format);
    const int64_t bytes = VectorBytes(kKeys ? format.k : format.v, head_dim_);
    const uint8_t* first = tile.page + (kKeys ? tile.layout->keys : tile.layout->values) + tile.first * bytes;
    for (int64_t i = 0; i < tile.count * bytes; i += 64) hwy::Prefetch(first + i);
  }

 private:
  static constexpr int kTilesAhead = 2;  // some hundred nanoseconds of work

  TileCursor cursor_;
  int32_t head_dim_;
};

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_RANGE_TILES_H_
