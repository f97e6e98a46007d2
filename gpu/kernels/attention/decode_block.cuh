// What a block of decode attention holds while it goes through the tiles of its tokens, and the steps of a tile:
// logits, softmax so far, values.
#ifndef DECANT_GPU_KERNELS_ATTENTION_DECODE_BLOCK_CUH_
#define DECANT_GPU_KERNELS_ATTENTION_DECODE_BLOCK_CUH_

#include <cmath>

#include "common/compress/arith/key_shape.h"
#include "common/compress/arith/read_position.h"
#include "gpu/device/multiply_add.cuh"
#include "gpu/kernels/attention/decode_attention.h"
#include "gpu/kernels/attention/decode_chunk.cuh"
#include "gpu/kernels/attention/paged_tiles.cuh"

namespace decant {

inline constexpr int32_t kBlockThreads = 128;
inline constexpr int32_t kBlockWarps = kBlockThreads / kWarpLanes;
// Lanes that share a token's key, and tokens that such a team takes at once.
inline constexpr int32_t kTeamLanes = 8;
inline constexpr int32_t kTeams = kBlockThreads / kTeamLanes;
inline constexpr int32_t kTeamTokens = kMostTileTokens / kTeams;

// Shared memory of a block; heads are padded to `heads`, whose queries and weights are 0 behind the group.
struct DecodeBlock {
  int32_t group;
  int32_t heads;
  int32_t head_dim;
  uint8_t* stages;     // two of StageBytes
  float* queries;      // [heads, head_dim] in the form of the tile's keys, times the scale
  float* fragments;    // the queries as tensor cores take them (decode_tensor_steps.cuh)
  float* sums;         // [heads] of queries
  float* logits;       // [heads, kMostTileTokens]
  float* weights;      // [kMostTileTokens, heads], times the values' scales
  float* scales;       // [heads]: what earlier sums are multiplied by
  float* most;         // [heads]: largest logit so far
  float* total;        // [heads]: sum of weights so far
  float* zeros;        // [heads]: sum of weights x the values' zeros
  int32_t* positions;  // [kMostTileTokens] at which keys before rope are read
  HeadView* view;
};

// Two numbers a lane for every 8 elements, twice from 5 heads on.
__device__ __host__ inline int32_t FragmentFloats(int32_t heads, int32_t head_dim) {
  return (heads + 3) / 4 * ((head_dim + 31) / 32 * 4) * 2 * kWarpLanes;
}

__device__ __host__ inline int32_t DecodeBlockBytes(int32_t heads, int32_t head_dim) {
  return 4 * FragmentFloats(heads, head_dim) + 2 * StageBytes(head_dim) +
         4 * (heads * head_dim + 2 * heads * kMostTileTokens + 5 * heads + kMostTileTokens) +
         static_cast<int32_t>(sizeof(HeadView)) + kCopyUnit;
}

__device__ inline DecodeBlock CarveBlock(uint8_t* shared, int32_t group, int32_t heads, int32_t head_dim) {
  DecodeBlock block;
  block.group = group;
  block.heads = heads;
  block.head_dim = head_dim;
  block.view = reinterpret_cast<HeadView*>(shared);
  block.stages = shared + (sizeof(HeadView) + kCopyUnit - 1) / kCopyUnit * kCopyUnit;
  block.queries = reinterpret_cast<float*>(block.stages + 2 * StageBytes(head_dim));
  block.fragments = block.queries + heads * head_dim;
  block.logits = block.fragments + FragmentFloats(heads, head_dim);
  block.weights = block.logits + heads * kMostTileTokens;
  block.sums = block.weights + heads * kMostTileTokens;
  block.scales = block.sums + heads;
  block.most = block.scales + heads;
  block.total = block.most + heads;
  block.zeros = block.total + heads;
  block.positions = reinterpret_cast<int32_t*>(block.zeros + heads);
  return block;
}

// block.queries = the group's queries in the form of a tier's keys, by all threads; ends with a barrier. The steps are
// those of ShapeQuery.
__device__ inline void ShapeQueries(const DecodeBlock& block, const float* q, const KeyForm& form, const float* balance,
                                    float scale) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t head_dim = block.head_dim;
  const int32_t order = HadamardOrder(form);
  const float spread = HadamardScale(order);
  __syncthreads();
  for (int32_t i = thread; i < block.heads * head_dim; i += kBlockThreads) {
    float x = i < block.group * head_dim ? Load(q + i) : 0.0f;
    if (form.balanced != 0) x /= Load(balance + i % head_dim);
    if (order > 1) x *= spread;
    block.queries[i] = x;
  }
  __syncthreads();
  for (int32_t distance = 1; distance < order; distance *= 2) {
    for (int32_t pair = thread; pair < block.group * head_dim / 2; pair += kBlockThreads) {
      float* const x = block.queries + pair / distance * 2 * distance + pair % distance;
      const float a = x[0];
      const float b = x[distance];
      x[0] = a + b;
      x[distance] = a - b;
    }
    __syncthreads();
  }
  for (int32_t i = thread; i < block.heads * head_dim; i += kBlockThreads) block.queries[i] *= scale;
  __syncthreads();
  const int32_t lane = thread % kWarpLanes;
  for (int32_t h = thread / kWarpLanes; h < block.heads; h += kBlockWarps) {
    float sum = 0;
    for (int32_t i = lane; i < head_dim; i += kWarpLanes) sum += block.queries[h * head_dim + i];
    for (int32_t step = kWarpLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(kAllLanes, sum, step);
    if (lane == 0) block.sums[h] = sum;
  }
  __syncthreads();
}

// Sums kCount values over a team of kDistance x 2 lanes. While there are several, a lane keeps half of them, so that in
// the end every lane has the sums of its own few: those from `first` on.
template <int kCount, int kDistance>
__device__ __forceinline__ void TeamSums(float* values, int32_t lane, int32_t* first) {
  if constexpr (kDistance > 0) {
    if constexpr (kCount > 1) {
      constexpr int kHalf = kCount / 2;
      const bool upper = (lane & kDistance) != 0;
#pragma unroll
      for (int i = 0; i < kHalf; ++i) {
        const float given = upper ? values[i] : values[i + kHalf];
        const float kept = upper ? values[i + kHalf] : values[i];
        values[i] = kept + __shfl_xor_sync(kAllLanes, given, kDistance);
      }
      if (upper) *first += kHalf;
      TeamSums<kHalf, kDistance / 2>(values, lane, first);
    } else {
      values[0] += __shfl_xor_sync(kAllLanes, values[0], kDistance);
      TeamSums<1, kDistance / 2>(values, lane, first);
    }
  }
}

// Stores what a team has summed up, `acc` [kTeamTokens][kHeads], for heads from `head` on.
template <int kHeads>
__device__ __forceinline__ void StoreLogits(const DecodeBlock& block, float* acc, int32_t head, int32_t count,
                                            const uint32_t* pairs, int32_t bits) {
  constexpr int kCount = kTeamTokens * kHeads;
  constexpr int kKept = kCount / kTeamLanes > 0 ? kCount / kTeamLanes : 1;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  int32_t first = 0;
  TeamSums<kCount, kTeamLanes / 2>(acc, thread, &first);
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const int32_t token = thread / kTeamLanes + (first + i) / kHeads * kTeams;
    const int32_t h = head + (first + i) % kHeads;
    if (token >= count) continue;
    float logit = acc[i];
    if (pairs != nullptr) {
      float scale, zero;
      PairFloats(pairs[token], bits, &scale, &zero);
      logit = MultiplyAdd(scale, logit, zero * block.sums[h]);
    }
    block.logits[h * kMostTileTokens + token] = logit;
  }
}

