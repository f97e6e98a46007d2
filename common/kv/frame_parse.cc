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

// Whether the ascending lists of the tiers that hold one half, K or V, of a head have every offset below the span and
// none twice.
bool PositionsAreSound(absl::string_view batch, const FrameHeader& header, const FrameRun* runs, bool keys) {
  int32_t next[kFrameTiers] = {0, 0, 0, 0};
  int32_t last = -1;
  while (true) {
    int32_t from = -1;
    int32_t offset = 0;
    for (int32_t tier = 0; tier < kFrameTiers; ++tier) {
      const Format format = FormatOf(header.formats[tier]);
      if ((keys ? format.k : format.v) == Element::kNone || next[tier] == runs[tier].tokens) continue;
      const int32_t candidate = OffsetAt(batch, runs[tier].positions, next[tier]);
      if (from < 0 || candidate < offset) {
        from = tier;
        offset = candidate;
      }
    }
    if (from < 0) return true;
    if (offset <= last || offset >= header.span) return false;
    last = offset;
    ++next[from];
  }
}

}  // namespace

absl::StatusOr<FrameView> ParseFrame(absl::string_view batch, int64_t offset) {
  const auto lost = [&](absl::string_view what) {
    return WithRejectReason(
        absl::DataLossError(absl::StrCat("frame at byte ", offset, ": ", what, "; treat it as a miss")), "malformed");
  };
  FrameView view;
  FrameHeader& header = view.header;
  header.version = EnvelopeVersion(batch, offset) == 1 ? 1 : kFrameVersion;
  const auto header_bytes = static_cast<uint16_t>(FrameHeaderBytes(header.version));
  DECANT_ASSIGN_OR_RETURN(view.bytes,
                          OpenEnvelope(batch, offset, {kFrameMagic, header.version, header_bytes, 0, 0}, "frame"));
  if (const std::string mistake = GetFrameFields(view.bytes, header); !mistake.empty()) return lost(mistake);
  if (const std::string mistake = FrameMistake(header, {}); !mistake.empty()) return lost(mistake);

  const std::vector<int32_t> counts =
      GetCounts(header.version, header.layers, header.heads, view.bytes.substr(header_bytes));
  if (counts.empty()) return lost("directory ends early");
  if (const std::string mistake = FrameMistake(header, counts); !mistake.empty()) return lost(mistake);

  view.layout = PlaceFrame(header, counts, offset);
  if (view.layout.bytes != static_cast<int64_t>(view.bytes.size())) {
    return lost(absl::StrCat("counts need ", view.layout.bytes, " bytes, not ", view.bytes.size()));
  }
  if (header.explicit_positions) {
    for (size_t i = 0; i < counts.size(); i += kFrameTiers) {
      const FrameRun* const runs = view.layout.runs.data() + i;
      if (!PositionsAreSound(batch, header, runs, true) || !PositionsAreSound(batch, header, runs, false)) {
        return lost(absl::StrCat("positions of head ", i / kFrameTiers));
      }
    }
  }
  return view;
}

}  // namespace decant
