// A thread a row. A block reduces its rows' query heads, and those of the pool's reach on either side, into shared
// memory: every sum is read once but for the halo. Sums add up head by head and pools row by row, as on the host.
#include "gpu/device/cuda_kernel.h"
#include "gpu/kernels/score/score_tokens_cuda.h"

namespace decant {
namespace {

constexpr int kScoreThreads = 256;

__device__ __forceinline__ float Infinity() { return __int_as_float(0x7f800000); }
__device__ __forceinline__ float Lowest() { return __int_as_float(static_cast<int>(0xff7fffffu)); }

// What becomes of positions that did not go through the layer.
__global__ void __launch_bounds__(kScoreThreads) ClearScoresKernel(ScoreTokensArgs args) {
  const auto t = static_cast<int32_t>(blockIdx.x * kScoreThreads + threadIdx.x);
  if (t >= args.tokens) return;
  const int64_t at = int64_t{blockIdx.y} * args.tokens + t;
  Store(args.scores + at, 0.0f);
  Store(args.ranks + at, -Infinity());
}

__device__ __forceinline__ int32_t PositionOf(const ScoreTokensArgs& args, int32_t row) {
  return args.positions == nullptr ? row : Load(args.positions + row);
}

// Rows whose position is below `border`.
__device__ __forceinline__ int32_t RowsBelow(const ScoreTokensArgs& args, int32_t border) {
  if (args.positions == nullptr) return border < args.rows ? border : args.rows;
  int32_t low = 0;
  int32_t high = args.rows;
  while (low < high) {
    const int32_t middle = (low + high) / 2;
    if (Load(args.positions + middle) < border) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

__device__ __forceinline__ float ReduceRow(const ScoreTokensArgs& args, int32_t head, int32_t row) {
  const bool replay = args.source == ScoreSource::kReplay;
  const float* const rows = replay ? args.replay : args.sums;
  if (rows == nullptr) return 0.0f;
  const int32_t heads = replay ? args.kv_heads : args.q_heads;
  const bool whole_layer = args.reduce == GroupReduce::kLayerMean;
  const int64_t stride = replay ? args.rows : args.stride;
  const int32_t count = whole_layer ? heads : heads / args.kv_heads;
  const float* const from = rows + (whole_layer ? 0 : int64_t{head} * count) * stride + row;
  float score = Load(from);
  for (int32_t i = 1; i < count; ++i) {
    const float next = Load(from + i * stride);
    score = args.reduce == GroupReduce::kMax ? (score < next ? next : score) : score + next;
  }
  const bool mean = args.reduce == GroupReduce::kMean || whole_layer;
  return mean ? score / static_cast<float>(count) : score;
}

// scores: those of the block's rows and its reach, from row `begin` on. Candidates are the rows [first, end).
__device__ __forceinline__ float Pooled(const ScoreTokensArgs& args, const float* scores, int32_t begin, int32_t row,
                                        int32_t first, int32_t end) {
  const int32_t reach = args.pooling == Pooling::kNone ? 0 : args.pool_width / 2;
  const int32_t from = row - reach > first ? row - reach : first;
  const int32_t last = row + reach < end - 1 ? row + reach : end - 1;
  float pooled = scores[from - begin];
  for (int32_t i = from + 1; i <= last; ++i) {
    const float score = scores[i - begin];
    pooled = args.pooling == Pooling::kAverage ? pooled + score : (pooled < score ? score : pooled);
  }
  return args.pooling == Pooling::kAverage ? pooled / static_cast<float>(args.pool_width) : pooled;
}

__global__ void __launch_bounds__(kScoreThreads) ScoreRowsKernel(ScoreTokensArgs args) {
  DECANT_DYN_SHARED(float, scores);
  const auto head = static_cast<int32_t>(blockIdx.y);
  const int32_t reach = args.pooling == Pooling::kNone ? 0 : args.pool_width / 2;
  const auto first_row = static_cast<int32_t>(blockIdx.x * kScoreThreads);
  const int32_t begin = first_row > reach ? first_row - reach : 0;
  const int32_t behind = first_row + kScoreThreads + reach;
  const int32_t stop = behind < args.rows ? behind : args.rows;
  for (int32_t row = begin + static_cast<int32_t>(threadIdx.x); row < stop; row += kScoreThreads) {
    scores[row - begin] = ReduceRow(args, head, row);
  }
  __syncthreads();
  const int32_t row = first_row + static_cast<int32_t>(threadIdx.x);
  if (row >= args.rows) return;
  const int32_t window = args.window < args.tokens ? args.window : args.tokens;
  const int32_t window_begin = args.tokens - window;
  const int32_t first = RowsBelow(args, args.sinks < window_begin ? args.sinks : window_begin);
  const int32_t end = RowsBelow(args, window_begin);
  const int32_t position = PositionOf(args, row);
  float rank = Infinity();
  if (row >= first && row < end) {
    rank = args.source == ScoreSource::kPosition ? static_cast<float>(position)
                                                 : Pooled(args, scores, begin, row, first, end);
    if (!(rank == rank)) rank = Lowest();
  }
  const int64_t at = int64_t{head} * args.tokens + position;
  Store(args.scores + at, scores[row - begin]);
  Store(args.ranks + at, rank);
}

}  // namespace

void ScoreTokensCuda(Stream& stream, const ScoreTokensArgs& args) {
  const auto heads = static_cast<unsigned>(args.kv_heads);
  const auto blocks = [](int32_t count) { return static_cast<unsigned>((count + kScoreThreads - 1) / kScoreThreads); };
  if (args.rows < args.tokens) {
    DECANT_LAUNCH(ClearScoresKernel, dim3(blocks(args.tokens), heads), dim3(kScoreThreads), 0, stream, args);
  }
  const size_t shared = sizeof(float) * static_cast<size_t>(kScoreThreads + args.pool_width);
  DECANT_LAUNCH(ScoreRowsKernel, dim3(blocks(args.rows), heads), dim3(kScoreThreads), shared, stream, args);
}

}  // namespace decant
