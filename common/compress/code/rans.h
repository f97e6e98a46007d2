// Interleaved order-0 rANS over the symbols of one segment (code/symbols.h says what they are).
//
// Body of a block: the source's side bytes as they are; the frequency table (absent with a shared one); `lanes` states
// of 4 bytes; then 16-bit words in the order in which the decoder asks for them: symbol i belongs to state i mod lanes,
// and after each symbol its state takes a word when it is below 2^16. All states end at 2^16 and no word is left over,
// which the decoder checks.
#ifndef DECANT_COMMON_COMPRESS_CODE_RANS_H_
#define DECANT_COMMON_COMPRESS_CODE_RANS_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/compress/code/rans_table.h"

namespace decant {

enum class SymbolSource : uint8_t { kPacked8, kPacked4, kPacked2, kPacked1, kBf16Exponent, kFp16High };

int32_t SourceAlphabet(SymbolSource source);
// Adds the symbols of `in` to `counts`.
void CountRansSymbols(SymbolSource source, absl::Span<const uint8_t> in, RansCounts& counts);

// What the flag byte of a block says besides the coder.
struct RansForm {
  int32_t lanes = 1;    // 1, 2, 4, ... 32
  bool shared = false;  // coded by the caller's table
};

// Codes `in` into `out` and returns the form and the bytes used, or nothing when `out` is too small for the body. With
// a shared table the shorter of the two forms is taken.
struct RansBody {
  RansForm form;
  int64_t bytes = 0;
};
std::optional<RansBody> EncodeRans(SymbolSource source, absl::Span<const uint8_t> in, absl::Span<uint8_t> out,
                                   const SharedRansTable* shared);

// Fills `out`, whose size must be that of the coded segment. DATA_LOSS for a body that no encoder wrote,
// FAILED_PRECONDITION when it needs a shared table and none, or one of another alphabet, was given.
absl::Status DecodeRans(SymbolSource source, RansForm form, absl::Span<const uint8_t> in, absl::Span<uint8_t> out,
                        const SharedRansTable* shared);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_CODE_RANS_H_
