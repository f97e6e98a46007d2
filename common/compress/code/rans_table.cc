#include "common/compress/code/rans_table.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

// The symbol whose bits change least (sign -1) or gain most (sign +1) by one step of its frequency.
size_t BestStep(const RansCounts& counts, const RansFrequencies& frequencies, bool up) {
  size_t best = frequencies.size();
  double best_gain = 0;
  for (size_t s = 0; s < frequencies.size(); ++s) {
    if (counts[s] == 0 || (!up && frequencies[s] == 1)) continue;
    const double gain = RansStepGain(counts[s], frequencies[s], up);
    if (best == frequencies.size() || (up ? gain > best_gain : gain < best_gain)) {
      best = s;
      best_gain = gain;
    }
  }
  return best;
}

}  // namespace

RansFrequencies ScaleCounts(const RansCounts& counts) {
  const uint64_t total = std::accumulate(counts.begin(), counts.end(), uint64_t{0});
  DECANT_CHECK_MSG(total > 0 && total < (uint64_t{1} << 50), "%llu symbols counted",
                   static_cast<unsigned long long>(total));
  RansFrequencies frequencies{};
  int64_t missing = kRansScale;
  for (size_t s = 0; s < counts.size(); ++s) {
    if (counts[s] == 0) continue;
    frequencies[s] = static_cast<uint16_t>(RansShare(counts[s], total));
    missing -= frequencies[s];
  }
  for (; missing > 0; --missing) ++frequencies[BestStep(counts, frequencies, true)];
  for (; missing < 0; ++missing) --frequencies[BestStep(counts, frequencies, false)];
  for (size_t s = 0; s < frequencies.size(); ++s) {
    if (frequencies[s] != kRansScale) continue;
    frequencies[s] = kRansScale - 1;
    frequencies[s ^ 1] = 1;
    break;
  }
  return frequencies;
}

void BuildRansSlots(const RansFrequencies& frequencies, RansSlots& slots) {
  size_t slot = 0;
  for (uint32_t s = 0; s < frequencies.size(); ++s) {
    for (uint32_t place = 0; place < frequencies[s]; ++place) slots[slot++] = RansSlot(s, frequencies[s], place);
  }
  DECANT_CHECK_MSG(slot == slots.size(), "%zu of %zu slots", slot, slots.size());
}

void BuildRansSymbols(const RansFrequencies& frequencies, RansSymbols& symbols) {
  uint32_t start = 0;
  for (size_t s = 0; s < frequencies.size(); ++s) {
    symbols[s] = frequencies[s] == 0 ? RansSymbol{} : MakeRansSymbol(start, frequencies[s]);
    start += frequencies[s];
  }
}

double RansBits(const RansCounts& counts, const RansFrequencies& frequencies) {
  double bits = 0;
  for (size_t s = 0; s < counts.size(); ++s) {
    if (counts[s] == 0) continue;
    if (frequencies[s] == 0) return std::numeric_limits<double>::infinity();
    bits += static_cast<double>(counts[s]) * RansSymbolBits(frequencies[s]);
  }
  return bits;
}

int64_t RansTableBytes(const RansFrequencies& frequencies) {
  uint8_t stored[kMaxRansTableBytes];
  return WriteRansTable(frequencies, stored);
}

int64_t WriteRansTable(const RansFrequencies& frequencies, uint8_t* out) {
  size_t first = 0;
  size_t last = frequencies.size() - 1;
  while (first < last && frequencies[first] == 0) ++first;
  while (last > first && frequencies[last] == 0) --last;
  out[0] = static_cast<uint8_t>(first);
  out[1] = static_cast<uint8_t>(last);
  int64_t bytes = 2;
  for (size_t s = first; s < last; ++s) {
    const uint32_t frequency = frequencies[s];
    if (frequency >= 128) out[bytes++] = static_cast<uint8_t>(0x80u | (frequency & 0x7fu));
    out[bytes++] = static_cast<uint8_t>(frequency >= 128 ? frequency >> 7 : frequency);
  }
  return bytes;
}

absl::StatusOr<int64_t> ReadRansTable(absl::Span<const uint8_t> in, int32_t alphabet, RansFrequencies& frequencies) {
  if (in.size() < 2) return absl::DataLossError(absl::StrCat("a frequency table of ", in.size(), " bytes, needs 2"));
  const size_t first = in[0];
  const size_t last = in[1];
  if (first >= last || last >= static_cast<size_t>(alphabet)) {
    return absl::DataLossError(
        absl::StrCat("a frequency table from symbol ", first, " to ", last, " in an alphabet of ", alphabet));
  }
  frequencies.fill(0);
  size_t next = 2;
  uint32_t sum = 0;
  for (size_t s = first; s < last; ++s) {
    uint32_t frequency = 0x80u;
    if (next < in.size()) frequency = in[next++];
    if (frequency >= 0x80u) {
      if (next >= in.size()) return absl::DataLossError(absl::StrCat("a frequency table ends at symbol ", s));
      frequency = (frequency & 0x7fu) | static_cast<uint32_t>(in[next++]) << 7;
    }
    sum += frequency;
    if (sum >= kRansScale) {
      return absl::DataLossError(absl::StrCat("frequencies up to symbol ", s, " sum to ", sum, ", limit ", kRansScale));
    }
    frequencies[s] = static_cast<uint16_t>(frequency);
  }
  if (sum == 0) return absl::DataLossError(absl::StrCat("a frequency table with symbol ", last, " alone"));
  frequencies[last] = static_cast<uint16_t>(kRansScale - sum);
  return static_cast<int64_t>(next);
}

absl::StatusOr<SharedRansTable> SharedRansTable::Create(const RansCounts& counts, int32_t alphabet) {
  if (alphabet < 2 || alphabet > 256) {
    return absl::InvalidArgumentError(absl::StrCat("an alphabet of ", alphabet, " symbols; it has 2 to 256"));
  }
  RansCounts smoothed = counts;
  for (size_t s = 0; s < smoothed.size(); ++s) {
    if (s < static_cast<size_t>(alphabet)) {
      smoothed[s] += 1;
    } else if (counts[s] > 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("symbol ", s, " was counted ", counts[s], " times in an alphabet of ", alphabet));
    }
  }
  SharedRansTable table;
  table.alphabet_ = alphabet;
  table.frequencies_ = ScaleCounts(smoothed);
  BuildRansSlots(table.frequencies_, table.slots_);
  BuildRansSymbols(table.frequencies_, table.symbols_);
  return table;
}

}  // namespace decant
