// Where bytes live.
#ifndef DECANT_COMMON_KV_TIER_H_
#define DECANT_COMMON_KV_TIER_H_

#include <cstdint>

namespace decant {

enum class Tier : uint8_t { kDevice = 0, kHost = 1, kDisk = 2, kRemote = 3 };
inline constexpr int kTiers = 4;

}  // namespace decant

#endif  // DECANT_COMMON_KV_TIER_H_
