// The steps of a tile in plain arithmetic, for every format, head_dim and group.
#ifndef DECANT_GPU_KERNELS_ATTENTION_DECODE_PLAIN_STEPS_CUH_
#define DECANT_GPU_KERNELS_ATTENTION_DECODE_PLAIN_STEPS_CUH_

#include "gpu/kernels/attention/decode_block.cuh"

namespace decant {

// Positions at which a tile's keys before rope are read. `n`: the tile's first token, whose place is its position where
// pages store none.
__device__ inline void TilePositions(const DecodeAttentionArgs& args, const DecodeBlock& block, const Tile& tile,
                                     int32_t n) {
  const HeadView& view = *block.view;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  if (thread < tile.count) {
    const TierShape& shape = view.tiers[tile.key_tier];
    int32_t position = n + thread;
    if (shape.tracked != 0) {
      const uint8_t* const page = args.arena.pages + int64_t{view.pages[tile.turn][0]} * args.arena.page_bytes;
      position = Load(reinterpret_cast<const int32_t*>(page + shape.positions) + tile.key_first + thread);
    }
    block.positions[thread] = ReadPosition(view.rows(), position, SinkShift(view.rows(), view.head()));
  }
  __syncthreads();
}

template <int kHeads>
__device__ void RotatedLogitsOfTile(const DecodeAttentionArgs& args, const DecodeBlock& block, const uint8_t* stage,
                                    const StagedTile& staged, const Tile& tile, int32_t n) {
  const TierShape& shape = block.view->tiers[tile.key_tier];
  TilePositions(args, block, tile, n);
#define DECANT_CASE(element) \
  case Element::element:     \
    return RotatedLogits<Element::element, kHeads>(block, stage, staged, tile.count, shape.key_bytes, args.angles);
  switch (shape.k) {
    DECANT_CASE(kF32)
    DECANT_CASE(kBf16)
    DECANT_CASE(kAffine8)
    DECANT_CASE(kAffine4)
    DECANT_CASE(kAffine2)
    DECANT_CASE(kAffine1)
    default:
      return;
  }
#undef DECANT_CASE
}

template <int kHeads>
__device__ void LogitsOfTile(const DecodeBlock& block, const uint8_t* stage, const StagedTile& staged,
                             const Tile& tile) {
  const TierShape& shape = block.view->tiers[tile.key_tier];
#define DECANT_CASE(element)                                                                       \
  case Element::element:                                                                           \
    return TileLogits<Element::element, kHeads>(block, stage, staged, tile.count, shape.key_bytes, \
                                                shape.key_meta_bytes);
  switch (shape.k) {
    DECANT_CASE(kF32)
    DECANT_CASE(kBf16)
    DECANT_CASE(kAffine8)
    DECANT_CASE(kAffine4)
    DECANT_CASE(kAffine2)
    DECANT_CASE(kAffine1)
    DECANT_CASE(kGroup4)
    DECANT_CASE(kGroup2)
    DECANT_CASE(kChannel4)
    DECANT_CASE(kChannel2)
    case Element::kNone:
      return;
  }
#undef DECANT_CASE
}

template <int kHeads>
__device__ void ValuesOfTile(const DecodeBlock& block, const ValueShare& share, const uint8_t* stage,
                             const StagedTile& staged, const Tile& tile, float* sums) {
  const TierShape& shape = block.view->tiers[tile.value_tier];
#define DECANT_CASE(element)                                                                                \
  case Element::element:                                                                                    \
    return TileValues<Element::element, kHeads>(block, share, stage, staged, tile.count, shape.value_bytes, \
                                                shape.value_meta_bytes, sums);
  switch (shape.v) {
    DECANT_CASE(kF32)
    DECANT_CASE(kBf16)
    DECANT_CASE(kAffine8)
    DECANT_CASE(kAffine4)
    DECANT_CASE(kAffine2)
    DECANT_CASE(kAffine1)
    DECANT_CASE(kGroup4)
    DECANT_CASE(kGroup2)
    default:
      return;
  }
#undef DECANT_CASE
}

// What AttendSplits asks of a way to compute a tile. kPadding: heads are padded to a multiple of it. kBlocksAtOnce: of
// a processor, with registers enough for each that none are spilled.
template <int kHeads>
struct PlainSteps {
  static constexpr int32_t kPadding = kHeads;
  static constexpr int32_t kBlocksAtOnce = 3;

  __device__ explicit PlainSteps(const DecodeBlock& block) : share(ShareOf<kHeads>(block)) {}
  // The queries stand in another form.
  __device__ void TakeQueries(const DecodeBlock&) {}
  __device__ void Logits(const DecodeBlock& block, const uint8_t* stage, const StagedTile& staged, const Tile& tile) {
    LogitsOfTile<kHeads>(block, stage, staged, tile);
  }
  __device__ void Values(const DecodeBlock& block, const uint8_t* stage, const StagedTile& staged, const Tile& tile) {
    ValuesOfTile<kHeads>(block, share, stage, staged, tile, sums);
  }
  // [heads, head_dim] in shared memory; ends with a barrier.
  __device__ const float* Output(const DecodeBlock& block) { return SliceSums<kHeads>(block, share, sums); }

  const ValueShare share;
  float sums[kHeads * kChunk] = {};
};

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_DECODE_PLAIN_STEPS_CUH_
