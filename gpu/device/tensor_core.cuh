// Small matrix products of a warp on tensor cores. On the launcher the lanes do the same with their own hands, so that
// what lies in which lane is tested without a GPU.
#ifndef DECANT_GPU_DEVICE_TENSOR_CORE_CUH_
#define DECANT_GPU_DEVICE_TENSOR_CORE_CUH_

#include "common/base/half.h"
#include "gpu/device/cuda_kernel.h"
#include "gpu/device/warp.cuh"

namespace decant {

// x rounded to the ten bits of fraction that the hardware reads of a float (TF32).
__device__ __forceinline__ float RoundTf32(float x) { return BitsToFloat((FloatBits(x) + 0x1000u) & 0xffffe000u); }

// c [16, 8] += a [16, 8] b [8, 8], of a and b only what TF32 keeps. With g = lane / 4 and t = lane % 4 a lane holds
// a: (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4); b: (t, g), (t + 4, g); c: (g, 2 t), (g, 2 t + 1), (g + 8, 2 t),
// (g + 8, 2 t + 1): PTX ISA, mma.m16n8k8. All lanes of the warp call.
__device__ __forceinline__ void MultiplyTf32(float (&c)[4], const float (&a)[4], const float (&b)[2]) {
#if defined(__CUDA_ARCH__)
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(FloatBits(a[0])), "r"(FloatBits(a[1])), "r"(FloatBits(a[2])), "r"(FloatBits(a[3])), "r"(FloatBits(b[0])),
        "r"(FloatBits(b[1])));
#else
  __shared__ float lanes[32][kWarpLanes][6];  // by warp
  const int32_t lane = LaneOf();
  auto& mine = lanes[WarpOf()];
  for (int i = 0; i < 4; ++i) mine[lane][i] = BitsToFloat(FloatBits(a[i]) & 0xffffe000u);
  for (int i = 0; i < 2; ++i) mine[lane][4 + i] = BitsToFloat(FloatBits(b[i]) & 0xffffe000u);
  __syncwarp();
  const int32_t group = lane / 4;
  for (int i = 0; i < 4; ++i) {
    const int32_t column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 8; ++k) {
      c[i] += mine[group * 4 + k % 4][i / 2 + k / 4 * 2] * mine[column * 4 + k % 4][4 + k / 4];
    }
  }
  __syncwarp();
#endif
}

}  // namespace decant

#endif  // DECANT_GPU_DEVICE_TENSOR_CORE_CUH_
