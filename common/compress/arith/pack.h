// Eight codes at a time between one byte each and their packed form, little end first: element 0 in the lowest bits.
#ifndef DECANT_COMMON_COMPRESS_ARITH_PACK_H_
#define DECANT_COMMON_COMPRESS_ARITH_PACK_H_

#include <cstdint>
#include <cstring>

#include "common/base/host_device.h"

namespace decant {

// Eight bytes with a code below 2^bits each -> 8 * bits bits.
DECANT_HOST_DEVICE constexpr uint64_t PackEight(uint64_t codes, int32_t bits) {
  if (bits == 1) return (codes * 0x0102040810204080ull) >> 56;  // every product bit is hit once: no carries
  if (bits == 2) {
    codes = (codes | (codes >> 6)) & 0x000f000f000f000full;
    codes = (codes | (codes >> 12)) & 0x000000ff000000ffull;
    return (codes | (codes >> 24)) & 0xffffull;
  }
  if (bits == 4) {
    codes = (codes | (codes >> 4)) & 0x00ff00ff00ff00ffull;
    codes = (codes | (codes >> 8)) & 0x0000ffff0000ffffull;
    return (codes | (codes >> 16)) & 0xffffffffull;
  }
  return codes;
}

// The way back.
DECANT_HOST_DEVICE constexpr uint64_t UnpackEight(uint64_t packed, int32_t bits) {
  if (bits == 1) {
    packed = (packed * 0x0101010101010101ull) & 0x8040201008040201ull;
    return ((packed + 0x7f7f7f7f7f7f7f7full) >> 7) & 0x0101010101010101ull;
  }
  if (bits == 2) {
    packed = (packed | (packed << 24)) & 0x000000ff000000ffull;
    packed = (packed | (packed << 12)) & 0x000f000f000f000full;
    return (packed | (packed << 6)) & 0x0303030303030303ull;
  }
  if (bits == 4) {
    packed = (packed | (packed << 16)) & 0x0000ffff0000ffffull;
    packed = (packed | (packed << 8)) & 0x00ff00ff00ff00ffull;
    return (packed | (packed << 4)) & 0x0f0f0f0f0f0f0f0full;
  }
  return packed;
}

template <int32_t kBits>
DECANT_HOST_DEVICE void PackCodesOf(const uint8_t* codes, int32_t count, uint8_t* packed) {
  for (int32_t i = 0; i < count; i += 8) {
    uint64_t eight;
    memcpy(&eight, codes + i, 8);
    eight = PackEight(eight, kBits);
    memcpy(packed + i / 8 * kBits, &eight, kBits);
  }
}

template <int32_t kBits>
DECANT_HOST_DEVICE void UnpackCodesOf(const uint8_t* packed, int32_t count, uint8_t* codes) {
  for (int32_t i = 0; i < count; i += 8) {
    uint64_t eight = 0;
    memcpy(&eight, packed + i / 8 * kBits, kBits);
    eight = UnpackEight(eight, kBits);
    memcpy(codes + i, &eight, 8);
  }
}

// `count` codes, a multiple of 8, one byte each -> count * bits / 8 bytes; bits is 1, 2, 4 or 8.
DECANT_HOST_DEVICE void PackCodes(const uint8_t* codes, int32_t count, int32_t bits, uint8_t* packed) {
  if (bits == 1) return PackCodesOf<1>(codes, count, packed);
  if (bits == 2) return PackCodesOf<2>(codes, count, packed);
  if (bits == 4) return PackCodesOf<4>(codes, count, packed);
  PackCodesOf<8>(codes, count, packed);
}

DECANT_HOST_DEVICE void UnpackCodes(const uint8_t* packed, int32_t count, int32_t bits, uint8_t* codes) {
  if (bits == 1) return UnpackCodesOf<1>(packed, count, codes);
  if (bits == 2) return UnpackCodesOf<2>(packed, count, codes);
  if (bits == 4) return UnpackCodesOf<4>(packed, count, codes);
  UnpackCodesOf<8>(packed, count, codes);
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ARITH_PACK_H_
