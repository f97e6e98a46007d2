#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"
#include "common/base/status_macros.h"
#include "common/kv/envelope.h"
#include "common/kv/frame.h"
#include "common/kv/frame_fields.h"
#include "common/kv/reject_reason.h"

namespace decant {
namespace {

uint16_t OffsetAt(absl::string_view batch, int64_t positions, int32_t token) {
  uint16_t offset;
  std::memcpy(&offset, batch.data() + positions + int64_t{2} * token, 2);
  return offset;
}

// Merges the two ascending lists of a head: every offset below the span, none twice.
bool PositionsAreSound(absl::string_view batch, const FrameRun& high, const FrameRun& low, int32_t span) {
  int32_t last = -1;
  int32_t h = 0;
  int32_t l = 0;
  while (h < high.tokens || l < low.tokens) {
    const int32_t from_high = h < high.tokens ? OffsetAt(batch, high.positions, h) : span;
    const int32_t from_low = l < low.tokens ? OffsetAt(batch, low.positions, l) : span;
    const int32_t next = from_high < from_low ? from_high : from_low;
    if (next <= last || next >= span || from_high == from_low) return false;
    if (from_high == next) {
      ++h;
    } else {
      ++l;
    }
    last = next;
  }
  return true;
}

}  // namespace

absl::StatusOr<FrameView> ParseFrame(absl::string_view batch, int64_t offset) {
  const auto lost = [&](absl::string_view what) {
    return WithRejectReason(
        absl::DataLossError(absl::StrCat("frame at byte ", offset, ": ", what, "; treat it as a miss")), "malformed");
  };
  FrameView view;
  DECANT_ASSIGN_OR_RETURN(view.bytes,
                          OpenEnvelope(batch, offset, {kFrameMagic, kFrameVersion, kFrameHeaderBytes, 0, 0}, "frame"));
  FrameHeader& header = view.header;
  if (const std::string mistake = GetFrameFields(view.bytes, header); !mistake.empty()) return lost(mistake);
  if (const std::string mistake = FrameMistake(header, {}); !mistake.empty()) return lost(mistake);

  const uint64_t entries = uint64_t{1} * static_cast<uint64_t>(header.layers) * static_cast<uint64_t>(header.heads) * 2;
  ByteReader directory(view.bytes.substr(kFrameHeaderBytes));
  if (entries * sizeof(uint16_t) > directory.rest().size()) return lost("directory ends early");
  std::vector<int32_t> counts(entries);
  for (int32_t& count : counts) count = directory.Get<uint16_t>();
  if (const std::string mistake = FrameMistake(header, counts); !mistake.empty()) return lost(mistake);

  view.layout = PlaceFrame(header, counts, offset);
  if (view.layout.bytes != static_cast<int64_t>(view.bytes.size())) {
    return lost(absl::StrCat("counts need ", view.layout.bytes, " bytes, not ", view.bytes.size()));
  }
  if (header.explicit_positions) {
    for (size_t i = 0; i < counts.size(); i += kFrameTiers) {
      if (!PositionsAreSound(batch, view.layout.runs[i], view.layout.runs[i + 1], header.span)) {
        return lost(absl::StrCat("positions of head ", i / kFrameTiers));
      }
    }
  }
  return view;
}

}  // namespace decant
