// Where a ranking is cut: the value of the last of the `count` best of many floats, found digit by digit from the top.
#ifndef DECANT_GPU_DEVICE_RADIX_SELECT_CUH_
#define DECANT_GPU_DEVICE_RADIX_SELECT_CUH_

#include <cstdint>

#include "common/base/half.h"
#include "gpu/device/block.cuh"
#include "gpu/device/cuda_kernel.h"

namespace decant {

inline constexpr int32_t kDigits = 256;
inline constexpr int32_t kDigitBits = 8;
inline constexpr int32_t kDigitRounds = 4;

// An unsigned number that orders as the float does; the two zeros are one. Not for NaN.
__device__ __forceinline__ uint32_t OrderOf(float x) {
  const uint32_t bits = FloatBits(x + 0.0f);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}
inline constexpr uint32_t kOrderOfInfinity = 0xff800000u;
inline constexpr uint32_t kOrderOfMinusInfinity = 0x007fffffu;

// A ranking cut at one place. All of higher order are in; of those of order `last` the first `equal`. With `none` no
// one is.
struct Cut {
  uint32_t last;
  int64_t equal;
  bool none;
};

// The search so far: the digits known from the top, and how many of the best are to be found below them.
struct Search {
  uint32_t known;
  int64_t wanted;  // 0: nothing is looked for
};

__device__ __forceinline__ uint32_t DigitOf(uint32_t order, int32_t round) {
  return order >> (32 - kDigitBits * (round + 1)) & (kDigits - 1);
}
// Whether `order` shares the digits that are known before `round`.
__device__ __forceinline__ bool IsCandidate(uint32_t order, const Search& search, int32_t round) {
  return round == 0 || order >> (32 - kDigitBits * round) == search.known >> (32 - kDigitBits * round);
}

// The search for the `wanted` best of ranks [0, size) by one block; `shared` holds kDigits numbers. All threads call.
template <int kThreads, typename Count>
__device__ __forceinline__ Search TakeDigit(const Search& search, int32_t round, const Count* histogram);
template <int kThreads>
__device__ __forceinline__ Search SearchAlone(const float* ranks, int64_t size, int64_t wanted, uint32_t* shared) {
  Search search{0, wanted};
  const auto thread = static_cast<int32_t>(threadIdx.x);
  for (int32_t round = 0; round < kDigitRounds && wanted > 0; ++round) {
    if (thread < kDigits) shared[thread] = 0;
    __syncthreads();
    for (int64_t i = thread; i < size; i += kThreads) {
      const uint32_t order = OrderOf(Load(ranks + i));
      if (IsCandidate(order, search, round)) atomicAdd(&shared[DigitOf(order, round)], 1u);
    }
    __syncthreads();
    search = TakeDigit<kThreads>(search, round, shared);
  }
  return search;
}

// Takes one more digit from the histogram of the candidates' digits; all threads of a block of kThreads >= kDigits
// call.
template <int kThreads, typename Count>
__device__ __forceinline__ Search TakeDigit(const Search& search, int32_t round, const Count* histogram) {
  __shared__ uint32_t found_digit;
  __shared__ unsigned long long found_wanted;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  // From the largest digit down.
  const int32_t digit = kDigits - 1 - thread;
  const auto count = thread < kDigits ? static_cast<int64_t>(histogram[digit]) : int64_t{0};
  const BlockScan<long long> scan = BlockExclusiveScan<kThreads>(static_cast<long long>(count));
  if (thread < kDigits && scan.before < search.wanted && search.wanted <= scan.before + count) {
    found_digit = static_cast<uint32_t>(digit);
    found_wanted = static_cast<unsigned long long>(search.wanted - scan.before);
  }
  __syncthreads();
  Search next = search;
  if (search.wanted > 0) {
    next.known |= found_digit << (32 - kDigitBits * (round + 1));
    next.wanted = static_cast<int64_t>(found_wanted);
  }
  __syncthreads();
  return next;
}

}  // namespace decant

#endif  // DECANT_GPU_DEVICE_RADIX_SELECT_CUH_
