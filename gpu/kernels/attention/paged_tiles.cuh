// The walk over one head's tokens on a device: tiles of tokens whose keys lie in one page and whose values lie in one
// page, copied to shared memory while the tile before them is computed.
#ifndef DECANT_GPU_KERNELS_ATTENTION_PAGED_TILES_CUH_
#define DECANT_GPU_KERNELS_ATTENTION_PAGED_TILES_CUH_

#include "common/kv/rows.h"
#include "gpu/device/async_copy.cuh"
#include "gpu/device/cuda_kernel.h"
#include "gpu/kernels/attention/attention_tokens.h"

namespace decant {

inline constexpr int32_t kMostTileTokens = 64;
inline constexpr int32_t kTileBytes = 4096;  // of keys, and of values
inline constexpr int32_t kCopyUnit = 16;

// What a tier's tokens look like: everything a tile needs of its format.
struct TierShape {
  Element k;
  Element v;
  int32_t tracked;
  int32_t page_tokens;
  int32_t keys;  // offsets in a page
  int32_t key_meta;
  int32_t values;
  int32_t value_meta;
  int32_t scores;
  int32_t positions;
  int32_t key_bytes;  // of one token
  int32_t key_meta_bytes;
  int32_t value_bytes;
  int32_t value_meta_bytes;
  int32_t key_tokens;  // that a tile may have, a power of two
  int32_t value_tokens;
};

// One head as its block sees it, in shared memory. Only addresses in device memory are followed from it.
struct HeadView {
  const __device__ SequenceRows& rows() const { return *reinterpret_cast<const SequenceRows*>(rows_bytes); }
  const __device__ HeadState& head() const { return *reinterpret_cast<const HeadState*>(head_bytes); }

  alignas(16) unsigned char rows_bytes[sizeof(SequenceRows)];
  alignas(16) unsigned char head_bytes[sizeof(HeadState)];
  TierShape tiers[kTierCount];
  const int32_t* page_ids;  // [capacity]
  int32_t pages[3][2];      // ids of the pages of keys and of values of three tiles in turn
  const int32_t* blocks;    // those that the read policy chose, ascending; null: all tokens
  int32_t tokens;           // attended to
};

// Copies 4-byte words by all threads of the block.
__device__ __forceinline__ void LoadWords(const void* from, int32_t bytes, void* to) {
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < bytes / 4; i += static_cast<int32_t>(blockDim.x)) {
    static_cast<uint32_t*>(to)[i] = Load(static_cast<const uint32_t*>(from) + i);
  }
}

__device__ __forceinline__ int32_t TileTokens(Element element, int32_t head_dim) {
  int32_t tokens = kMostTileTokens;
  while (tokens > 1 && tokens * VectorBytes(element, head_dim) > kTileBytes) tokens /= 2;
  return tokens;
}

__device__ __forceinline__ TierShape ShapeOf(const PageArena& arena, FormatId id) {
  const Format format = FormatOf(id);
  const PageLayout& layout = arena.layouts[static_cast<int32_t>(id)];
  const int32_t head_dim = arena.geometry.head_dim;
  TierShape shape;
  shape.k = format.k;
  shape.v = format.v;
  shape.tracked = format.tracked ? 1 : 0;
  shape.page_tokens = layout.tokens > 0 ? layout.tokens : 1;
  shape.keys = layout.keys;
  shape.key_meta = layout.key_meta;
  shape.values = layout.values;
  shape.value_meta = layout.value_meta;
  shape.scores = layout.scores;
  shape.positions = layout.positions;
  shape.key_bytes = static_cast<int32_t>(VectorBytes(format.k, head_dim));
  shape.key_meta_bytes = static_cast<int32_t>(MetaBytes(format.k, head_dim));
  shape.value_bytes = static_cast<int32_t>(VectorBytes(format.v, head_dim));
  shape.value_meta_bytes = static_cast<int32_t>(MetaBytes(format.v, head_dim));
  shape.key_tokens = TileTokens(format.k, head_dim);
  shape.value_tokens = TileTokens(format.v, head_dim);
  return shape;
}

