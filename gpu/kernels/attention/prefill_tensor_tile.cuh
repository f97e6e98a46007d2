// Tiles of queries, keys and values in shared memory as tensor cores take them, and their products: what the passes of
// prefill attention in bf16 share.
#ifndef DECANT_GPU_KERNELS_ATTENTION_PREFILL_TENSOR_TILE_CUH_
#define DECANT_GPU_KERNELS_ATTENTION_PREFILL_TENSOR_TILE_CUH_

#include "gpu/device/async_copy.cuh"
#include "gpu/device/tensor_core.cuh"
#include "gpu/kernels/attention/prefill_tile.cuh"

namespace decant {

// A word holds two elements. Rows of queries and keys have neighbours of one row in a word; of values, two rows in a
// word of one element, since the product with weights goes along the rows. Both strides keep the lanes of a product in
// different banks.
template <int kDim>
struct TensorTile {
  static constexpr int32_t kWarpRows = 16;  // of a product
  static constexpr int32_t kRows = kPrefillThreads / kWarpLanes * kWarpRows;
  static constexpr int32_t kKeys = kDim <= 128 ? 64 : 32;  // of a step of attention
  static constexpr int32_t kStride = kDim / 2 + 4;
  static constexpr int32_t kPairStride = kDim + 8;
  static constexpr int32_t kWords = kRows * kStride;  // of a tile of queries, or of keys that are owned
  static constexpr int32_t kAttendBytes = 4 * (kWords + kKeys * kStride + kKeys / 2 * kPairStride);
  static constexpr int32_t kColumnBytes = 4 * (2 * kWords + 2 * kRows);
};

// The bf16 row of a key or value, in the cache or apart.
__device__ const __forceinline__ Bf16* RowOf(const PrefillAttentionArgs& args, const void* cache, const void* tail,
                                             int32_t kv_head, int32_t key) {
  const bool apart = tail != nullptr && key >= args.tail_from;
  const int64_t place = apart ? kv_head * args.tail_capacity + key - args.tail_from : kv_head * args.capacity + key;
  return static_cast<const Bf16*>(apart ? tail : cache) + place * args.head_dim;
}

// Queries [first, first + kRows) of a head, rounded to bf16; zeros behind the last.
template <int kDim>
__device__ inline void LoadQueryWords(const PrefillAttentionArgs& args, int32_t first, int32_t head, uint32_t* tile) {
  constexpr int32_t kPieces = kDim / 4;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < TensorTile<kDim>::kRows * kPieces; i += kPrefillThreads) {
    const int32_t row = i / kPieces;
    const int32_t at = i % kPieces * 4;
    float4 x = make_float4(0, 0, 0, 0);
    if (first + row < args.queries) {
      x = Load(reinterpret_cast<const float4*>(args.q + (first + row) * args.q_stride + int64_t{head} * kDim + at));
    }
    *reinterpret_cast<uint2*>(tile + row * TensorTile<kDim>::kStride + at / 2) =
        make_uint2(PackBf16(x.x, x.y), PackBf16(x.z, x.w));
  }
}

// Keys [first, first + rows) of a head; zeros from `end` on. They are there after WaitForCopies and a barrier.
template <int kDim>
__device__ inline void LoadKeyWords(const PrefillAttentionArgs& args, int32_t kv_head, int32_t first, int32_t end,
                                    int32_t rows, uint32_t* tile) {
  constexpr int32_t kPieces = kDim / 8;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < rows * kPieces; i += kPrefillThreads) {
    const int32_t row = i / kPieces;
    const int32_t piece = i % kPieces;
    uint32_t* const to = tile + row * TensorTile<kDim>::kStride + piece * 4;
    if (first + row < end) {
      CopyToShared(to, RowOf(args, args.k, args.tail_k, kv_head, first + row) + piece * 8);
    } else {
      *reinterpret_cast<uint4*>(to) = make_uint4(0, 0, 0, 0);
    }
  }
}