// block.logits of a tile: query . key of every token.
template <Element kElement, int kHeads>
__device__ void TileLogits(const DecodeBlock& block, const uint8_t* stage, const StagedTile& staged, int32_t count,
                           int32_t key_bytes, int32_t key_meta_bytes) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t team = thread / kTeamLanes;
  const int32_t chunks = block.head_dim / kChunk;
  const uint8_t* const keys = stage + staged.keys;
  const uint8_t* const meta = stage + staged.key_meta;
  for (int32_t head = 0; head < block.heads; head += kHeads) {
    float acc[kTeamTokens * kHeads] = {};
    for (int32_t index = thread % kTeamLanes; index < chunks; index += kTeamLanes) {
      float q[kHeads][kChunk];
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        const auto* from = reinterpret_cast<const float4*>(block.queries + (head + h) * block.head_dim) + 2 * index;
        const float4 low = from[0];
        const float4 high = from[1];
        q[h][0] = low.x, q[h][1] = low.y, q[h][2] = low.z, q[h][3] = low.w;
        q[h][4] = high.x, q[h][5] = high.y, q[h][6] = high.z, q[h][7] = high.w;
      }
#pragma unroll
      for (int r = 0; r < kTeamTokens; ++r) {
        const int32_t token = team + r * kTeams;
        if (token >= count) continue;
        float x[kChunk];
        DecodeChunk<kElement>(keys + token * key_bytes, meta + token * key_meta_bytes, index, x);
#pragma unroll
        for (int h = 0; h < kHeads; ++h) {
          float dot = acc[r * kHeads + h];
#pragma unroll
          for (int i = 0; i < kChunk; ++i) dot = MultiplyAdd(x[i], q[h][i], dot);
          acc[r * kHeads + h] = dot;
        }
      }
    }
    StoreLogits<kHeads>(block, acc, head, count,
                        HasTokenPair(kElement) ? reinterpret_cast<const uint32_t*>(meta) : nullptr,
                        ElementBits(kElement));
  }
}

