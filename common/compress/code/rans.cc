#include "common/compress/code/rans.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/compress/code/rans_decode.h"
#include "common/compress/code/symbols.h"

namespace decant {
namespace {

template <typename Source>
RansCounts CountSymbols(const uint8_t* segment, int64_t symbols) {
  // Four counters each, so that a run of one symbol does not wait for its own increments.
  uint32_t counts[4][256] = {};
  RansCounts sums{};
  int64_t i = 0;
  while (i < symbols) {
    const int64_t end = std::min(symbols, i + (int64_t{1} << 30));
    for (; i + 4 <= end; i += 4) {
      for (int64_t k = 0; k < 4; ++k) ++counts[k][Source::At(segment, i + k)];
    }
    for (; i < end; ++i) ++counts[0][Source::At(segment, i)];
    for (size_t s = 0; s < sums.size(); ++s) {
      for (auto& counter : counts) {
        sums[s] += counter[s];
        counter[s] = 0;
      }
    }
  }
  return sums;
}

// Writes states and words to the end of `out` and returns how many bytes that is, or -1 when there is no room, with a
// word to spare.
template <typename Source>
int64_t EncodeSymbols(const uint8_t* segment, int64_t symbols, const RansSymbols& table, int32_t lanes,
                      absl::Span<uint8_t> out) {
  std::array<uint32_t, kMaxRansLanes> states;
  states.fill(kRansLow);
  const auto state_bytes = static_cast<int64_t>(lanes) * 4;
  const int64_t last_lane = lanes - 1;
  int64_t at = static_cast<int64_t>(out.size());
  for (int64_t i = symbols - 1; i >= 0; --i) {
    uint32_t& state = states[static_cast<size_t>(i & last_lane)];
    const RansSymbol& symbol = table[Source::At(segment, i)];
    if (at < state_bytes + 2) return -1;
    // Whether a word is due is as good as random: it is always written and kept by moving on.
    const auto word = static_cast<uint16_t>(state);
    std::memcpy(out.data() + at - 2, &word, 2);
    const uint32_t due = state >= symbol.limit ? 1 : 0;
    at -= 2 * static_cast<int64_t>(due);
    state >>= 16 * due;
    state = RansEncodeStep(state, symbol);
  }
  at -= state_bytes;
  if (at < 0) return -1;
  std::memcpy(out.data() + at, states.data(), static_cast<size_t>(state_bytes));
  return static_cast<int64_t>(out.size()) - at;
}

template <typename Source>
std::optional<RansBody> Encode(absl::Span<const uint8_t> in, absl::Span<uint8_t> out, const SharedRansTable* shared) {
  const auto bytes = static_cast<int64_t>(in.size());
  const int64_t symbols = Source::SymbolsOf(bytes);
  const int64_t side = Source::SideOf(symbols);
  if (symbols == 0 || (side > 0 && bytes % 2 != 0)) return std::nullopt;
  const RansCounts counts = CountSymbols<Source>(in.data(), symbols);
  const RansFrequencies own = ScaleCounts(counts);
  const int64_t own_table_bytes = RansTableBytes(own);
  const double own_bytes = RansBits(counts, own) / 8 + static_cast<double>(own_table_bytes);

  RansBody body;
  double coded_bytes = own_bytes;
  if (shared != nullptr && shared->alphabet() == Source::kAlphabet) {
    const double shared_bytes = RansBits(counts, shared->frequencies()) / 8;
    body.form.shared = shared_bytes <= own_bytes;
    coded_bytes = std::min(shared_bytes, own_bytes);
  }
  const int64_t front = side + (body.form.shared ? 0 : own_table_bytes);
  // Hopeless blocks are found before the work is done.
  if (static_cast<double>(side) + coded_bytes > static_cast<double>(out.size())) return std::nullopt;
  if (front > static_cast<int64_t>(out.size())) return std::nullopt;

  body.form.lanes = RansLanesFor(static_cast<int64_t>(coded_bytes));
  Source::WriteSide(in.data(), symbols, out.data());
  RansSymbols built;
  if (!body.form.shared) {
    WriteRansTable(own, out.data() + side);
    BuildRansSymbols(own, built);
  }
  const absl::Span<uint8_t> room = out.subspan(static_cast<size_t>(front));
  const int64_t coded =
      EncodeSymbols<Source>(in.data(), symbols, body.form.shared ? shared->symbols() : built, body.form.lanes, room);
  if (coded < 0) return std::nullopt;
  std::memmove(room.data(), room.data() + room.size() - coded, static_cast<size_t>(coded));
  body.bytes = front + coded;
  return body;
}

absl::Status ReadStates(absl::Span<const uint8_t> in, int32_t lanes, RansReader& reader) {
  const size_t state_bytes = static_cast<size_t>(lanes) * 4;
  if (in.size() < state_bytes) {
    return absl::DataLossError(absl::StrCat(lanes, " states need ", state_bytes, " bytes, ", in.size(), " are left"));
  }
  reader.lanes = lanes;
  std::memcpy(reader.states.data(), in.data(), state_bytes);
  reader.next = in.data() + state_bytes;
  reader.end = in.data() + in.size();
  return absl::OkStatus();
}

absl::Status CheckEnd(const RansReader& reader) {
  if (reader.next != reader.end) {
    return absl::DataLossError(absl::StrCat(reader.end - reader.next, " bytes are left after the last symbol"));
  }
  for (int32_t lane = 0; lane < reader.lanes; ++lane) {
    const uint32_t state = reader.states[static_cast<size_t>(lane)];
    if (state != kRansLow) return absl::DataLossError(absl::StrCat("state ", lane, " ends at ", state));
  }
  return absl::OkStatus();
}

template <typename Source>
absl::Status DecodeWith(const RansSlots& slots, const uint8_t* side, RansReader& reader, absl::Span<uint8_t> out) {
  const int64_t symbols = Source::SymbolsOf(static_cast<int64_t>(out.size()));
  uint8_t tile[kSymbolTile];
  for (int64_t first = 0; first < symbols; first += kSymbolTile) {
    const int64_t count = std::min(kSymbolTile, symbols - first);
    const int64_t fast = DecodeRansRounds(slots, count, reader, tile);
    if (!DecodeRansSymbols(slots, count - fast, reader, tile + fast)) {
      return absl::DataLossError(
          absl::StrCat("the words end between symbols ", first + fast, " and ", first + count, " of ", symbols));
    }
    Source::Restore(tile, side, first, count, out.data());
  }
  return CheckEnd(reader);
}

template <typename Source>
absl::Status Decode(RansForm form, absl::Span<const uint8_t> in, absl::Span<uint8_t> out,
                    const SharedRansTable* shared) {
  const int64_t symbols = Source::SymbolsOf(static_cast<int64_t>(out.size()));
  const auto side = static_cast<size_t>(Source::SideOf(symbols));
  if (out.size() % (side > 0 ? 2 : 1) != 0) {
    return absl::DataLossError(absl::StrCat("16-bit values cannot fill ", out.size(), " bytes"));
  }
  if (in.size() < side) return absl::DataLossError(absl::StrCat(side, " side bytes, but a body of ", in.size()));
  absl::Span<const uint8_t> rest = in.subspan(side);
  RansReader reader;
  if (form.shared) {
    if (shared == nullptr || shared->alphabet() != Source::kAlphabet) {
      return absl::FailedPreconditionError(absl::StrCat("a block coded by a shared table of ", Source::kAlphabet,
                                                        " symbols, but the table given has ",
                                                        shared == nullptr ? 0 : shared->alphabet()));
    }
    DECANT_RETURN_IF_ERROR(ReadStates(rest, form.lanes, reader));
    return DecodeWith<Source>(shared->slots(), in.data(), reader, out);
  }
  RansFrequencies frequencies;
  DECANT_ASSIGN_OR_RETURN(const int64_t table, ReadRansTable(rest, Source::kAlphabet, frequencies));
  rest.remove_prefix(static_cast<size_t>(table));
  DECANT_RETURN_IF_ERROR(ReadStates(rest, form.lanes, reader));
  RansSlots slots;
  BuildRansSlots(frequencies, slots);
  return DecodeWith<Source>(slots, in.data(), reader, out);
}

// Calls `f` with the source's type.
template <typename F>
auto WithSource(SymbolSource source, F f) {
  switch (source) {
    case SymbolSource::kPacked4:
      return f(PackedSymbols<4>());
    case SymbolSource::kPacked2:
      return f(PackedSymbols<2>());
    case SymbolSource::kPacked1:
      return f(PackedSymbols<1>());
    case SymbolSource::kBf16Exponent:
      return f(HalfSymbols<7>());
    case SymbolSource::kFp16High:
      return f(HalfSymbols<8>());
    case SymbolSource::kPacked8:
      break;
  }
  return f(PackedSymbols<8>());
}

}  // namespace

int32_t SourceAlphabet(SymbolSource source) {
  return WithSource(source, [](auto kind) { return decltype(kind)::kAlphabet; });
}

void CountRansSymbols(SymbolSource source, absl::Span<const uint8_t> in, RansCounts& counts) {
  const RansCounts more = WithSource(source, [&](auto kind) {
    using Source = decltype(kind);
    return CountSymbols<Source>(in.data(), Source::SymbolsOf(static_cast<int64_t>(in.size())));
  });
  for (size_t s = 0; s < counts.size(); ++s) counts[s] += more[s];
}

std::optional<RansBody> EncodeRans(SymbolSource source, absl::Span<const uint8_t> in, absl::Span<uint8_t> out,
                                   const SharedRansTable* shared) {
  return WithSource(source, [&](auto kind) { return Encode<decltype(kind)>(in, out, shared); });
}

absl::Status DecodeRans(SymbolSource source, RansForm form, absl::Span<const uint8_t> in, absl::Span<uint8_t> out,
                        const SharedRansTable* shared) {
  DECANT_CHECK_MSG(form.lanes >= 1 && form.lanes <= kMaxRansLanes && (form.lanes & (form.lanes - 1)) == 0, "%d lanes",
                   form.lanes);
  return WithSource(source, [&](auto kind) { return Decode<decltype(kind)>(form, in, out, shared); });
}

}  // namespace decant
