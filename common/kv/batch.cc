#include "common/kv/batch.h"

#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/kv/envelope.h"

namespace decant {
namespace {

bool IsOverlay(absl::string_view rest) {
  uint32_t magic = 0;
  if (rest.size() < sizeof(magic)) return false;
  std::memcpy(&magic, rest.data(), sizeof(magic));
  return magic == kOverlayMagic;
}

}  // namespace

absl::StatusOr<std::vector<BatchPart>> SplitBatch(absl::string_view batch) {
  std::vector<BatchPart> parts;
  size_t offset = 0;
  while (offset < batch.size()) {
    if (!IsOverlay(batch.substr(offset))) {
      BatchPart part;
      DECANT_ASSIGN_OR_RETURN(part.frame, ParseFrame(batch, static_cast<int64_t>(offset)));
      offset += part.frame.bytes.size();
      parts.push_back(std::move(part));
      continue;
    }
    DECANT_ASSIGN_OR_RETURN(OverlayView overlay, ParseOverlay(batch, static_cast<int64_t>(offset)));
    if (parts.empty() || parts.back().overlay.has_value()) {
      return absl::DataLossError(absl::StrCat("overlay at byte ", offset, " follows no frame; treat it as a miss"));
    }
    DECANT_RETURN_IF_ERROR(CheckOverlayMatches(parts.back().frame, overlay));
    offset += overlay.bytes.size();
    parts.back().overlay = std::move(overlay);
  }
  return parts;
}

}  // namespace decant