// The same for keys before rope. Rotating a key and multiplying it with a query is multiplying it with the query
// rotated back.
template <Element kElement, int kHeads>
__device__ void RotatedLogits(const DecodeBlock& block, const uint8_t* stage, const StagedTile& staged, int32_t count,
                              int32_t key_bytes, const float* angles) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t team = thread / kTeamLanes;
  const int32_t half = block.head_dim / 2;
  const uint8_t* const keys = stage + staged.keys;
  const auto* const pairs = reinterpret_cast<const uint32_t*>(stage + staged.key_meta);
  for (int32_t head = 0; head < block.heads; head += kHeads) {
    float acc[kTeamTokens * kHeads] = {};
#pragma unroll
    for (int r = 0; r < kTeamTokens; ++r) {
      const int32_t token = team + r * kTeams;
      if (token >= count) continue;
      float scale = 1;
      float zero = 0;
      if (HasTokenPair(kElement)) PairFloats(pairs[token], ElementBits(kElement), &scale, &zero);
      const float* const row = angles + int64_t{block.positions[token]} * block.head_dim;
      for (int32_t index = thread % kTeamLanes; index < block.head_dim / kChunk; index += kTeamLanes) {
        float x[kChunk];
        DecodeChunk<kElement>(keys + token * key_bytes, nullptr, index, x);
#pragma unroll
        for (int i = 0; i < kChunk; ++i) {
          const int32_t at = index * kChunk + i;
          const bool low = at < half;
          const float c = Load(row + (low ? at : at - half));
          const float s = Load(row + (low ? at + half : at));
          const float key = HasTokenPair(kElement) ? x[i] * scale + zero : x[i];
#pragma unroll
          for (int h = 0; h < kHeads; ++h) {
            const float* const q = block.queries + (head + h) * block.head_dim;
            const float turned = low ? q[at] * c + q[at + half] * s : q[at] * c - q[at - half] * s;
            acc[r * kHeads + h] = MultiplyAdd(key, turned, acc[r * kHeads + h]);
          }
        }
      }
    }
    StoreLogits<kHeads>(block, acc, head, count, nullptr, 0);
  }
}

// Turns block.logits into block.weights and takes them into the sums so far. `pairs`: of values with one pair each,
// else null; `bits` those of their codes.
__device__ inline void TileSoftmax(const DecodeBlock& block, int32_t count, const uint32_t* pairs, int32_t bits) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t lane = thread % kWarpLanes;
  for (int32_t h = thread / kWarpLanes; h < block.group; h += kBlockWarps) {
    float logit[kMostTileTokens / kWarpLanes];
    float most = block.most[h];
    const float before = most;
#pragma unroll
    for (int i = 0; i < kMostTileTokens / kWarpLanes; ++i) {
      const int32_t token = lane + i * kWarpLanes;
      logit[i] = token < count ? block.logits[h * kMostTileTokens + token] : LowestFloat();
      most = fmaxf(most, logit[i]);
    }
    for (int32_t step = kWarpLanes / 2; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, step));
    float sum = 0;
    float zeros = 0;
