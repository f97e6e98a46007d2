#include "common/kv/overlay.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/kv/envelope.h"
#include "common/kv/frame_fields.h"

namespace decant {
namespace {

void PutOverlayFields(const OverlayHeader& header, std::string& out) {
  ByteWriter writer(out);
  writer.Put(static_cast<uint16_t>(header.first_layer));
  writer.Put(static_cast<uint16_t>(header.layers));
  writer.Put(static_cast<uint16_t>(header.first_head));
  writer.Put(static_cast<uint16_t>(header.heads));
  writer.Put(static_cast<uint32_t>(header.first_position));
  writer.Put(static_cast<uint32_t>(header.first_query));
  writer.Put(static_cast<uint16_t>(header.span));
  writer.Put(uint16_t{0});
  writer.Put(uint32_t{0});
  writer.Put(header.model_fingerprint);
}

std::string GetOverlayFields(absl::string_view overlay, OverlayHeader& header) {
  ByteReader reader(overlay.substr(kEnvelopeBytes));
  header.first_layer = reader.Get<uint16_t>();
  header.layers = reader.Get<uint16_t>();
  header.first_head = reader.Get<uint16_t>();
  header.heads = reader.Get<uint16_t>();
  const auto first_position = reader.Get<uint32_t>();
  const auto first_query = reader.Get<uint32_t>();
  header.span = reader.Get<uint16_t>();
  const auto reserved16 = reader.Get<uint16_t>();
  const auto reserved32 = reader.Get<uint32_t>();
  header.model_fingerprint = reader.Get<uint64_t>();
  if (reserved16 != 0 || reserved32 != 0) return "reserved bytes are set";
  if (first_position > 0x7fffffffu || first_query > 0x7fffffffu) {
    return absl::StrCat("first position ", first_position, ", first query ", first_query);
  }
  header.first_position = static_cast<int32_t>(first_position);
  header.first_query = static_cast<int32_t>(first_query);
  if (header.layers < 1 || header.heads < 1 || header.span < 1) {
    return absl::StrCat(header.layers, " layers, ", header.heads, " heads, span ", header.span);
  }
  return {};
}

OverlayLayout PlaceOverlay(const OverlayHeader& header, std::vector<int32_t> tokens, int64_t offset) {
  OverlayLayout layout;
  layout.offset = offset;
  layout.heads = header.heads;
  layout.tokens = std::move(tokens);
  int64_t end = kOverlayHeaderBytes + DirectoryBytes(header.version, header.layers, header.heads);
  for (const int32_t count : layout.tokens) {
    layout.scores.push_back(offset + end);
    end += int64_t{4} * count;
  }
  layout.bytes = AlignFrame(end);
  return layout;
}

}  // namespace

OverlayHeader OverlayHeaderFor(const FrameHeader& frame, int32_t first_query) {
  OverlayHeader header;
  header.first_layer = frame.first_layer;
  header.layers = frame.layers;
  header.first_head = frame.first_head;
  header.heads = frame.heads;
  header.first_position = frame.first_position;
  header.span = frame.span;
  header.first_query = first_query;
  header.model_fingerprint = frame.model_fingerprint;
  return header;
}

OverlayLayout LayOutOverlay(const OverlayHeader& header, const FrameLayout& frame, int64_t offset) {
  DECANT_CHECK(offset >= 0 && offset % kFrameAlignment == 0 && header.first_query >= 0);
  std::vector<int32_t> tokens;
  tokens.reserve(frame.runs.size());
  for (const FrameRun& run : frame.runs) tokens.push_back(run.tokens);
  OverlayLayout layout = PlaceOverlay(header, std::move(tokens), offset);
  DECANT_CHECK(layout.bytes <= int64_t{std::numeric_limits<int32_t>::max()});
  return layout;
}

void SealOverlay(const OverlayHeader& header, const OverlayLayout& layout, uint8_t* batch) {
  std::string head;
  DECANT_CHECK(header.version == kOverlayVersion);
  PutEnvelope({kOverlayMagic, kOverlayVersion, kOverlayHeaderBytes, static_cast<uint32_t>(layout.bytes), 0}, head);
  PutOverlayFields(header, head);
  DECANT_CHECK(head.size() == kOverlayHeaderBytes);
  ByteWriter directory(head);
  int64_t end = kOverlayHeaderBytes + DirectoryBytes(header.version, header.layers, header.heads);
  for (const int32_t count : layout.tokens) {
    directory.Put(static_cast<uint16_t>(count));
    end += int64_t{4} * count;
  }
  head.resize(static_cast<size_t>(kOverlayHeaderBytes + DirectoryBytes(header.version, header.layers, header.heads)),
              '\0');
  uint8_t* part = batch + layout.offset;
  std::memcpy(part, head.data(), head.size());
  std::memset(part + end, 0, static_cast<size_t>(layout.bytes - end));
  SealEnvelope(part, layout.bytes);
}

absl::StatusOr<OverlayView> ParseOverlay(absl::string_view batch, int64_t offset) {
  const auto lost = [&](const auto&... parts) {
    return absl::DataLossError(absl::StrCat("overlay at byte ", offset, ": ", parts..., "; treat it as a miss"));
  };
  OverlayView view;
  OverlayHeader& header = view.header;
  header.version = EnvelopeVersion(batch, offset) == 1 ? 1 : kOverlayVersion;
  DECANT_ASSIGN_OR_RETURN(
      view.bytes, OpenEnvelope(batch, offset, {kOverlayMagic, header.version, kOverlayHeaderBytes, 0, 0}, "overlay"));
  if (const std::string mistake = GetOverlayFields(view.bytes, header); !mistake.empty()) return lost(mistake);

  std::vector<int32_t> tokens =
      GetCounts(header.version, header.layers, header.heads, view.bytes.substr(kOverlayHeaderBytes));
  if (tokens.empty()) return lost("directory ends early");
  view.layout = PlaceOverlay(header, std::move(tokens), offset);
  if (view.layout.bytes != static_cast<int64_t>(view.bytes.size())) {
    return lost("counts need ", view.layout.bytes, " bytes, not ", view.bytes.size());
  }
  ByteReader scores(view.bytes.substr(static_cast<size_t>(view.layout.scores[0] - offset)));
  for (const int32_t count : view.layout.tokens) {
    for (int32_t i = 0; i < count; ++i) {
      const auto score = scores.Get<float>();
      if (!(std::isfinite(score) && score >= 0)) return lost("score ", score);
    }
  }
  return view;
}

absl::Status CheckOverlayMatches(const FrameView& frame, const OverlayView& overlay) {
  const FrameHeader& f = frame.header;
  const OverlayHeader& o = overlay.header;
  const auto differs = [&](absl::string_view field) {
    return absl::DataLossError(absl::StrCat("overlay at byte ", overlay.layout.offset, " differs in its ", field,
                                            " from the frame at byte ", frame.layout.offset, "; treat it as a miss"));
  };
  if (f.model_fingerprint != o.model_fingerprint) return differs("model");
  if (f.first_layer != o.first_layer || f.layers != o.layers) return differs("layers");
  if (f.first_head != o.first_head || f.heads != o.heads) return differs("heads");
  if (f.first_position != o.first_position || f.span != o.span) return differs("chunk");
  for (size_t i = 0; i < frame.layout.runs.size(); ++i) {
    if (frame.layout.runs[i].tokens != overlay.layout.tokens[i]) return differs("token counts");
  }
  return absl::OkStatus();
}

}  // namespace decant
