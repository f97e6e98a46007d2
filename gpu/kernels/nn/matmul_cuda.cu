// Matrix products in plain kernels: what runs where cuBLASLt does not. Few rows (a decode step) have a kernel of their
// own, in which lanes share a weight row and no weight is read twice.
#include <algorithm>
#include <vector>

#include "gpu/device/warp.cuh"
#include "gpu/kernels/nn/matmul_cublaslt.h"
#include "gpu/kernels/nn/nn_cuda.h"
#include "gpu/kernels/nn/packed_layout.h"
#include "gpu/kernels/nn/row_grid.cuh"

namespace decant {
namespace {

struct ProductArgs {
  const void* weights;  // [outputs, inputs]
  const void* in;       // [rows, inputs]
  float* out;           // [rows, outputs]
  int32_t rows;
  int32_t outputs;
  int32_t inputs;
  bool accumulate;
};

__device__ __forceinline__ void WriteOutput(const ProductArgs& args, int32_t row, int32_t output, float sum) {
  float* const out = args.out + int64_t{row} * args.outputs + output;
  Store(out, args.accumulate ? Load(out) + sum : sum);
}

constexpr int32_t kFewRows = 8;
constexpr int32_t kFewThreads = 128;
constexpr int32_t kFewLanes = 8;  // that share an output

template <typename T>
__global__ void __launch_bounds__(kFewThreads) ProductOfFew(ProductArgs args) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t output = static_cast<int32_t>(blockIdx.x) * (kFewThreads / kFewLanes) + thread / kFewLanes;
  const auto* const weights = static_cast<const T*>(args.weights) + int64_t{output} * args.inputs;
  const auto* const in = static_cast<const T*>(args.in);
  float sums[kFewRows] = {};
  if (output < args.outputs) {
    for (int32_t i = thread % kFewLanes; i < args.inputs; i += kFewLanes) {
      const float weight = LoadRun(weights + i);
#pragma unroll
      for (int32_t row = 0; row < kFewRows; ++row) {
        if (row < args.rows) sums[row] += weight * LoadRun(in + int64_t{row} * args.inputs + i);
      }
    }
  }
#pragma unroll
  for (int32_t row = 0; row < kFewRows; ++row) {
    if (row >= args.rows) continue;
    const float sum = WarpSum(sums[row], kFewLanes);
    if (output < args.outputs && thread % kFewLanes == 0) WriteOutput(args, row, output, sum);
  }
}

constexpr int32_t kTileRows = 32;
constexpr int32_t kTileOutputs = 64;
constexpr int32_t kTileDepth = 16;
constexpr int32_t kTileThreads = 128;
constexpr int32_t kOwn = 4;  // rows and outputs of a thread

// A tile of rows, or of weights, as floats with the depth outside; zeros behind the ends.
template <typename T, int32_t kRows>
__device__ __forceinline__ void LoadTile(const void* from, int32_t first, int32_t end, int32_t depth, int32_t inputs,
                                         float (*tile)[kRows + 4]) {
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kRows * kTileDepth; i += kTileThreads) {
    const int32_t row = first + i / kTileDepth;
    const int32_t k = depth + i % kTileDepth;
    const bool inside = row < end && k < inputs;
    tile[i % kTileDepth][i / kTileDepth] =
        inside ? LoadRun(static_cast<const T*>(from) + int64_t{row} * inputs + k) : 0.0f;
  }
}

