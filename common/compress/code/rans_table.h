// The frequencies of an order-0 coder and what is built from them. A table belongs to one block, or is made once from
// many blocks (a calibration) and shared: on short blocks the table costs more than the symbols give.
#ifndef DECANT_COMMON_COMPRESS_CODE_RANS_TABLE_H_
#define DECANT_COMMON_COMPRESS_CODE_RANS_TABLE_H_

#include <array>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/compress/arith/rans.h"

namespace decant {

using RansCounts = std::array<uint64_t, 256>;
// Sums to 4096 over at least two symbols.
using RansFrequencies = std::array<uint16_t, 256>;
using RansSlots = std::array<uint32_t, kRansScale>;
using RansSymbols = std::array<RansSymbol, 256>;

// Every symbol that was counted keeps at least 1; a lone symbol leaves 1 to its neighbour. REQUIRES: a count above 0.
RansFrequencies ScaleCounts(const RansCounts& counts);

void BuildRansSlots(const RansFrequencies& frequencies, RansSlots& slots);
void BuildRansSymbols(const RansFrequencies& frequencies, RansSymbols& symbols);

// Bits that symbols counted like this cost; infinite when one of them has no frequency.
double RansBits(const RansCounts& counts, const RansFrequencies& frequencies);

// Stored form: first and last symbol (1 byte each), then the frequencies from first to the one before last as
// little-endian base-128 numbers of 1 or 2 bytes; the last one is what is missing to 4096.
inline constexpr int64_t kMaxRansTableBytes = 2 + 2 * 255;
int64_t RansTableBytes(const RansFrequencies& frequencies);
// REQUIRES: out holds RansTableBytes(). Returns the bytes written.
int64_t WriteRansTable(const RansFrequencies& frequencies, uint8_t* out);
// Returns the bytes read. DATA_LOSS for anything that is not a table of symbols below `alphabet`.
absl::StatusOr<int64_t> ReadRansTable(absl::Span<const uint8_t> in, int32_t alphabet, RansFrequencies& frequencies);

// A table for many blocks, built once; immutable afterwards, so any thread may use it. About 22 KiB.
class SharedRansTable {
 public:
  // Every symbol below `alphabet` (2 to 256) can be coded, seen or not. INVALID_ARGUMENT when counts has others.
  static absl::StatusOr<SharedRansTable> Create(const RansCounts& counts, int32_t alphabet);

  const RansFrequencies& frequencies() const { return frequencies_; }
  const RansSlots& slots() const { return slots_; }
  const RansSymbols& symbols() const { return symbols_; }
  int32_t alphabet() const { return alphabet_; }

 private:
  SharedRansTable() = default;

  RansFrequencies frequencies_{};
  RansSlots slots_{};
  RansSymbols symbols_{};
  int32_t alphabet_ = 0;
};

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_CODE_RANS_TABLE_H_