// Fills `view` by all threads of the block and ends with a barrier. `block_list` and `block_count`: what the read
// policy chose, 0 blocks for all tokens.
__device__ inline void OpenHead(const PageArena& arena, const SequenceRows* rows, int32_t layer, int32_t kv_head,
                                const int32_t* block_list, int32_t block_count, HeadView* view) {
  static_assert(sizeof(SequenceRows) % 4 == 0 && sizeof(HeadState) % 4 == 0, "copied in words");
  LoadWords(rows, static_cast<int32_t>(sizeof(SequenceRows)), view->rows_bytes);
  __syncthreads();
  const int64_t index = int64_t{layer} * arena.geometry.kv_heads + kv_head;
  LoadWords(view->rows().heads + index, static_cast<int32_t>(sizeof(HeadState)), view->head_bytes);
  const auto thread = static_cast<int32_t>(threadIdx.x);
  if (thread < kTierCount) view->tiers[thread] = ShapeOf(arena, view->rows().formats[thread]);
  __syncthreads();
  if (thread == 0) {
    view->page_ids = view->rows().page_ids + index * view->rows().capacity;
    view->blocks = block_count > 0 ? block_list : nullptr;
    int64_t tokens = AttendedTokens(view->rows(), view->head());
    if (block_count > 0) {
      const int32_t last = Load(block_list + block_count - 1);
      tokens = int64_t{block_count - 1} * kStatisticsBlock + view->head().tokens[kHigh] - last * kStatisticsBlock;
    }
    view->tokens = static_cast<int32_t>(tokens);
  }
  __syncthreads();
}

// Consecutive tokens of a tier in one page.
struct TokenRun {
  int32_t tier;
  int32_t page;   // of the tier
  int32_t first;  // token of the page
  int32_t count;
};

// The run that begins with token `n` of the head, counted over its fixed run, its high tier and its low tier in this
// order; of a split row by position, for its keys or its values. `count` has no regard to the head's end.
__device__ inline TokenRun RunAt(const HeadView& view, bool keys, int32_t n) {
  const SequenceRows& rows = view.rows();
  const HeadState& head = view.head();
  TokenRun run;
  int32_t slot = n;
  int32_t end;
  if (view.blocks != nullptr) {
    const int32_t block = Load(view.blocks + n / kStatisticsBlock);
    run.tier = kHigh;
    slot = block * kStatisticsBlock + n % kStatisticsBlock;
    end = (block + 1) * kStatisticsBlock;
  } else if (rows.split()) {
    const int32_t frozen = keys ? kHigh : kLow;
    run.tier = n < head.tokens[frozen] ? frozen : keys ? kFixed : kTail;
    end = head.tokens[run.tier];
    if (run.tier != frozen) slot = n - head.tokens[frozen];
    if (run.tier == kTail) {
      // The window's values stand at their position modulo the window: the oldest is the first that is not frozen.
      const int32_t oldest = head.tokens[kLow] % rows.window;
      slot += oldest;
      end = end + oldest < rows.window ? end + oldest : rows.window;
      if (slot >= rows.window) {
        slot -= rows.window;
        end = oldest;
      }
    }
  } else {
    run.tier = kFixed;
    if (slot >= head.tokens[kFixed]) {
      slot -= head.tokens[kFixed];
      run.tier = kHigh;
      if (slot >= head.tokens[kHigh]) {
        slot -= head.tokens[kHigh];
        run.tier = kLow;
      }
    }
    end = head.tokens[run.tier];
  }
  const int32_t page_tokens = view.tiers[run.tier].page_tokens;
  run.page = slot / page_tokens;
  run.first = slot - run.page * page_tokens;
  run.count = end - slot < page_tokens - run.first ? end - slot : page_tokens - run.first;
  return run;
}

struct Tile {
  int32_t count = 0;  // 0: the range is over
  int32_t turn = 0;   // where in view.pages its page ids stand
  int32_t key_tier = 0;
  int32_t key_first = 0;
  int32_t value_tier = 0;
  int32_t value_first = 0;
};

__device__ __forceinline__ int32_t PageId(const HeadView& view, const TokenRun& run) {
  return Load(view.page_ids + RowPlace(view.head(), view.rows().capacity, run.tier, run.page));
}

// At most `limit` tokens of a run, and after the first tile whole units of 16 of them, so that copies begin aligned.
__device__ __forceinline__ int32_t TileShare(const TokenRun& run, int32_t limit) {
  const int32_t step = limit < kCopyUnit ? limit : kCopyUnit;
  const int32_t most = limit - run.first % step;
  return run.count < most ? run.count : most;
}

