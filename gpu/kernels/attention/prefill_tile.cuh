// Tiles of queries and keys in shared memory, and their products: what the passes of prefill attention share.
#ifndef DECANT_GPU_KERNELS_ATTENTION_PREFILL_TILE_CUH_
#define DECANT_GPU_KERNELS_ATTENTION_PREFILL_TILE_CUH_

#include <cmath>

#include "common/base/half.h"
#include "gpu/device/multiply_add.cuh"
#include "gpu/device/warp.cuh"
#include "gpu/kernels/attention/prefill_attention.h"
#include "gpu/kernels/nn/row_grid.cuh"

namespace decant {

inline constexpr int32_t kPrefillThreads = 128;

// A tile of kSide queries by kSide keys; each thread has kOwnRows x kOwnKeys of its scores.
template <int32_t kSide>
struct ScoreTile {
  static constexpr int32_t kOwnRows = 2;
  static constexpr int32_t kOwnKeys = kSide * kSide / kPrefillThreads / kOwnRows;
  static constexpr int32_t kKeyStep = kSide / kOwnKeys;  // between a thread's keys, so that neighbours read neighbours
  static constexpr int32_t kRowStep = kSide / kOwnRows;
  static constexpr int32_t kStride = kSide + 1;

  // The thread's i-th row and key.
  static __device__ int32_t Row(int32_t i) { return static_cast<int32_t>(threadIdx.x) / kKeyStep + i * kRowStep; }
  static __device__ int32_t Key(int32_t i) { return static_cast<int32_t>(threadIdx.x) % kKeyStep + i * kKeyStep; }
};

// Of the two sides the larger one that leaves room for wide heads.
inline constexpr int32_t kWideSide = 32;
inline constexpr int32_t kNarrowSide = 16;
inline constexpr int32_t kWideSideDim = 128;

// Floats between rows of a tile; four more than a row keeps neighbours in different banks.
__device__ __host__ inline int32_t TileStride(int32_t head_dim) { return head_dim + 4; }

// Row statistics of the softmax, one for every (query head, query).
struct RowStats {
  float most;
  float inverse;      // 1 / sum
  float subset_most;  // the same over the keys that a replay takes
  float subset_inverse;
};

// kRows rows of `count` are read, zeros stand behind them. `stride`: elements between rows.
template <int32_t kRows>
__device__ inline void LoadQueryTile(const PrefillAttentionArgs& args, int32_t first, int32_t head, float* tile) {
  const int32_t head_dim = args.head_dim;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kRows * head_dim; i += kPrefillThreads) {
    const int32_t row = i / head_dim;
    const int32_t at = i - row * head_dim;
    float x = 0;
    if (first + row < args.queries) {
      x = Load(args.q + (first + row) * args.q_stride + int64_t{head} * head_dim + at);
      if (args.run_type == RunType::kBf16) x = ToFloat(ToBf16(x));
    }
    tile[row * TileStride(head_dim) + at] = x;
  }
}

// Keys or values [first, first + kRows) of a head; zeros from `end` on. The cache's rows, then those that lie apart.
template <typename T, int32_t kRows>
__device__ inline void LoadKeyTile(const PrefillAttentionArgs& args, const void* cache, const void* tail,
                                   int32_t kv_head, int32_t first, int32_t end, float* tile) {
  const int32_t head_dim = args.head_dim;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kRows * head_dim; i += kPrefillThreads) {
    const int32_t row = i / head_dim;
    const int32_t at = i - row * head_dim;
    const int32_t key = first + row;
    float x = 0;
    if (key < end) {
      const bool apart = tail != nullptr && key >= args.tail_from;
      const int64_t place = apart ? kv_head * args.tail_capacity + key - args.tail_from : kv_head * args.capacity + key;
      x = LoadRun(static_cast<const T*>(apart ? tail : cache) + place * head_dim + at);
    }
    tile[row * TileStride(head_dim) + at] = x;
  }
}

// The thread's scores, times the scale.
template <int32_t kSide>
__device__ inline void TileScores(const float* queries, const float* keys, int32_t head_dim, float scale,
                                  float (&scores)[ScoreTile<kSide>::kOwnRows][ScoreTile<kSide>::kOwnKeys]) {
  using Own = ScoreTile<kSide>;
  const int32_t stride = TileStride(head_dim);
  for (int r = 0; r < Own::kOwnRows; ++r) {
    for (int k = 0; k < Own::kOwnKeys; ++k) scores[r][k] = 0;
  }
  for (int32_t i = 0; i < head_dim; i += 4) {
    float4 key[Own::kOwnKeys];
    for (int k = 0; k < Own::kOwnKeys; ++k) key[k] = *reinterpret_cast<const float4*>(keys + Own::Key(k) * stride + i);
    for (int r = 0; r < Own::kOwnRows; ++r) {
      const float4 q = *reinterpret_cast<const float4*>(queries + Own::Row(r) * stride + i);
      for (int k = 0; k < Own::kOwnKeys; ++k) {
        float sum = scores[r][k];
        sum = MultiplyAdd(q.x, key[k].x, sum);
        sum = MultiplyAdd(q.y, key[k].y, sum);
        sum = MultiplyAdd(q.z, key[k].z, sum);
        scores[r][k] = MultiplyAdd(q.w, key[k].w, sum);
      }
    }
  }
  for (int r = 0; r < Own::kOwnRows; ++r) {
    for (int k = 0; k < Own::kOwnKeys; ++k) scores[r][k] *= scale;
  }
}

// Whether a replay's softmax takes a key that the query sees.
__device__ __forceinline__ bool InSubset(const PrefillAttentionArgs& args, int32_t key) {
  return key < args.replay.sinks || (key >= args.replay.begin && key < args.replay.end) || key >= args.tail_from;
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_PREFILL_TILE_CUH_
