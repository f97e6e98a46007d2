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

// Two bf16 in one word, the first one low: how tensor cores take neighbours.
__device__ __forceinline__ uint32_t PackBf16(float low, float high) {
#if defined(__CUDA_ARCH__)
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
#else
  return static_cast<uint32_t>(ToBf16(low).bits) | static_cast<uint32_t>(ToBf16(high).bits) << 16;
#endif
}

// c [16, 8] += a [16, 16] b [16, 8] of bf16. With g = lane / 4 and t = lane % 4 a lane holds, as words of neighbours
// along the inner dimension, a: (g, 2 t), (g + 8, 2 t), (g, 2 t + 8), (g + 8, 2 t + 8); b: (2 t, g), (2 t + 8, g); and
// c as MultiplyTf32: PTX ISA, mma.m16n8k16. All lanes of the warp call.
__device__ __forceinline__ void MultiplyBf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(__CUDA_ARCH__)
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __shared__ uint32_t words[32][kWarpLanes][6];  // by warp
  const int32_t lane = LaneOf();
  auto& mine = words[WarpOf()];
  for (int i = 0; i < 4; ++i) mine[lane][i] = a[i];
  for (int i = 0; i < 2; ++i) mine[lane][4 + i] = b[i];
  __syncwarp();
  const auto element = [](uint32_t word, int k) { return BitsToFloat(k % 2 == 0 ? word << 16 : word & 0xffff0000u); };
  for (int i = 0; i < 4; ++i) {
    const int32_t column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; ++k) {
      const uint32_t left = mine[lane / 4 * 4 + k % 8 / 2][i / 2 + k / 8 * 2];
      c[i] += element(left, k) * element(mine[column * 4 + k % 8 / 2][4 + k / 8], k);
    }
  }
  __syncwarp();
#endif
}

}  // namespace decant

#endif  // DECANT_GPU_DEVICE_TENSOR_CORE_CUH_