// The tile that begins with token `n`, as the one after that of turn `before`. One thread fetches its page ids, so that
// they are asked for once; the next barrier shows them.
__device__ inline Tile TileAt(HeadView* head, int32_t n, int32_t end, int32_t before) {
  const HeadView& view = *head;
  Tile tile;
  if (n >= end) return tile;
  const TokenRun key = RunAt(view, true, n);
  tile.turn = (before + 1) % 3;
  tile.key_tier = key.tier;
  tile.key_first = key.first;
  const TierShape& shape = view.tiers[key.tier];
  tile.count = end - n;
  const int32_t keys = TileShare(key, shape.key_tokens);
  if (keys < tile.count) tile.count = keys;
  if (IsChannel(shape.k)) {
    const int32_t in_group = kTokenGroup - key.first % kTokenGroup;
    if (in_group < tile.count) tile.count = in_group;
  }
  const bool split = view.rows().split();
  const TokenRun value = split ? RunAt(view, false, n) : key;
  if (threadIdx.x == 0) {
    head->pages[tile.turn][0] = PageId(view, key);
    head->pages[tile.turn][1] = split ? PageId(view, value) : head->pages[tile.turn][0];
  }
  tile.value_tier = value.tier;
  tile.value_first = value.first;
  const int32_t values = TileShare(value, view.tiers[value.tier].value_tokens);
  if (values < tile.count) tile.count = values;
  return tile;
}

// Where a tile lies in shared memory. Copies go in units of 16 bytes, so what is wanted begins `offset` bytes behind
// its place.
struct StagedTile {
  int32_t keys;
  int32_t key_meta;
  int32_t values;
  int32_t value_meta;
};

// Bytes of one stage: keys, values and the pairs of both, each with room for a unit cut at both ends.
__device__ __host__ inline int32_t StageMetaBytes(int32_t head_dim) {
  return 4 * kMostTileTokens * ((head_dim + kElementGroup - 1) / kElementGroup) + 2 * kCopyUnit;
}
__device__ __host__ inline int32_t StageBytes(int32_t head_dim) {
  return 2 * (kTileBytes + 2 * kCopyUnit) + 2 * StageMetaBytes(head_dim);
}

// Begins to copy `bytes` bytes by all threads and gives the offset at which they will begin behind `to`.
__device__ __forceinline__ int32_t StageRun(const uint8_t* from, int32_t bytes, uint8_t* to) {
  const auto offset = static_cast<int32_t>(reinterpret_cast<uintptr_t>(from) % kCopyUnit);
  if (bytes == 0) return 0;
  const int32_t units = (offset + bytes + kCopyUnit - 1) / kCopyUnit;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < units; i += static_cast<int32_t>(blockDim.x)) {
    CopyToShared(to + i * kCopyUnit, from - offset + i * kCopyUnit);
  }
  return offset;
}

// `stage`: StageBytes of shared memory, aligned to 16.
__device__ inline StagedTile StageTile(const PageArena& arena, const HeadView& view, const Tile& tile, uint8_t* stage) {
  const int32_t head_dim = arena.geometry.head_dim;
  const int32_t meta_room = StageMetaBytes(head_dim);
  const TierShape& key = view.tiers[tile.key_tier];
  const TierShape& value = view.tiers[tile.value_tier];
  const uint8_t* const key_page = arena.pages + int64_t{view.pages[tile.turn][0]} * arena.page_bytes;
  const uint8_t* const value_page = arena.pages + int64_t{view.pages[tile.turn][1]} * arena.page_bytes;
  StagedTile staged;
  int32_t room = 0;
  staged.keys =
      room + StageRun(key_page + key.keys + tile.key_first * key.key_bytes, tile.count * key.key_bytes, stage + room);
  room += kTileBytes + 2 * kCopyUnit;
  staged.values = room + StageRun(value_page + value.values + tile.value_first * value.value_bytes,
                                  tile.count * value.value_bytes, stage + room);
  room += kTileBytes + 2 * kCopyUnit;
  // The pairs of channel elements belong to the group of tokens that the tile is in.
  const int32_t pairs =
      IsChannel(key.k) ? tile.key_first / kTokenGroup * 4 * head_dim : tile.key_first * key.key_meta_bytes;
  const int32_t pair_bytes = IsChannel(key.k) ? 4 * head_dim : tile.count * key.key_meta_bytes;
  staged.key_meta = room + StageRun(key_page + key.key_meta + pairs, pair_bytes, stage + room);
  room += meta_room;
  staged.value_meta = room + StageRun(value_page + value.value_meta + tile.value_first * value.value_meta_bytes,
                                      tile.count * value.value_meta_bytes, stage + room);
  return staged;
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_PAGED_TILES_CUH_
