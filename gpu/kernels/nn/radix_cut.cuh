// Selection without sorting: where a running sum over tokens in the order of descending weight passes a goal. The
// weight's bits are looked at a digit of eight at a time from the top (radix selection). Weights are summed in units of
// 2^-40, as integers, so that the result does not depend on the order in which threads add.
#ifndef DECANT_GPU_KERNELS_NN_RADIX_CUT_CUH_
#define DECANT_GPU_KERNELS_NN_RADIX_CUT_CUH_

#include <cstdint>

#include "common/base/half.h"
#include "gpu/device/cuda_kernel.h"

namespace decant {

inline constexpr int32_t kCutThreads = 256;            // of a block that searches, and values of a digit
inline constexpr float kMassUnits = 1099511627776.0f;  // 2^40 for the likeliest token

__device__ __forceinline__ uint64_t MassOf(uint32_t key) {
  return static_cast<uint64_t>(BitsToFloat(key) * kMassUnits);
}

// A place in the order of descending weight and, among equal weights, ascending id: `ties` tokens of weight `key` and
// all heavier ones stand before it.
struct TokenCut {
  uint32_t key;
  int32_t ties;
};

// What a search works on, by a block of kCutThreads threads. Keys are the bits of weights, which are not negative, so
// that they order as weights do.
struct TokenSearch {
  const uint32_t* keys;  // [count], device memory
  int32_t count;
  uint64_t* sums;  // [kCutThreads], shared
};

// The first token, in the order above, with which the sum over the tokens so far exceeds `goal`; only tokens before
// `limit` count. kMass: the sum is of masses, else of tokens. Gives the cut in front of that token; the limit where
// the sum never gets there.
template <bool kMass>
__device__ TokenCut CutBefore(const TokenSearch& search, uint64_t goal, const TokenCut& limit) {
  __shared__ uint32_t found_digit;
  __shared__ uint64_t found_before;
  uint32_t prefix = 0;
  uint64_t before = 0;  // the sum over heavier tokens than those of the prefix
  for (int32_t shift = 24; shift >= 0; shift -= 8) {
    search.sums[threadIdx.x] = 0;
    if (threadIdx.x == 0) found_digit = kCutThreads;
    __syncthreads();
    const uint32_t known = shift == 24 ? 0u : 0xffffffffu << (shift + 8);
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < search.count; i += kCutThreads) {
      const uint32_t key = Load(search.keys + i);
      if ((key & known) != prefix || key <= limit.key) continue;
      atomicAdd(reinterpret_cast<unsigned long long*>(search.sums + ((key >> shift) & (kCutThreads - 1))),
                static_cast<unsigned long long>(kMass ? MassOf(key) : 1));
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      if ((limit.key & known) == prefix) {
        const auto ties = static_cast<uint64_t>(limit.ties);
        search.sums[(limit.key >> shift) & (kCutThreads - 1)] += kMass ? ties * MassOf(limit.key) : ties;
      }
      uint64_t sum = before;
      for (int32_t digit = kCutThreads - 1; digit >= 0; --digit) {
        const uint64_t next = sum + search.sums[digit];
        if (next > goal) {
          found_digit = static_cast<uint32_t>(digit);
          found_before = sum;
          break;
        }
        sum = next;
      }
    }
    __syncthreads();
    if (found_digit == kCutThreads) return limit;
    prefix |= found_digit << shift;
    before = found_before;
    __syncthreads();
  }
  const uint64_t each = kMass ? MassOf(prefix) : 1;
  return TokenCut{prefix, static_cast<int32_t>((goal - before) / each)};
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_RADIX_CUT_CUH_