// The elements of two rows side by side.
__device__ __forceinline__ uint4 Interleave(uint32_t a, uint32_t b, uint32_t more_a, uint32_t more_b) {
  return make_uint4((a & 0xffffu) | b << 16, a >> 16 | (b & 0xffff0000u), (more_a & 0xffffu) | more_b << 16,
                    more_a >> 16 | (more_b & 0xffff0000u));
}

// Values [first, first + kKeys) of a head in pairs of rows; zeros from `end` on.
template <int kDim>
__device__ inline void LoadValuePairs(const PrefillAttentionArgs& args, int32_t kv_head, int32_t first, int32_t end,
                                      uint32_t* tile) {
  constexpr int32_t kPieces = kDim / 8;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < TensorTile<kDim>::kKeys / 2 * kPieces; i += kPrefillThreads) {
    const int32_t pair = i / kPieces;
    const int32_t piece = i % kPieces;
    const int32_t key = first + 2 * pair;
    uint4 a = make_uint4(0, 0, 0, 0);
    uint4 b = a;
    if (key < end) {
      a = Load(reinterpret_cast<const uint4*>(RowOf(args, args.v, args.tail_v, kv_head, key) + piece * 8));
    }
    if (key + 1 < end) {
      b = Load(reinterpret_cast<const uint4*>(RowOf(args, args.v, args.tail_v, kv_head, key + 1) + piece * 8));
    }
    auto* const to = reinterpret_cast<uint4*>(tile + pair * TensorTile<kDim>::kPairStride + piece * 8);
    to[0] = Interleave(a.x, b.x, a.y, b.y);
    to[1] = Interleave(a.z, b.z, a.w, b.w);
  }
}

// s [16, 8 kTiles] = rows of `a` times rows of `b`; n-th tile of the lane as MultiplyBf16's c.
template <int kDim, int kTiles>
__device__ __forceinline__ void MultiplyRows(const uint32_t* a, const uint32_t* b, float (&s)[kTiles][4]) {
  constexpr int32_t kStride = TensorTile<kDim>::kStride;
  const int32_t row = LaneOf() / 4;
  const int32_t column = LaneOf() % 4;
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    for (int i = 0; i < 4; ++i) s[n][i] = 0;
  }
#pragma unroll 4
  for (int k = 0; k < kDim / 16; ++k) {
    const uint32_t* const left = a + row * kStride + k * 8 + column;
    const uint32_t rows[4] = {left[0], left[8 * kStride], left[4], left[8 * kStride + 4]};
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const uint32_t* const right = b + (n * 8 + row) * kStride + k * 8 + column;
      const uint32_t columns[2] = {right[0], right[4]};
      MultiplyBf16(s[n], rows, columns);
    }
  }
}

// out [16, kDim] += weights [16, 8 kTiles], rounded to bf16, times values.
template <int kDim, int kTiles>
__device__ __forceinline__ void AddWeighted(const float (&weights)[kTiles][4], const uint32_t* values,
                                            float (&out)[kDim / 8][4]) {
  constexpr int32_t kStride = TensorTile<kDim>::kPairStride;
  const int32_t row = LaneOf() / 4;
  const int32_t column = LaneOf() % 4;
#pragma unroll
  for (int j = 0; j < kTiles / 2; ++j) {
    const float(&low)[4] = weights[2 * j];
    const float(&high)[4] = weights[2 * j + 1];
    const uint32_t rows[4] = {PackBf16(low[0], low[1]), PackBf16(low[2], low[3]), PackBf16(high[0], high[1]),
                              PackBf16(high[2], high[3])};
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      const uint32_t* const at = values + (j * 8 + column) * kStride + n * 8 + row;
      const uint32_t columns[2] = {at[0], at[4 * kStride]};
      MultiplyBf16(out[n], rows, columns);
    }
  }
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_PREFILL_TENSOR_TILE_CUH_
