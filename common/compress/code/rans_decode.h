// The decoder's inner loop: interleaved states over one stream of words.
#ifndef DECANT_COMMON_COMPRESS_CODE_RANS_DECODE_H_
#define DECANT_COMMON_COMPRESS_CODE_RANS_DECODE_H_

#include <array>
#include <cstdint>

#include "common/compress/code/rans_table.h"

namespace decant {

// Where a decoder stands. Words follow each other in the order in which the decoder asks for them.
struct RansReader {
  const uint8_t* next = nullptr;  // borrowed
  const uint8_t* end = nullptr;
  std::array<uint32_t, kMaxRansLanes> states{};
  int32_t lanes = 1;  // a power of two
};

// Decodes `count` symbols, the first of which belongs to state 0. Returns false when the words run out; what was
// written then is meaningless. The plain loop, which the vectors below must equal.
bool DecodeRansSymbols(const RansSlots& slots, int64_t count, RansReader& reader, uint8_t* symbols);

// Decodes as many whole rounds of all lanes as vectors can without reading past the end, at most `count` symbols, and
// returns how many symbols that was: 0 where the machine or the number of lanes has no vector form.
int64_t DecodeRansRounds(const RansSlots& slots, int64_t count, RansReader& reader, uint8_t* symbols);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_CODE_RANS_DECODE_H_
