// The passes of prefill_attention_cuda.cu for bf16 on tensor cores. A warp has 16 rows of a product: queries where the
// softmax goes along the keys, keys where they receive from queries. Scores are exact products of bf16 summed in f32,
// as in plain arithmetic; weights are rounded to bf16 before they meet the values, what they are divided by is not.
#include "common/base/check.h"
#include "gpu/kernels/attention/prefill_cuda.h"
#include "gpu/kernels/attention/prefill_tensor_tile.cuh"

namespace decant {
namespace {

// Of the two rows of products that a lane has a part of.
struct LaneSoftmax {
  float most[2] = {LowestFloat(), LowestFloat()};
  float sum[2] = {0, 0};
};

// Takes a tile's scores into the softmax of the lane's rows; the four lanes of a row do it together. `counts(row, key)`
// with the row of the two and the key in the tile. Scores become weights where kWeights; `factors` are what earlier
// weights are multiplied by.
template <bool kWeights, int kTiles, typename Counts>
__device__ __forceinline__ void TakeTile(float (&scores)[kTiles][4], const Counts& counts, LaneSoftmax* softmax,
                                         float (&factors)[2]) {
  const int32_t column = LaneOf() % 4 * 2;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float most = softmax->most[r];
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (counts(r, n * 8 + column + i)) most = fmaxf(most, scores[n][2 * r + i]);
      }
    }
    most = WarpMax(most, 4);
    // A row that has seen no key yet has no largest score to be relative to.
    factors[r] = softmax->most[r] > LowestFloat() ? expf(softmax->most[r] - most) : 0.0f;
    float sum = 0;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& score = scores[n][2 * r + i];
        const float weight = counts(r, n * 8 + column + i) ? expf(score - most) : 0.0f;
        sum += weight;
        if (kWeights) score = weight;
      }
    }
    softmax->sum[r] = softmax->sum[r] * factors[r] + WarpSum(sum, 4);
    softmax->most[r] = most;
  }
}

__device__ __forceinline__ float Inverse(float sum) { return sum > 0 ? 1.0f / sum : 0.0f; }

// A block for every (tile of queries, query head); the last tiles see the most keys and go first.
template <int kDim>
__global__ void __launch_bounds__(kPrefillThreads, kDim <= 128 ? 3 : 2)
    AttendOnTensorCores(PrefillAttentionArgs args, RowStats* stats) {
  using Own = TensorTile<kDim>;
  constexpr int kTiles = Own::kKeys / 8;
  DECANT_DYN_SHARED(uint32_t, shared);
  uint32_t* const queries = shared;
  uint32_t* const keys = queries + Own::kWords;
  uint32_t* const values = keys + Own::kKeys * Own::kStride;
  const auto head = static_cast<int32_t>(blockIdx.y);
  const int32_t kv_head = head / (args.q_heads / args.kv_heads);
  const int32_t first = static_cast<int32_t>(gridDim.x - 1 - blockIdx.x) * Own::kRows;
  const int32_t rows = args.queries - first < Own::kRows ? args.queries - first : Own::kRows;
  const int32_t end = args.first_query + first + rows;  // of the keys that any row sees
  const int32_t warp_row = WarpOf() * Own::kWarpRows;
  const int32_t row = warp_row + LaneOf() / 4;  // and 8 further on
  const int32_t warp_end = args.first_query + first + warp_row + Own::kWarpRows;
  int32_t limits[2];
  for (int r = 0; r < 2; ++r) limits[r] = row + 8 * r < rows ? args.first_query + first + row + 8 * r + 1 : 0;

  LaneSoftmax softmax;
  LaneSoftmax subset;
  float out[kDim / 8][4] = {};
  LoadQueryWords<kDim>(args, first, head, queries);
  for (int32_t key = 0; key < end; key += Own::kKeys) {
    __syncthreads();
    LoadKeyWords<kDim>(args, kv_head, key, end, Own::kKeys, keys);
    if (args.out != nullptr) LoadValuePairs<kDim>(args, kv_head, key, end, values);
    WaitForCopies();
    __syncthreads();
    if (warp_row >= rows || key >= warp_end) continue;  // no row of the warp sees them
    float scores[kTiles][4];
    MultiplyRows<kDim>(queries + warp_row * Own::kStride, keys, scores);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      for (int i = 0; i < 4; ++i) scores[n][i] *= args.scale;
    }
    float factors[2];
    if (args.replay.peaks != nullptr) {
      TakeTile<false>(
          scores, [&](int r, int32_t i) { return key + i < limits[r] && InSubset(args, key + i); }, &subset, factors);
    }
    TakeTile<true>(
        scores, [&](int r, int32_t i) { return key + i < limits[r]; }, &softmax, factors);
    if (args.out == nullptr) continue;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      for (int i = 0; i < 4; ++i) out[n][i] *= factors[i / 2];
    }
    AddWeighted<kDim>(scores, values, out);
  }
  for (int r = 0; r < 2; ++r) {
    if (row + 8 * r >= rows) continue;
    const float inverse = Inverse(softmax.sum[r]);
    const int32_t query = first + row + 8 * r;
    if (LaneOf() % 4 == 0) {
      Store(reinterpret_cast<float4*>(stats + int64_t{head} * args.queries + query),
            make_float4(softmax.most[r], inverse, subset.most[r], Inverse(subset.sum[r])));
    }
    if (args.out == nullptr) continue;
    float* const to = args.out + query * args.out_stride + int64_t{head} * kDim + LaneOf() % 4 * 2;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      Store(reinterpret_cast<float2*>(to + n * 8), make_float2(out[n][2 * r] * inverse, out[n][2 * r + 1] * inverse));
    }
  }
}

