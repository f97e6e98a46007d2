// Lossless coding of frame segments, one block a segment or a part of it.
//
// A block is a flag byte and a body. Flag: bits 0-3 the coder, bits 4-6 the binary logarithm of rANS lanes, bit 7 set
// when the body was coded by the caller's shared table. A coder that does not shrink is replaced by kRaw, so a block is
// never more than one byte longer than what it holds. The size of what it holds is not stored: frames derive it from
// counts.
//
// Pure functions: no allocation while decoding, any thread.
#ifndef DECANT_COMMON_COMPRESS_CODE_BLOCK_H_
#define DECANT_COMMON_COMPRESS_CODE_BLOCK_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/compress/code/rans_table.h"

namespace decant {

// Numbers are stored; they never change meaning.
enum class Coder : uint8_t {
  kRaw = 0,
  kRans8 = 1,  // symbols are bytes
  kRans4 = 2,  // packed codes of 4 bits, low nibble first
  kRans2 = 3,
  kRans1 = 4,
  kBf16Exponent = 5,  // bf16: exponents by rANS, sign and mantissa as they are
  kFp16High = 6,      // fp16 (scales, zeros): high bytes by rANS, low bytes as they are
  kPositions = 7,     // 16-bit positions: gaps as varints
};
inline constexpr int32_t kCoderCount = 8;

// The rANS coder for packed codes of 1, 2, 4 or 8 bits; the number of levels may be any that fits the bits. kRaw
// otherwise.
Coder CoderOfBits(int32_t bits);
// Symbols of the coder's table, 0 for coders without one.
int32_t CoderAlphabet(Coder coder);

constexpr int64_t MaxBlockBytes(int64_t bytes) { return bytes + 1; }

// Codes `in` into `out` and returns the block's bytes. `shared`, when it has the coder's alphabet, is used where that
// is shorter than a table of its own. INVALID_ARGUMENT when `out` is smaller than MaxBlockBytes(in.size()).
absl::StatusOr<int64_t> EncodeBlock(Coder coder, absl::Span<const uint8_t> in, absl::Span<uint8_t> out,
                                    const SharedRansTable* shared = nullptr);

// Fills the whole of `out` from the block `in`. DATA_LOSS for a block that no EncodeBlock of a segment of out.size()
// bytes wrote, FAILED_PRECONDITION when it needs a shared table that was not given; `out` is then meaningless. Never
// reads or writes outside the two, whatever `in` holds.
absl::Status DecodeBlock(absl::Span<const uint8_t> in, absl::Span<uint8_t> out,
                         const SharedRansTable* shared = nullptr);

// Adds the symbols that `coder` would take from `in` to `counts`: the calibration of a shared table.
void CountBlockSymbols(Coder coder, absl::Span<const uint8_t> in, RansCounts& counts);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_CODE_BLOCK_H_
