// One step of an order-0 range coder of the asymmetric-numeral kind (Duda, arXiv 1311.2540), with 32-bit states that
// are refilled by 16-bit words, so that a step moves at most one word.
//
// Frequencies are integers that sum to 4096; no symbol has all 4096, so that a frequency and an offset fit 12 bits
// each. Between steps a state is at least kRansLow. Decoding takes symbols in the order in which encoding must not: the
// encoder runs from the last symbol to the first.
#ifndef DECANT_COMMON_COMPRESS_ARITH_RANS_H_
#define DECANT_COMMON_COMPRESS_ARITH_RANS_H_

#include <cstdint>

#include "common/base/host_device.h"

namespace decant {

inline constexpr uint32_t kRansScaleBits = 12;
inline constexpr uint32_t kRansScale = 1u << kRansScaleBits;
inline constexpr uint32_t kRansLow = 1u << 16;
// Most states that take turns over the symbols of one block: symbol i belongs to state i mod lanes.
inline constexpr int32_t kMaxRansLanes = 32;

// Every lane costs 4 bytes, of which about 2 are lost, at most 1 % of a block; many lanes keep the processor busy.
DECANT_HOST_DEVICE constexpr int32_t RansLanesFor(int64_t bytes) {
  if (bytes >= 8192) return kMaxRansLanes;
  if (bytes >= 4096) return 16;
  if (bytes >= 1024) return 8;
  return bytes >= 256 ? 2 : 1;
}

// Bits of a symbol of this frequency: 12 - log2(frequency), to within 1e-7 and the same on every device, because the
// number of lanes follows from their sum. log2 of the mantissa m is 2 / ln 2 (s + s^3 / 3 + ...), s = (m - 1) / (m +
// 1).
DECANT_HOST_DEVICE double RansSymbolBits(uint32_t frequency) {
  int32_t exponent = 0;
  while (frequency >> (exponent + 1) != 0) ++exponent;
  const double mantissa = static_cast<double>(frequency) / static_cast<double>(uint32_t{1} << exponent);
  const double s = (mantissa - 1.0) / (mantissa + 1.0);
  const double square = s * s;
  double series = 0.0;
  for (int32_t n = 13; n >= 1; n -= 2) series = series * square + 1.0 / static_cast<double>(n);
  return static_cast<double>(kRansScaleBits) - static_cast<double>(exponent) - 2.8853900817779268 * (series * s);
}

// The frequency that comes nearest to a symbol's share; one that was counted has at least 1.
DECANT_HOST_DEVICE constexpr uint32_t RansShare(uint64_t count, uint64_t total) {
  const uint64_t nearest = (count * kRansScale + total / 2) / total;
  return count == 0 ? 0 : nearest > 1 ? static_cast<uint32_t>(nearest) : 1;
}
// What one step of a frequency, up or down, is worth to a symbol. Steps go up where it is largest, down where it is
// least, of equal ones at the lower symbol.
DECANT_HOST_DEVICE double RansStepGain(uint64_t count, uint32_t frequency, bool up) {
  return static_cast<double>(count) / static_cast<double>(up ? frequency : frequency - 1);
}

// What the decoder looks up by the low 12 bits of a state: symbol, frequency and place within the symbol's range.
DECANT_HOST_DEVICE constexpr uint32_t RansSlot(uint32_t symbol, uint32_t frequency, uint32_t place) {
  return symbol | frequency << 8 | place << 20;
}
DECANT_HOST_DEVICE constexpr uint8_t RansSlotSymbol(uint32_t slot) { return static_cast<uint8_t>(slot & 0xffu); }

// The state without the symbol of `slot`; a word is due when the result is below kRansLow.
DECANT_HOST_DEVICE constexpr uint32_t RansDecodeStep(uint32_t state, uint32_t slot) {
  return ((slot >> 8) & (kRansScale - 1)) * (state >> kRansScaleBits) + (slot >> 20);
}
DECANT_HOST_DEVICE constexpr uint32_t RansRefill(uint32_t state, uint16_t word) { return state << 16 | word; }

// What the encoder needs of a symbol; a division by its frequency is a multiplication with the reciprocal.
struct RansSymbol {
  uint64_t reciprocal = 0;
  uint32_t limit = 0;  // a state from here on gives a word away first; 0: the symbol has no frequency
  uint32_t bias = 0;
  uint32_t complement = 0;  // 4096 - frequency
};

// REQUIRES: 0 < frequency < 4096 and start + frequency <= 4096.
DECANT_HOST_DEVICE constexpr RansSymbol MakeRansSymbol(uint32_t start, uint32_t frequency) {
  RansSymbol symbol;
  symbol.limit = frequency << (32 - kRansScaleBits);
  symbol.complement = kRansScale - frequency;
  // With the reciprocal rounded up the quotient of every 32-bit state is exact; that of frequency 1 does not fit and is
  // one too small, which the bias makes good.
  symbol.reciprocal = frequency == 1 ? ~0ull : ~0ull / frequency + 1;
  symbol.bias = frequency == 1 ? start + kRansScale - 1 : start;
  return symbol;
}

DECANT_HOST_DEVICE uint64_t HighOfProduct(uint64_t a, uint64_t b) {
#if defined(__CUDA_ARCH__)
  return __umul64hi(a, b);
#else
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>(static_cast<Wide>(a) * b >> 64);
#endif
}

// REQUIRES: state < symbol.limit.
DECANT_HOST_DEVICE uint32_t RansEncodeStep(uint32_t state, const RansSymbol& symbol) {
  const uint32_t quotient = static_cast<uint32_t>(HighOfProduct(state, symbol.reciprocal));
  return state + symbol.bias + quotient * symbol.complement;
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ARITH_RANS_H_
