// Randomness as a function, so that any worker can go on where another stopped.
#ifndef DECANT_COMMON_BASE_RANDOM_H_
#define DECANT_COMMON_BASE_RANDOM_H_

#include <cstdint>

#include "common/base/host_device.h"

namespace decant {

// 64 well-mixed bits of (seed, position): SplitMix64's finaliser (Steele, Lea, Flood, OOPSLA 2014) over both words.
DECANT_HOST_DEVICE uint64_t MixBits(uint64_t seed, uint64_t position) {
  uint64_t z = seed + 0x9e3779b97f4a7c15ull * (position + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

// Uniform in [0, 1) with 24 bits.
DECANT_HOST_DEVICE float UniformFloat(uint64_t seed, uint64_t position) {
  return static_cast<float>(MixBits(seed, position) >> 40) * 0x1p-24f;
}

}  // namespace decant

#endif  // DECANT_COMMON_BASE_RANDOM_H_
