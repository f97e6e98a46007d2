// Read statistics of a run of stored keys, block by block in the order of the tokens, so that zeros of either sign fall
// as in gpu/kernels/pages/key_statistics.h.
#ifndef DECANT_GPU_KERNELS_CODEC_KEY_ENDS_CUH_
#define DECANT_GPU_KERNELS_CODEC_KEY_ENDS_CUH_

#include <cstdint>

#include "common/compress/arith/key_range.h"
#include "gpu/kernels/codec/vector_lanes.cuh"

namespace decant {

// The ends of one lane's eight channels.
struct EightEnds {
  KeyEnds channels[kEight];
};

__device__ __forceinline__ void AddKey(const Eight& key, bool first, EightEnds& ends) {
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    ends.channels[i] = first ? EndsOf(key.x[i]) : Widened(ends.channels[i], key.x[i]);
  }
}

// entry: [2, head_dim] bf16 of one block.
__device__ __forceinline__ void StoreEnds(const EightEnds& ends, uint8_t* entry, int32_t head_dim, int32_t part) {
  uint32_t smallest[4];
  uint32_t largest[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const KeyEnds& even = ends.channels[2 * i];
    const KeyEnds& odd = ends.channels[2 * i + 1];
    smallest[i] = uint32_t{even.smallest.bits} | uint32_t{odd.smallest.bits} << 16;
    largest[i] = uint32_t{even.largest.bits} | uint32_t{odd.largest.bits} << 16;
  }
  Store(reinterpret_cast<uint4*>(entry) + part, make_uint4(smallest[0], smallest[1], smallest[2], smallest[3]));
  Store(reinterpret_cast<uint4*>(entry + 2 * head_dim) + part,
        make_uint4(largest[0], largest[1], largest[2], largest[3]));
}
__device__ __forceinline__ EightEnds LoadEnds(const uint8_t* entry, int32_t head_dim, int32_t part) {
  const uint4 low = Load(reinterpret_cast<const uint4*>(entry) + part);
  const uint4 high = Load(reinterpret_cast<const uint4*>(entry + 2 * head_dim) + part);
  const uint32_t smallest[4] = {low.x, low.y, low.z, low.w};
  const uint32_t largest[4] = {high.x, high.y, high.z, high.w};
  EightEnds ends;
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    ends.channels[i].smallest = Bf16{static_cast<uint16_t>(smallest[i / 2] >> (i % 2 * 16))};
    ends.channels[i].largest = Bf16{static_cast<uint16_t>(largest[i / 2] >> (i % 2 * 16))};
  }
  return ends;
}

// keys: [tokens, head_dim] of a full element, written before the block's last barrier. A slot of lanes takes a block.
__device__ inline void WriteKeyEnds(const uint8_t* keys, int32_t tokens, int32_t head_dim, Element element,
                                    uint8_t* statistics) {
  const LanePlace place = PlaceOfLane(head_dim, static_cast<int32_t>(threadIdx.x));
  const int32_t slots = static_cast<int32_t>(blockDim.x) / place.lanes;
  const int32_t blocks = (tokens + kStatisticsBlock - 1) / kStatisticsBlock;
  if (!place.holds) return;
  for (int32_t block = place.slot; block < blocks; block += slots) {
    EightEnds ends;
    for (int32_t t = block * kStatisticsBlock; t < tokens && t < (block + 1) * kStatisticsBlock; ++t) {
      const uint8_t* const key = keys + t * VectorBytes(element, head_dim);
      AddKey(DecodeStored(element, key, nullptr, place.part), t == block * kStatisticsBlock, ends);
    }
    StoreEnds(ends, statistics + int64_t{block} * 4 * head_dim, head_dim, place.part);
  }
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_KEY_ENDS_CUH_