// Goes through the queries [from, args.queries) of a head in order for the keys of the tile that the block owns:
// `receive(row, query, score, most, inverse)` hears of every score of the lane's two keys, with the query's softmax
// over all keys or, where kSubset, over a replay's. `queries` has room for a tile and its statistics.
template <int kDim, bool kSubset, typename Receive>
__device__ __forceinline__ void OverQueries(const PrefillAttentionArgs& args, const RowStats* stats, int32_t head,
                                            int32_t from, const uint32_t* keys, uint32_t* queries,
                                            const Receive& receive) {
  using Own = TensorTile<kDim>;
  constexpr int kTiles = Own::kRows / 8;
  auto* const row_stats = reinterpret_cast<float*>(queries + Own::kWords);  // [kRows] largest, inverse
  const auto thread = static_cast<int32_t>(threadIdx.x);
  for (int32_t first = from / Own::kRows * Own::kRows; first < args.queries; first += Own::kRows) {
    __syncthreads();
    LoadQueryWords<kDim>(args, first, head, queries);
    if (thread < Own::kRows && first + thread < args.queries) {
      const float4 row = Load(reinterpret_cast<const float4*>(stats + int64_t{head} * args.queries + first + thread));
      row_stats[thread] = kSubset ? row.z : row.x;
      row_stats[Own::kRows + thread] = kSubset ? row.w : row.y;
    }
    WaitForCopies();  // of the keys, the first time
    __syncthreads();
    float scores[kTiles][4];
    MultiplyRows<kDim>(keys + WarpOf() * Own::kWarpRows * Own::kStride, queries, scores);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int32_t at = n * 8 + LaneOf() % 4 * 2 + i % 2;
        if (first + at >= args.queries) continue;
        receive(i / 2, first + at, scores[n][i] * args.scale, row_stats[at], row_stats[Own::kRows + at]);
      }
    }
  }
}

// A block for every (tile of keys, query head): adds the attention that its keys receive to sums[source].
template <int kDim>
__global__ void __launch_bounds__(kPrefillThreads, kDim <= 128 ? 3 : 2)
    AddColumnsOnTensorCores(PrefillAttentionArgs args, const RowStats* stats, int32_t source) {
  using Own = TensorTile<kDim>;
  DECANT_DYN_SHARED(uint32_t, shared);
  const auto head = static_cast<int32_t>(blockIdx.y);
  const int32_t first_key = static_cast<int32_t>(blockIdx.x) * Own::kRows;
  const int32_t end = args.first_query + args.queries;
  const AttentionSums& sums = args.sums[source];
  // The first query that counts for any key of the tile.
  const int32_t from = first_key > sums.from ? first_key : sums.from;
  const int32_t skipped = from > args.first_query ? from - args.first_query : 0;
  if (skipped >= args.queries) return;
  LoadKeyWords<kDim>(args, head / (args.q_heads / args.kv_heads), first_key, end, Own::kRows, shared);
  const int32_t key = first_key + WarpOf() * Own::kWarpRows + LaneOf() / 4;
  float received[2] = {0, 0};
  OverQueries<kDim, false>(args, stats, head, skipped, shared, shared + Own::kWords,
                           [&](int r, int32_t query, float score, float most, float inverse) {
                             const int32_t position = args.first_query + query;
                             const int32_t limit = sums.own_query ? position + 1 : position;
                             if (position < sums.from || key + 8 * r >= limit) return;
                             received[r] += expf(score - most) * inverse;
                           });
  for (int r = 0; r < 2; ++r) {
    const float sum = WarpSum(received[r], 4);
    float* const out = sums.sums + int64_t{head} * args.sum_stride + key + 8 * r;
    if (LaneOf() % 4 == 0 && key + 8 * r < end) Store(out, Load(out) + sum);
  }
}

