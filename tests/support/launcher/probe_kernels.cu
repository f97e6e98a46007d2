#include "tests/support/launcher/probe_kernels.h"

#include "gpu/device/block.cuh"
#include "gpu/device/cuda_kernel.h"

namespace decant::probe {
namespace {

__global__ void PartialMaskKernel(int32_t* out) {
  const int32_t lane = LaneOf();
  for (int32_t step = 0; step < 3; ++step) {
    if (lane < 16) {
      const int32_t half = __shfl_sync(0xffffu, lane + 100, (lane + 15) % 16);
      if (half != (lane + 15) % 16 + 100) Store(out + lane, -1);
    }
    const int32_t value = __shfl_sync(kAllLanes, lane * 10 + step, (lane + 31) % 32);
    Store(out + step * 32 + lane, value);
  }
}

__global__ void SumThroughSharedKernel(const int32_t* in, int32_t with_barrier, int64_t* out) {
  DECANT_DYN_SHARED(int32_t, values);
  values[threadIdx.x] = Load(in + threadIdx.x);
  if (with_barrier != 0) __syncthreads();
  int64_t sum = 0;
  for (unsigned i = 0; i < blockDim.x; ++i) sum += values[i];
  Store(out + threadIdx.x, sum);
}

__global__ void WarpOperationsKernel(int32_t* out) {
  const int32_t lane = LaneOf();
  const auto by = [&](int32_t word, int32_t of_lane, int32_t value) {
    if (lane == of_lane) Store(out + word, value);
  };
  by(0, 0, static_cast<int32_t>(__ballot_sync(kAllLanes, lane % 3 == 0)));
  by(1, 1, __any_sync(kAllLanes, lane == 31));
  by(2, 1, __all_sync(kAllLanes, lane >= 1));
  by(3, 5, static_cast<int32_t>(__match_any_sync(kAllLanes, lane / 4)));
  by(4, 9, __shfl_sync(kAllLanes, lane, 3, 8));
  by(5, 9, __shfl_up_sync(kAllLanes, lane, 2u, 8));
  by(6, 14, __shfl_down_sync(kAllLanes, lane, 3u, 8));
  by(7, 14, __shfl_xor_sync(kAllLanes, lane, 9));
  by(8, 3, __reduce_add_sync(kAllLanes, lane));
  by(9, 3, __reduce_max_sync(kAllLanes, lane * 7 % 32));
  by(10, 3, __reduce_min_sync(kAllLanes, lane - 4));
  by(11, 3, static_cast<int32_t>(__reduce_or_sync(kAllLanes, 1u << lane % 4)));
  by(12, 3, WarpSum(lane));
  const int64_t wide = __shfl_sync(kAllLanes, int64_t{lane} << 40, 2);
  by(13, 3, static_cast<int32_t>(wide >> 40));
}

__global__ void PlacesKernel(int32_t* out, int64_t* votes) {
  const unsigned in_block = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  int32_t* const mine = out + int64_t{block * threads + in_block} * 6;
  const unsigned place[6] = {threadIdx.x, threadIdx.y, threadIdx.z, blockIdx.x, blockIdx.y, blockIdx.z};
  for (int i = 0; i < 6; ++i) Store(mine + i, static_cast<int32_t>(place[i]));
  const int even = __syncthreads_count(in_block % 2 == 0);
  const int all = __syncthreads_and(in_block < threads);
  const int any = __syncthreads_or(in_block == threads);
  if (in_block == 0) Store(votes + block, int64_t{even} * 100 + all * 10 + any);
}

__global__ void BlockScanKernel(const int32_t* in, int32_t* out) {
  // Twice without a barrier of the caller's own in between.
  const auto first = BlockExclusiveScan<256>(Load(in + threadIdx.x));
  const auto scan = BlockExclusiveScan<256>(first.before - first.before + Load(in + threadIdx.x));
  Store(out + threadIdx.x * 2, scan.before);
  Store(out + threadIdx.x * 2 + 1, BlockSum<256>(Load(in + threadIdx.x)) == scan.total ? scan.total : -1);
}

__global__ void AtomicsKernel(uint32_t* counts) {
  const uint32_t value = threadIdx.x;
  atomicAdd(counts, value);
  atomicMax(counts + 1, value);
  atomicMin(counts + 2, value + 7u);
  atomicOr(counts + 3, 1u << value % 8u);
  atomicAnd(counts + 4, ~(1u << value % 8u));
  if (atomicExch(counts + 5, 1u) == 0u) atomicAdd(counts + 6, 1u);
  if (atomicCAS(counts + 7, 0u, value + 1u) == 0u) atomicAdd(counts + 6, 10u);
  atomicAdd(reinterpret_cast<float*>(counts + 8), 0.5f);
}

__global__ void FreshSharedKernel(uint32_t* out) {
  DECANT_DYN_SHARED(uint32_t, words);
  Store(out + blockIdx.x, words[3]);
  words[3] = 5;
}

__global__ void StridedKernel(const uint8_t* in, int32_t stride, int32_t width, uint8_t* out) {
  const uint8_t* from = in + LaneOf() * stride;
  if (width == 1) Store(out + LaneOf(), Load(from));
  if (width == 4) Store(reinterpret_cast<uint32_t*>(out) + LaneOf(), Load(reinterpret_cast<const uint32_t*>(from)));
  if (width == 16) Store(reinterpret_cast<uint4*>(out) + LaneOf(), Load(reinterpret_cast<const uint4*>(from)));
}

__global__ void RaggedKernel(const int32_t* in, int32_t* out) {
  uint32_t sum = 0;
  for (int32_t i = 0; i < LaneOf(); ++i) sum += static_cast<uint32_t>(Load(in + i * 32 + LaneOf()));
  __syncwarp();
  Store(out + LaneOf(), static_cast<int32_t>(sum));
}

__global__ void DeadlockKernel(int32_t) {
  if (threadIdx.x < 16) {
    __syncwarp();
  } else {
    __syncthreads();
  }
}
__global__ void MixedOperationsKernel(int32_t) {
  if (threadIdx.x < 16) {
    __ballot_sync(kAllLanes, 1);
  } else {
    __shfl_sync(kAllLanes, 1, 0);
  }
}
__global__ void NotInOwnMaskKernel(int32_t) { __syncwarp(0xffffu); }
__global__ void OutOfMemoryKernel(int32_t* out, const int32_t* elsewhere) { Store(out, Load(elsewhere)); }
__global__ void MisalignedKernel(const uint8_t* in, int32_t* out) {
  Store(out, Load(reinterpret_cast<const int32_t*>(in + 2)));
}
__global__ void PastSharedKernel(const int32_t* at, int32_t* out) {
  __shared__ int32_t words[4];
  Store(out, words[Load(at)]);
}
__global__ void PastDynamicSharedKernel(const int32_t* at, int32_t* out) {
  DECANT_DYN_SHARED(int32_t, words);
  Store(out, words[Load(at)]);
}
__global__ void ShiftTooFarKernel(const int32_t* by, int32_t* out) { Store(out, 1 << Load(by)); }

}  // namespace

void PartialMaskThenFull(Stream& stream, int32_t* out) {
  DECANT_LAUNCH(PartialMaskKernel, dim3(1), dim3(32), 0, stream, out);
}
void SumThroughShared(Stream& stream, const int32_t* in, int32_t threads, bool with_barrier, int64_t* out) {
  DECANT_LAUNCH(SumThroughSharedKernel, dim3(1), dim3(static_cast<unsigned>(threads)),
                static_cast<size_t>(threads) * sizeof(int32_t), stream, in, with_barrier ? 1 : 0, out);
}
void WarpOperations(Stream& stream, int32_t* out) {
  DECANT_LAUNCH(WarpOperationsKernel, dim3(1), dim3(32), 0, stream, out);
}
void Places(Stream& stream, int32_t* out, int64_t* votes) {
  DECANT_LAUNCH(PlacesKernel, dim3(2, 3, 2), dim3(3, 5, 7), 0, stream, out, votes);
}
void BlockScan256(Stream& stream, const int32_t* in, int32_t* out) {
  DECANT_LAUNCH(BlockScanKernel, dim3(1), dim3(256), 0, stream, in, out);
}
void Atomics(Stream& stream, uint32_t* counts) { DECANT_LAUNCH(AtomicsKernel, dim3(2), dim3(50), 0, stream, counts); }
void FreshShared(Stream& stream, uint32_t* out) { DECANT_LAUNCH(FreshSharedKernel, dim3(2), dim3(1), 64, stream, out); }
void Strided(Stream& stream, const uint8_t* in, int32_t stride, int32_t width, uint8_t* out) {
  DECANT_LAUNCH(StridedKernel, dim3(1), dim3(32), 0, stream, in, stride, width, out);
}
void Ragged(Stream& stream, const int32_t* in, int32_t* out) {
  DECANT_LAUNCH(RaggedKernel, dim3(1), dim3(32), 0, stream, in, out);
}
void Deadlock(Stream& stream) { DECANT_LAUNCH(DeadlockKernel, dim3(1), dim3(64), 0, stream, 0); }
void MixedOperations(Stream& stream) { DECANT_LAUNCH(MixedOperationsKernel, dim3(1), dim3(32), 0, stream, 0); }
void NotInOwnMask(Stream& stream) { DECANT_LAUNCH(NotInOwnMaskKernel, dim3(1), dim3(32), 0, stream, 0); }
void OutOfMemory(Stream& stream, int32_t* out, const int32_t* elsewhere) {
  DECANT_LAUNCH(OutOfMemoryKernel, dim3(1), dim3(1), 0, stream, out, elsewhere);
}
void Misaligned(Stream& stream, const uint8_t* in, int32_t* out) {
  DECANT_LAUNCH(MisalignedKernel, dim3(1), dim3(1), 0, stream, in, out);
}
void TooManyThreads(Stream& stream) { DECANT_LAUNCH(NotInOwnMaskKernel, dim3(1), dim3(1025), 0, stream, 0); }
void PastShared(Stream& stream, const int32_t* at, int32_t* out) {
  DECANT_LAUNCH(PastSharedKernel, dim3(1), dim3(1), 0, stream, at, out);
}
void PastDynamicShared(Stream& stream, const int32_t* at, int32_t* out) {
  DECANT_LAUNCH(PastDynamicSharedKernel, dim3(1), dim3(1), 4 * sizeof(int32_t), stream, at, out);
}
void ShiftTooFar(Stream& stream, const int32_t* by, int32_t* out) {
  DECANT_LAUNCH(ShiftTooFarKernel, dim3(1), dim3(1), 0, stream, by, out);
}

}  // namespace decant::probe