template <typename T>
__global__ void __launch_bounds__(kTileThreads) ProductOfTiles(ProductArgs args) {
  __shared__ float rows[kTileDepth][kTileRows + 4];
  __shared__ float weights[kTileDepth][kTileOutputs + 4];
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t first_row = static_cast<int32_t>(blockIdx.y) * kTileRows;
  const int32_t first_output = static_cast<int32_t>(blockIdx.x) * kTileOutputs;
  const int32_t row = thread / (kTileOutputs / kOwn) * kOwn;
  const int32_t output = thread % (kTileOutputs / kOwn) * kOwn;
  float sums[kOwn][kOwn] = {};
  for (int32_t depth = 0; depth < args.inputs; depth += kTileDepth) {
    LoadTile<T, kTileRows>(args.in, first_row, args.rows, depth, args.inputs, rows);
    LoadTile<T, kTileOutputs>(args.weights, first_output, args.outputs, depth, args.inputs, weights);
    __syncthreads();
#pragma unroll
    for (int32_t k = 0; k < kTileDepth; ++k) {
      for (int32_t r = 0; r < kOwn; ++r) {
        for (int32_t o = 0; o < kOwn; ++o) sums[r][o] += rows[k][row + r] * weights[k][output + o];
      }
    }
    __syncthreads();
  }
  for (int32_t r = 0; r < kOwn; ++r) {
    for (int32_t o = 0; o < kOwn; ++o) {
      if (first_row + row + r >= args.rows || first_output + output + o >= args.outputs) continue;
      WriteOutput(args, first_row + row + r, first_output + output + o, sums[r][o]);
    }
  }
}

template <typename T>
void Multiply(Stream& stream, const ProductArgs& args) {
  if (args.rows <= kFewRows) {
    constexpr int32_t kOutputs = kFewThreads / kFewLanes;
    const dim3 grid(static_cast<unsigned>((args.outputs + kOutputs - 1) / kOutputs));
    DECANT_LAUNCH((ProductOfFew<T>), grid, dim3(kFewThreads), 0, stream, args);
    return;
  }
  const dim3 grid(static_cast<unsigned>((args.outputs + kTileOutputs - 1) / kTileOutputs),
                  static_cast<unsigned>((args.rows + kTileRows - 1) / kTileRows));
  DECANT_LAUNCH((ProductOfTiles<T>), grid, dim3(kTileThreads), 0, stream, args);
}

// Rows packed at a time: what a copy is worth, and little host memory.
constexpr int64_t kPackBytes = int64_t{8} << 20;

void Narrow(const std::vector<float>& from, std::vector<Bf16>& to) {
  to.resize(from.size());
  for (size_t i = 0; i < from.size(); ++i) to[i] = ToBf16(from[i]);
}

}  // namespace

void PackMatrixCuda(Stream& stream, PackedMatrix& matrix, const ReadRows& read) {
  const int64_t row_bytes = int64_t{matrix.inputs} * RunTypeBytes(matrix.type);
  const auto step = static_cast<int32_t>(std::max<int64_t>(1, kPackBytes / row_bytes));
  std::vector<float> rows;
  std::vector<Bf16> halves;
  for (int32_t first = 0; first < matrix.outputs; first += step) {
    const int32_t count = std::min(step, matrix.outputs - first);
    rows.resize(static_cast<size_t>(count) * static_cast<size_t>(matrix.inputs));
    read(first, count, rows.data());
    const void* from = rows.data();
    if (matrix.type == RunType::kBf16) {
      Narrow(rows, halves);
      from = halves.data();
    }
    stream.Copy(matrix.memory.As<char>(first * row_bytes), from, count * row_bytes);
    // The vectors are filled anew; an error comes back with the caller's own wait.
    stream.Synchronize().IgnoreError();
  }
}

int64_t MatmulCudaWorkspaceBytes() {
#if defined(__CUDACC__)
  return kCublasLtWorkspaceBytes;
#else
  return 0;
#endif
}

void MatmulCuda(Stream& stream, const MatmulArgs& args) {
  if (args.rows == 0 || args.matrix->outputs == 0) return;
#if defined(__CUDACC__)
  if (MatmulCublasLt(stream, args)) return;
#endif
  const PackedMatrix& matrix = *args.matrix;
  const ProductArgs product{matrix.memory.As<void>(), args.in,       args.out,       args.rows,
                            matrix.outputs,           matrix.inputs, args.accumulate};
  if (matrix.type == RunType::kBf16) {
    Multiply<Bf16>(stream, product);
  } else {
    Multiply<float>(stream, product);
  }
}

}  // namespace decant