#pragma unroll
    for (int i = 0; i < kMostTileTokens / kWarpLanes; ++i) {
      const int32_t token = lane + i * kWarpLanes;
      if (token >= count) continue;
      const float weight = expf(logit[i] - most);
      float scale = 1;
      float zero = 0;
      if (pairs != nullptr) PairFloats(pairs[token], bits, &scale, &zero);
      sum += weight;
      zeros = MultiplyAdd(weight, zero, zeros);
      block.weights[token * block.heads + h] = weight * scale;
    }
    for (int32_t step = kWarpLanes / 2; step > 0; step /= 2) {
      sum += __shfl_xor_sync(kAllLanes, sum, step);
      zeros += __shfl_xor_sync(kAllLanes, zeros, step);
    }
    if (lane == 0) {
      const float scale = expf(before - most);
      block.most[h] = most;
      block.scales[h] = scale;
      block.total[h] = block.total[h] * scale + sum;
      block.zeros[h] = block.zeros[h] * scale + zeros;
    }
    __syncwarp();
  }
}

// The tile's logits to `keep` [count, group].
__device__ inline void KeepLogits(const DecodeBlock& block, int32_t count, float* keep) {
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < count * block.group; i += kBlockThreads) {
    Store(keep + i, block.logits[i % block.group * kMostTileTokens + i / block.group]);
  }
}

// Where a thread's sums of values belong: a chunk of elements, some heads, and every `slices`-th token.
struct ValueShare {
  int32_t index;
  int32_t head;
  int32_t slice;
  int32_t slices;  // 0: the thread has no share
};

template <int kHeads>
__device__ __forceinline__ ValueShare ShareOf(const DecodeBlock& block) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t chunks = block.head_dim / kChunk;
  const int32_t unit = chunks * (block.heads / kHeads);
  ValueShare share;
  share.slices = kBlockThreads / unit;
  share.slice = thread / unit;
  share.head = thread % unit / chunks * kHeads;
  share.index = thread % chunks;
  if (share.slice >= share.slices) share.slices = 0;
  return share;
}

// sums[kHeads][kChunk] = sums x scales + weights x values of a tile.
template <Element kElement, int kHeads>
__device__ void TileValues(const DecodeBlock& block, const ValueShare& share, const uint8_t* stage,
                           const StagedTile& staged, int32_t count, int32_t value_bytes, int32_t value_meta_bytes,
                           float* sums) {
  if (share.slices == 0) return;
  const uint8_t* const values = stage + staged.values;
  const uint8_t* const meta = stage + staged.value_meta;
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    const float scale = block.scales[share.head + h];
#pragma unroll
    for (int i = 0; i < kChunk; ++i) sums[h * kChunk + i] *= scale;
  }
  for (int32_t token = share.slice; token < count; token += share.slices) {
    float x[kChunk];
    DecodeChunk<kElement>(values + token * value_bytes, meta + token * value_meta_bytes, share.index, x);
    const float* const weights = block.weights + token * block.heads + share.head;
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      const float weight = weights[h];
#pragma unroll
      for (int i = 0; i < kChunk; ++i) sums[h * kChunk + i] = MultiplyAdd(weight, x[i], sums[h * kChunk + i]);
    }
  }
}

// The slices' sums, added up one after the other: the group's weighted sums of values [heads, head_dim] in shared
// memory, over the stages. Ends with a barrier.
template <int kHeads>
__device__ inline float* SliceSums(const DecodeBlock& block, const ValueShare& share, const float* sums) {
  auto* const out = reinterpret_cast<float*>(block.stages);
  const int32_t all = kBlockThreads / (block.head_dim / kChunk * (block.heads / kHeads));
  for (int32_t slice = 0; slice < all; ++slice) {
    __syncthreads();
    if (share.slices == 0 || share.slice != slice) continue;
    for (int h = 0; h < kHeads; ++h) {
      for (int i = 0; i < kChunk; ++i) {
        float* const to = out + (share.head + h) * block.head_dim + share.index * kChunk + i;
        *to = slice == 0 ? sums[h * kChunk + i] : *to + sums[h * kChunk + i];
      }
    }
  }
  __syncthreads();
  return out;
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_DECODE_BLOCK_CUH_
