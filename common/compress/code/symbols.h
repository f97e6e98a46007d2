// What an order-0 coder takes for symbols in the bytes of a segment, and how the bytes come back exactly.
//
// Each source names: kAlphabet; SymbolsOf(bytes), the number of symbols in a segment; SideOf(symbols), the bytes beside
// them that are stored as they are, SideAt, one of them, and WriteSide, which collects all; At(segment, i), symbol i;
// Restore, which writes the bytes of symbols [first, first + count), where first is a multiple of kSymbolTile;
// kPerByte, the symbols of a byte of packed ones; Join, a 16-bit value of its symbol and side.
#ifndef DECANT_COMMON_COMPRESS_CODE_SYMBOLS_H_
#define DECANT_COMMON_COMPRESS_CODE_SYMBOLS_H_

#include <cstdint>
#include <cstring>

#include "common/base/host_device.h"
#include "common/compress/arith/pack.h"

namespace decant {

// Symbols that are decoded before they are put in place; a multiple of 8 and of the coder's lanes.
inline constexpr int64_t kSymbolTile = 4096;

// One-bit codes, which PackCodes leaves out: a multiplication gathers the low bits of eight bytes, or spreads them.
inline void PackBits(const uint8_t* codes, int64_t count, uint8_t* packed) {
  for (int64_t i = 0; i < count; i += 8) {
    uint64_t eight;
    std::memcpy(&eight, codes + i, 8);
    packed[i / 8] = static_cast<uint8_t>((eight & 0x0101010101010101ull) * 0x0102040810204080ull >> 56);
  }
}
inline void UnpackBits(const uint8_t* packed, int64_t count, uint8_t* codes) {
  for (int64_t i = 0; i < count; i += 8) {
    uint64_t eight = (packed[i / 8] * 0x0101010101010101ull) & 0x8040201008040201ull;
    eight = (eight + 0x00406070787c7e7full) >> 7 & 0x0101010101010101ull;
    std::memcpy(codes + i, &eight, 8);
  }
}

// Segments of packed codes, 1, 2, 4 or 8 bits each, to one byte per code and back; symbols = bytes * 8 / bits. Whatever
// the bits hold comes back exactly, padding included.
template <int32_t kBits>
void SymbolsOfPacked(const uint8_t* packed, int64_t bytes, uint8_t* symbols) {
  constexpr int64_t kPerByte = 8 / kBits;
  const int64_t whole = bytes / kBits * kBits;
  if constexpr (kBits == 1) {
    UnpackBits(packed, bytes * 8, symbols);
  } else {
    UnpackCodesOf<kBits>(packed, static_cast<int32_t>(whole * kPerByte), symbols);
  }
  for (int64_t i = whole * kPerByte; i < bytes * kPerByte; ++i) {
    symbols[i] = static_cast<uint8_t>((packed[i / kPerByte] >> (i % kPerByte * kBits)) & (int{1 << kBits} - 1));
  }
}
template <int32_t kBits>
void PackedOfSymbols(const uint8_t* symbols, int64_t bytes, uint8_t* packed) {
  constexpr int64_t kPerByte = 8 / kBits;
  const int64_t whole = bytes / kBits * kBits;
  if constexpr (kBits == 1) {
    PackBits(symbols, bytes * 8, packed);
  } else {
    PackCodesOf<kBits>(symbols, static_cast<int32_t>(whole * kPerByte), packed);
  }
  for (int64_t byte = whole; byte < bytes; ++byte) {
    uint32_t value = 0;
    for (int64_t i = 0; i < kPerByte; ++i) {
      value |= static_cast<uint32_t>(symbols[byte * kPerByte + i]) << (i * kBits);
    }
    packed[byte] = static_cast<uint8_t>(value);
  }
}

template <int32_t kBits>
struct PackedSymbols {
  static constexpr int32_t kAlphabet = 1 << kBits;
  static constexpr int64_t kPerByte = 8 / kBits;
  DECANT_HOST_DEVICE static constexpr int64_t SymbolsOf(int64_t bytes) { return bytes * kPerByte; }
  DECANT_HOST_DEVICE static constexpr int64_t SideOf(int64_t) { return 0; }
  DECANT_HOST_DEVICE static uint8_t SideAt(const uint8_t*, int64_t) { return 0; }
  DECANT_HOST_DEVICE static uint8_t At(const uint8_t* segment, int64_t i) {
    return static_cast<uint8_t>((segment[i / kPerByte] >> (i % kPerByte * kBits)) & (kAlphabet - 1));
  }
  static void WriteSide(const uint8_t*, int64_t, uint8_t*) {}
  static void Restore(const uint8_t* symbols, const uint8_t*, int64_t first, int64_t count, uint8_t* segment) {
    PackedOfSymbols<kBits>(symbols, count / (8 / kBits), segment + first / (8 / kBits));
  }
};

// Little-endian 16-bit values of which bits [kLow, kLow + 8) are the symbol; the other eight, the low ones first, are
// the side. kLow 7 takes the exponent of bf16, kLow 8 sign, exponent and two bits of fp16.
template <int32_t kLow>
struct HalfSymbols {
  static constexpr int32_t kAlphabet = 256;
  static constexpr uint32_t kLowMask = (1u << kLow) - 1;
  DECANT_HOST_DEVICE static constexpr int64_t SymbolsOf(int64_t bytes) { return bytes / 2; }
  DECANT_HOST_DEVICE static constexpr int64_t SideOf(int64_t symbols) { return symbols; }
  DECANT_HOST_DEVICE static uint32_t Value(const uint8_t* segment, int64_t i) {
    return uint32_t{segment[2 * i]} | uint32_t{segment[2 * i + 1]} << 8;
  }
  DECANT_HOST_DEVICE static uint8_t At(const uint8_t* segment, int64_t i) {
    return static_cast<uint8_t>(Value(segment, i) >> kLow & 0xffu);
  }
  DECANT_HOST_DEVICE static uint8_t SideAt(const uint8_t* segment, int64_t i) {
    const uint32_t value = Value(segment, i);
    return static_cast<uint8_t>((value & kLowMask) | (value >> 8 & ~kLowMask));
  }
  DECANT_HOST_DEVICE static uint16_t Join(uint8_t symbol, uint8_t side) {
    const uint32_t rest = side;
    return static_cast<uint16_t>((rest & kLowMask) | static_cast<uint32_t>(symbol) << kLow | (rest & ~kLowMask) << 8);
  }
  static void WriteSide(const uint8_t* segment, int64_t symbols, uint8_t* side) {
    for (int64_t i = 0; i < symbols; ++i) side[i] = SideAt(segment, i);
  }
  static void Restore(const uint8_t* symbols, const uint8_t* side, int64_t first, int64_t count, uint8_t* segment) {
    for (int64_t i = 0; i < count; ++i) {
      const uint16_t value = Join(symbols[i], side[first + i]);
      std::memcpy(segment + 2 * (first + i), &value, 2);
    }
  }
};

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_CODE_SYMBOLS_H_
