// Prefill attention in passes over tiles of queries and keys. The first gives the output and, for every query, what its
// softmax is divided by; sums and peaks of what keys receive need those, so that they take a pass of their own, in
// which a block owns some keys and goes through the queries in order: nothing depends on the schedule.
#include "common/base/check.h"
#include "gpu/kernels/attention/prefill_cuda.h"
#include "gpu/kernels/attention/prefill_tile.cuh"

namespace decant {
namespace {

constexpr int32_t kChunk = 8;       // elements of an output row that a thread has: 4 of each half
constexpr int32_t kOwnQueries = 4;  // rows of them

// What a row's threads know of its softmax, over all keys and over a replay's subset.
struct RowSoftmax {
  float most;
  float sum;
};

// Takes a tile's scores into the softmax of a row by the neighbours that share it; scores become weights relative to
// the new largest one where `weights` is set. Gives what earlier weights are multiplied by.
template <typename Counts>
__device__ inline float TakeScores(float* scores, int32_t first, int32_t step, int32_t end, int32_t lanes, bool weights,
                                   const Counts& counts, RowSoftmax* row) {
  float most = row->most;
  for (int32_t i = first; i < end; i += step) {
    if (counts(i)) most = fmaxf(most, scores[i]);
  }
  most = WarpMax(most, lanes);
  // A row that has seen no key yet has no largest score to be relative to.
  const float factor = row->most > LowestFloat() ? expf(row->most - most) : 0.0f;
  float sum = 0;
  for (int32_t i = first; i < end; i += step) {
    const float weight = counts(i) ? expf(scores[i] - most) : 0.0f;
    sum += weight;
    if (weights) scores[i] = weight;
  }
  row->sum = row->sum * factor + WarpSum(sum, lanes);
  row->most = most;
  return factor;
}

template <int32_t kSide>
__device__ __host__ int32_t AttendBytes(int32_t head_dim) {
  return 4 * (2 * kSide * TileStride(head_dim) + kSide * ScoreTile<kSide>::kStride + kSide);
}

// A block for every (tile of queries, query head); the last tiles see the most keys and go first.
template <typename T, int32_t kSide>
__global__ void __launch_bounds__(kPrefillThreads, 3) AttendTiles(PrefillAttentionArgs args, RowStats* stats) {
  using Own = ScoreTile<kSide>;
  DECANT_DYN_SHARED(float, shared);
  const int32_t head_dim = args.head_dim;
  const int32_t stride = TileStride(head_dim);
  float* const queries = shared;
  float* const keys = queries + kSide * stride;
  float* const scores = keys + kSide * stride;
  float* const factors = scores + kSide * Own::kStride;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const auto head = static_cast<int32_t>(blockIdx.y);
  const int32_t kv_head = head / (args.q_heads / args.kv_heads);
  const int32_t first = static_cast<int32_t>(gridDim.x - 1 - blockIdx.x) * kSide;
  const int32_t rows = args.queries - first < kSide ? args.queries - first : kSide;
  const int32_t end = args.first_query + first + rows;  // of the keys that any row sees

  // Neighbours share a row's softmax.
  constexpr int32_t kLanes = kPrefillThreads / kSide;
  const int32_t softmax_row = thread / kLanes;
  const int32_t limit = softmax_row < rows ? args.first_query + first + softmax_row + 1 : 0;
  RowSoftmax softmax = {LowestFloat(), 0};
  RowSoftmax subset = {LowestFloat(), 0};
  // The thread's outputs: rows `group`, `group` + kSide / 4, ... and four elements from 4 `chunk` on in each half, so
  // that neighbours store neighbouring bytes.
  const int32_t chunk = thread % (head_dim / kChunk);
  const int32_t group = thread / (head_dim / kChunk);
  const bool has_output = args.out != nullptr && group < kSide / kOwnQueries;
  float out[kOwnQueries][kChunk] = {};

  LoadQueryTile<kSide>(args, first, head, queries);
  for (int32_t key = 0; key < end; key += kSide) {
    LoadKeyTile<T, kSide>(args, args.k, args.tail_k, kv_head, key, end, keys);
    __syncthreads();
    float own[Own::kOwnRows][Own::kOwnKeys];
    TileScores<kSide>(queries, keys, head_dim, args.scale, own);
    for (int r = 0; r < Own::kOwnRows; ++r) {
      for (int k = 0; k < Own::kOwnKeys; ++k) scores[Own::Row(r) * Own::kStride + Own::Key(k)] = own[r][k];
    }
    __syncthreads();
    if (args.out != nullptr) LoadKeyTile<T, kSide>(args, args.v, args.tail_v, kv_head, key, end, keys);
    float* const row = scores + softmax_row * Own::kStride;
    if (args.replay.peaks != nullptr) {
      TakeScores(
          row, thread % kLanes, kLanes, kSide, kLanes, false,
          [&](int32_t i) { return key + i < limit && InSubset(args, key + i); }, &subset);
    }
    const float factor = TakeScores(
        row, thread % kLanes, kLanes, kSide, kLanes, true, [&](int32_t i) { return key + i < limit; }, &softmax);
    if (thread % kLanes == 0) factors[softmax_row] = factor;
    __syncthreads();
    if (has_output) {
#pragma unroll
      for (int q = 0; q < kOwnQueries; ++q) {
        const float before = factors[group + q * (kSide / kOwnQueries)];
        for (int i = 0; i < kChunk; ++i) out[q][i] *= before;
      }
      for (int32_t k = 0; k < kSide; ++k) {
        const float4 low = *reinterpret_cast<const float4*>(keys + k * stride + 4 * chunk);
        const float4 high = *reinterpret_cast<const float4*>(keys + k * stride + head_dim / 2 + 4 * chunk);
#pragma unroll
        for (int q = 0; q < kOwnQueries; ++q) {
          const float weight = scores[(group + q * (kSide / kOwnQueries)) * Own::kStride + k];
          out[q][0] = MultiplyAdd(weight, low.x, out[q][0]);
          out[q][1] = MultiplyAdd(weight, low.y, out[q][1]);
          out[q][2] = MultiplyAdd(weight, low.z, out[q][2]);
          out[q][3] = MultiplyAdd(weight, low.w, out[q][3]);
          out[q][4] = MultiplyAdd(weight, high.x, out[q][4]);
          out[q][5] = MultiplyAdd(weight, high.y, out[q][5]);
          out[q][6] = MultiplyAdd(weight, high.z, out[q][6]);
          out[q][7] = MultiplyAdd(weight, high.w, out[q][7]);
        }
      }
    }
    __syncthreads();
  }
  const float inverse = softmax.sum > 0 ? 1.0f / softmax.sum : 0.0f;
  if (thread % kLanes == 0) {
    factors[softmax_row] = inverse;
    if (softmax_row < rows) {
      const float subset_inverse = subset.sum > 0 ? 1.0f / subset.sum : 0.0f;
      RowStats* const to = stats + int64_t{head} * args.queries + first + softmax_row;
      Store(reinterpret_cast<float4*>(to), make_float4(softmax.most, inverse, subset.most, subset_inverse));
    }
  }
  __syncthreads();
  if (!has_output) return;
  for (int q = 0; q < kOwnQueries; ++q) {
    const int32_t r = group + q * (kSide / kOwnQueries);
    if (r >= rows) continue;
    float* const to = args.out + (first + r) * args.out_stride + int64_t{head} * head_dim + 4 * chunk;
    const float f = factors[r];
    const float* const own = out[q];
    Store(reinterpret_cast<float4*>(to), make_float4(own[0] * f, own[1] * f, own[2] * f, own[3] * f));
    Store(reinterpret_cast<float4*>(to + head_dim / 2), make_float4(own[4] * f, own[5] * f, own[6] * f, own[7] * f));
  }
}

template <int32_t kSide>
__device__ __host__ int32_t ColumnBytes(int32_t head_dim) {
  return 4 * (2 * kSide * TileStride(head_dim) + kSide * ScoreTile<kSide>::kStride);
}

// Combines what the thread's rows give each of its keys over the rows of the block's threads; `result(key, value)` is
// called once for every key of the tile.
template <int32_t kSide, typename Combine, typename Result>
__device__ inline void OverRows(const float (&own)[ScoreTile<kSide>::kOwnKeys], float* scores, const Combine& combine,
                                const Result& result) {
  using Own = ScoreTile<kSide>;
  __syncthreads();
  for (int k = 0; k < Own::kOwnKeys; ++k) scores[Own::Row(0) * Own::kStride + Own::Key(k)] = own[k];
  __syncthreads();
  const auto key = static_cast<int32_t>(threadIdx.x);
  if (key >= kSide) return;
  float value = scores[key];
  for (int32_t r = 1; r < Own::kRowStep; ++r) value = combine(value, scores[r * Own::kStride + key]);
  result(key, value);
}

// A block for every (tile of keys, query head): adds the attention that its keys receive to sums[source].
template <typename T, int32_t kSide>
__global__ void __launch_bounds__(kPrefillThreads)
    AddColumns(PrefillAttentionArgs args, const RowStats* stats, int32_t source) {
  using Own = ScoreTile<kSide>;
  DECANT_DYN_SHARED(float, shared);
  float* const queries = shared;
  float* const keys = queries + kSide * TileStride(args.head_dim);
  float* const scores = keys + kSide * TileStride(args.head_dim);
  const auto head = static_cast<int32_t>(blockIdx.y);
  const int32_t first_key = static_cast<int32_t>(blockIdx.x) * kSide;
  const int32_t end = args.first_query + args.queries;
  const AttentionSums& sums = args.sums[source];
  // The first query that counts for any key of the tile.
  const int32_t from = first_key > sums.from ? first_key : sums.from;
  const int32_t skipped = from > args.first_query ? from - args.first_query : 0;
  if (skipped >= args.queries) return;
  const int32_t kv_head = head / (args.q_heads / args.kv_heads);
  LoadKeyTile<T, kSide>(args, args.k, args.tail_k, kv_head, first_key, end, keys);
  float received[Own::kOwnKeys] = {};
  for (int32_t first = skipped / kSide * kSide; first < args.queries; first += kSide) {
    __syncthreads();
    LoadQueryTile<kSide>(args, first, head, queries);
    __syncthreads();
    float own[Own::kOwnRows][Own::kOwnKeys];
    TileScores<kSide>(queries, keys, args.head_dim, args.scale, own);
    for (int r = 0; r < Own::kOwnRows; ++r) {
      const int32_t query = first + Own::Row(r);
      const int32_t position = args.first_query + query;
      if (query >= args.queries || position < sums.from) continue;
      const float4 row = Load(reinterpret_cast<const float4*>(stats + int64_t{head} * args.queries + query));
      const int32_t limit = sums.own_query ? position + 1 : position;
      for (int k = 0; k < Own::kOwnKeys; ++k) {
        if (first_key + Own::Key(k) < limit) received[k] += expf(own[r][k] - row.x) * row.y;
      }
    }
  }
  float* const out = sums.sums + int64_t{head} * args.sum_stride + first_key;
  OverRows<kSide>(
      received, scores, [](float a, float b) { return a + b; },
      [&](int32_t key, float sum) {
        if (first_key + key < end) Store(out + key, Load(out + key) + sum);
      });
}

// A block for every (tile of a replay's keys, kv head): raises their peaks.
template <typename T, int32_t kSide>
__global__ void __launch_bounds__(kPrefillThreads) RaisePeaks(PrefillAttentionArgs args, const RowStats* stats) {
  using Own = ScoreTile<kSide>;
  DECANT_DYN_SHARED(float, shared);
  float* const queries = shared;
  float* const keys = queries + kSide * TileStride(args.head_dim);
  float* const scores = keys + kSide * TileStride(args.head_dim);
  const auto kv_head = static_cast<int32_t>(blockIdx.y);
  const int32_t group = args.q_heads / args.kv_heads;
  const int32_t first_key = args.replay.begin + static_cast<int32_t>(blockIdx.x) * kSide;
  const int32_t end = args.replay.end;
  LoadKeyTile<T, kSide>(args, args.k, args.tail_k, kv_head, first_key, end, keys);
  float received[Own::kOwnKeys] = {};
  for (int32_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    for (int32_t first = 0; first < args.queries; first += kSide) {
      __syncthreads();
      LoadQueryTile<kSide>(args, first, head, queries);
      __syncthreads();
      float own[Own::kOwnRows][Own::kOwnKeys];
      TileScores<kSide>(queries, keys, args.head_dim, args.scale, own);
      for (int r = 0; r < Own::kOwnRows; ++r) {
        const int32_t query = first + Own::Row(r);
        if (query >= args.queries) continue;
        const float4 row = Load(reinterpret_cast<const float4*>(stats + int64_t{head} * args.queries + query));
        for (int k = 0; k < Own::kOwnKeys; ++k) received[k] = fmaxf(received[k], expf(own[r][k] - row.z) * row.w);
      }
    }
  }
  float* const out = args.replay.peaks + int64_t{kv_head} * args.replay.stride + first_key;
  OverRows<kSide>(
      received, scores, [](float a, float b) { return fmaxf(a, b); },
      [&](int32_t key, float peak) {
        if (first_key + key < end) Store(out + key, fmaxf(Load(out + key), peak));
      });
}

template <typename T, int32_t kSide>
void Attend(Stream& stream, const PrefillAttentionArgs& args) {
  auto* const stats = static_cast<RowStats*>(args.scratch);
  const auto tiles = [](int32_t count) { return static_cast<unsigned>((count + kSide - 1) / kSide); };
  const auto heads = static_cast<unsigned>(args.q_heads);
  const dim3 threads(kPrefillThreads);
  const auto column_bytes = static_cast<size_t>(ColumnBytes<kSide>(args.head_dim));
  DECANT_LAUNCH((AttendTiles<T, kSide>), dim3(tiles(args.queries), heads), threads,
                static_cast<size_t>(AttendBytes<kSide>(args.head_dim)), stream, args, stats);
  for (int32_t s = 0; s < args.sum_count; ++s) {
    DECANT_LAUNCH((AddColumns<T, kSide>), dim3(tiles(args.first_query + args.queries), heads), threads, column_bytes,
                  stream, args, stats, s);
  }
  if (args.replay.peaks == nullptr) return;
  DECANT_LAUNCH((RaisePeaks<T, kSide>),
                dim3(tiles(args.replay.end - args.replay.begin), static_cast<unsigned>(args.kv_heads)), threads,
                column_bytes, stream, args, stats);
}

template <typename T>
void AttendOf(Stream& stream, const PrefillAttentionArgs& args) {
  if (args.head_dim <= kWideSideDim) {
    Attend<T, kWideSide>(stream, args);
  } else {
    Attend<T, kNarrowSide>(stream, args);
  }
}

bool TakesTensorCores(const PrefillAttentionArgs& args, PrefillPath path) {
  if (path != PrefillPath::kAuto) return path == PrefillPath::kTensor;
#if defined(__CUDACC__)
  return PrefillFitsTensorCores(args);
#else
  (void)args;
  return false;
#endif
}

}  // namespace

int64_t PrefillAttentionCudaScratchBytes(int32_t queries, int32_t q_heads) {
  return int64_t{queries} * q_heads * static_cast<int64_t>(sizeof(RowStats));
}

void PrefillAttentionCuda(Stream& stream, const PrefillAttentionArgs& args, PrefillPath path) {
  if (args.queries == 0) return;
  if (TakesTensorCores(args, path)) return PrefillAttentionOnTensorCores(stream, args);
  DECANT_CHECK_MSG(args.out_stride % 4 == 0 && args.head_dim % 8 == 0 && args.head_dim <= 256,
                   "outputs %lld floats apart, head_dim %d", static_cast<long long>(args.out_stride), args.head_dim);
  if (args.run_type == RunType::kBf16) {
    AttendOf<Bf16>(stream, args);
  } else {
    AttendOf<float>(stream, args);
  }
}

}  // namespace decant
