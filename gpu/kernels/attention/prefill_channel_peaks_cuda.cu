#include <cmath>

#include "gpu/device/cuda_kernel.h"
#include "gpu/kernels/attention/prefill_cuda.h"
#include "gpu/kernels/nn/row_grid.cuh"

namespace decant {
namespace {

// A warp reads neighbouring channels of a row, the warps of a block different rows.
constexpr int32_t kRowWarps = 8;

template <typename T>
__global__ void __launch_bounds__(kWarpLanes* kRowWarps) RaiseChannels(ChannelPeaksArgs args) {
  __shared__ float parts[kRowWarps][kWarpLanes];
  const auto lane = static_cast<int32_t>(threadIdx.x);
  const auto warp = static_cast<int32_t>(threadIdx.y);
  const int32_t channel = static_cast<int32_t>(blockIdx.y) * kWarpLanes + lane;
  float most = 0;
  for (int32_t h = 0; h < args.group && channel < args.head_dim; ++h) {
    const int64_t head = int64_t{blockIdx.x} * args.group + h;
    const T* const x = static_cast<const T*>(args.x) + head * args.head_stride + channel;
    for (int32_t row = warp; row < args.rows; row += kRowWarps) {
      most = fmaxf(most, fabsf(LoadRun(x + row * args.row_stride)));
    }
  }
  parts[warp][lane] = most;
  __syncthreads();
  if (warp > 0 || channel >= args.head_dim) return;
  float* const peak = args.peaks + int64_t{blockIdx.x} * args.head_dim + channel;
  most = Load(peak);
  for (int32_t i = 0; i < kRowWarps; ++i) most = fmaxf(most, parts[i][lane]);
  Store(peak, most);
}

}  // namespace

void ChannelPeaksCuda(Stream& stream, const ChannelPeaksArgs& args) {
  const dim3 grid(static_cast<unsigned>(args.heads / args.group),
                  static_cast<unsigned>((args.head_dim + kWarpLanes - 1) / kWarpLanes));
  const dim3 block(kWarpLanes, kRowWarps);
  if (args.type == RunType::kBf16) {
    DECANT_LAUNCH((RaiseChannels<Bf16>), grid, block, 0, stream, args);
  } else {
    DECANT_LAUNCH((RaiseChannels<float>), grid, block, 0, stream, args);
  }
}

}  // namespace decant
