// Kernels over rows of elements: a block takes a piece of one row, its threads stride over it.
#ifndef DECANT_GPU_KERNELS_NN_ROW_GRID_CUH_
#define DECANT_GPU_KERNELS_NN_ROW_GRID_CUH_

#include <cstdint>

#include "common/base/half.h"
#include "common/compress/profile.h"
#include "gpu/device/cuda_kernel.h"

namespace decant {

inline constexpr int32_t kRowThreads = 256;
inline constexpr int32_t kRowPiece = 4 * kRowThreads;  // elements of a row that one block takes

// Rows stand in the grid's first dimension, which is the one without a narrow limit.
inline dim3 RowGrid(int32_t rows, int64_t width) {
  return dim3(static_cast<unsigned>(rows), static_cast<unsigned>((width + kRowPiece - 1) / kRowPiece));
}

struct RowSpan {
  int64_t row;
  int32_t begin;  // of this thread; the next ones are kRowThreads apart
  int32_t end;
};

__device__ __forceinline__ RowSpan SpanOf(int32_t width) {
  RowSpan span;
  span.row = blockIdx.x;
  const auto piece = static_cast<int32_t>(blockIdx.y) * kRowPiece;
  span.begin = piece + static_cast<int32_t>(threadIdx.x);
  span.end = width - piece < kRowPiece ? width : piece + kRowPiece;
  return span;
}

__device__ __forceinline__ float LoadRun(const float* from) { return Load(from); }
__device__ __forceinline__ float LoadRun(const Bf16* from) { return ToFloat(Load(from)); }
__device__ __forceinline__ void StoreRun(float* to, float x) { Store(to, x); }
__device__ __forceinline__ void StoreRun(Bf16* to, float x) { Store(to, ToBf16(x)); }

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_ROW_GRID_CUH_