// A block for every (tile of a replay's keys, kv head): raises their peaks.
template <int kDim>
__global__ void __launch_bounds__(kPrefillThreads, kDim <= 128 ? 3 : 2)
    RaisePeaksOnTensorCores(PrefillAttentionArgs args, const RowStats* stats) {
  using Own = TensorTile<kDim>;
  DECANT_DYN_SHARED(uint32_t, shared);
  const auto kv_head = static_cast<int32_t>(blockIdx.y);
  const int32_t group = args.q_heads / args.kv_heads;
  const int32_t first_key = args.replay.begin + static_cast<int32_t>(blockIdx.x) * Own::kRows;
  LoadKeyWords<kDim>(args, kv_head, first_key, args.replay.end, Own::kRows, shared);
  float received[2] = {0, 0};
  for (int32_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    OverQueries<kDim, true>(args, stats, head, 0, shared, shared + Own::kWords,
                            [&](int r, int32_t, float score, float most, float inverse) {
                              received[r] = fmaxf(received[r], expf(score - most) * inverse);
                            });
  }
  const int32_t row = WarpOf() * Own::kWarpRows + LaneOf() / 4;
  for (int r = 0; r < 2; ++r) {
    const float peak = WarpMax(received[r], 4);
    float* const out = args.replay.peaks + int64_t{kv_head} * args.replay.stride + first_key + row + 8 * r;
    if (LaneOf() % 4 == 0 && first_key + row + 8 * r < args.replay.end) Store(out, fmaxf(Load(out), peak));
  }
}

template <int kDim>
void Attend(Stream& stream, const PrefillAttentionArgs& args) {
  using Own = TensorTile<kDim>;
  auto* const stats = static_cast<RowStats*>(args.scratch);
  const auto tiles = [](int32_t count) { return static_cast<unsigned>((count + Own::kRows - 1) / Own::kRows); };
  const auto heads = static_cast<unsigned>(args.q_heads);
  const dim3 threads(kPrefillThreads);
  DECANT_LAUNCH((AttendOnTensorCores<kDim>), dim3(tiles(args.queries), heads), threads, size_t{Own::kAttendBytes},
                stream, args, stats);
  for (int32_t s = 0; s < args.sum_count; ++s) {
    DECANT_LAUNCH((AddColumnsOnTensorCores<kDim>), dim3(tiles(args.first_query + args.queries), heads), threads,
                  size_t{Own::kColumnBytes}, stream, args, stats, s);
  }
  if (args.replay.peaks == nullptr) return;
  DECANT_LAUNCH((RaisePeaksOnTensorCores<kDim>),
                dim3(tiles(args.replay.end - args.replay.begin), static_cast<unsigned>(args.kv_heads)), threads,
                size_t{Own::kColumnBytes}, stream, args, stats);
}

}  // namespace

bool PrefillFitsTensorCores(const PrefillAttentionArgs& args) {
  const int32_t dim = args.head_dim;
  return args.run_type == RunType::kBf16 && (dim == 64 || dim == 96 || dim == 128 || dim == 256) &&
         args.q_stride % 4 == 0 && args.out_stride % 2 == 0;
}

void PrefillAttentionOnTensorCores(Stream& stream, const PrefillAttentionArgs& args) {
  DECANT_CHECK_MSG(PrefillFitsTensorCores(args), "head_dim %d", args.head_dim);
  if (args.head_dim == 64) return Attend<64>(stream, args);
  if (args.head_dim == 96) return Attend<96>(stream, args);
  if (args.head_dim == 128) return Attend<128>(stream, args);
  Attend<256>(stream, args);
}

}  // namespace decant
