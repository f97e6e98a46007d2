#include <cmath>

#include "gpu/device/block.cuh"
#include "gpu/kernels/nn/nn_cuda.h"
#include "gpu/kernels/nn/row_grid.cuh"

namespace decant {
namespace {

// Heads are narrow: a warp norms one by itself.
constexpr int32_t kWarpWidth = 512;
constexpr int32_t kWarps = kRowThreads / kWarpLanes;

template <typename T>
__device__ __forceinline__ void ScaleVector(const RmsNormArgs& args, const float* in, float squares, int32_t first,
                                            int32_t step, T* out) {
  const float scale = 1.0f / sqrtf(squares / static_cast<float>(args.width) + args.epsilon);
  for (int32_t i = first; i < args.width; i += step) StoreRun(out + i, Load(in + i) * scale * Load(args.weight + i));
}

template <typename T>
__global__ void NormNarrow(RmsNormArgs args) {
  const int64_t vector = int64_t{blockIdx.x} * kWarps + WarpOf();
  const int64_t row = vector / args.groups;
  if (row >= args.rows) return;
  const int64_t at = (vector - row * args.groups) * args.width;
  const float* const in = args.in + row * args.in_stride + at;
  float squares = 0;
  for (int32_t i = LaneOf(); i < args.width; i += kWarpLanes) {
    const float x = Load(in + i);
    squares += x * x;
  }
  squares = WarpSum(squares);
  ScaleVector(args, in, squares, LaneOf(), kWarpLanes, static_cast<T*>(args.out) + row * args.out_stride + at);
}

template <typename T>
__global__ void NormWide(RmsNormArgs args) {
  const int64_t row = blockIdx.x;
  const int64_t at = int64_t{blockIdx.y} * args.width;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const float* const in = args.in + row * args.in_stride + at;
  float squares = 0;
  for (int32_t i = thread; i < args.width; i += kRowThreads) {
    const float x = Load(in + i);
    squares += x * x;
  }
  squares = BlockSum<kRowThreads>(squares);
  ScaleVector(args, in, squares, thread, kRowThreads, static_cast<T*>(args.out) + row * args.out_stride + at);
}

template <typename T>
void Norm(Stream& stream, const RmsNormArgs& args) {
  if (args.width <= kWarpWidth) {
    const int64_t blocks = (int64_t{args.rows} * args.groups + kWarps - 1) / kWarps;
    DECANT_LAUNCH((NormNarrow<T>), dim3(static_cast<unsigned>(blocks)), dim3(kRowThreads), 0, stream, args);
  } else {
    const dim3 grid(static_cast<unsigned>(args.rows), static_cast<unsigned>(args.groups));
    DECANT_LAUNCH((NormWide<T>), grid, dim3(kRowThreads), 0, stream, args);
  }
}

}  // namespace

void RmsNormCuda(Stream& stream, const RmsNormArgs& args) {
  if (args.out_type == RunType::kBf16) {
    Norm<Bf16>(stream, args);
  } else {
    Norm<float>(stream, args);
  }
}

}  // namespace decant
