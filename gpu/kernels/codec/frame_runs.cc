#include "gpu/kernels/codec/frame_runs.h"

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace decant {
namespace {

absl::Status CheckLayer(const FrameHeader& header, int32_t layer) {
  if (layer >= header.first_layer && layer < header.first_layer + header.layers) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("a frame of layers ", header.first_layer, " to ",
                                                    header.first_layer + header.layers - 1, " where layer ", layer,
                                                    " was expected; treat it as a miss"));
}

// The last run of the same (head, tier) knows.
int32_t TokensBefore(const std::vector<ImportRun>& runs, const ImportRun& run) {
  for (auto it = runs.rbegin(); it != runs.rend(); ++it) {
    if (it->head == run.head && it->tier == run.tier) return it->before + it->tokens;
  }
  return 0;
}

}  // namespace

void AppendEncodeRuns(const FrameHeader& header, const FrameLayout& frame, const OverlayLayout* overlay,
                      int32_t first_token, std::vector<EncodeRun>& runs) {
  DECANT_CHECK_MSG(header.layers == 1, "%d layers", header.layers);
  for (int32_t head = 0; head < header.heads; ++head) {
    for (int32_t tier = 0; tier < kFrameTiers; ++tier) {
      const FrameRun& place = frame.run(0, head, tier);
      if (place.tokens == 0) continue;
      EncodeRun run;
      run.head = head;
      run.tier = tier;
      run.first_token = first_token;
      run.chunk_tokens = header.span;
      run.format = header.formats[tier];
      if (IsHalf(run.format)) {
        // A split chunk: what is frozen comes first, the window last.
        run.tokens = place.tokens;
        run.from = tier == kHigh || tier == kLow ? 0 : header.span - place.tokens;
      }
      run.keys = place.keys;
      run.key_meta = place.key_meta;
      run.values = place.values;
      run.value_meta = place.value_meta;
      run.positions = place.positions;
      run.statistics = place.statistics;
      run.scores = overlay == nullptr ? -1 : overlay->run(0, head, tier);
      runs.push_back(run);
    }
  }
}

absl::Status AppendImportRuns(const BatchPart& part, int32_t layer, const FormatId (&formats)[kTierCount],
                              std::vector<ImportRun>& runs) {
  const FrameHeader& header = part.frame.header;
  if (absl::Status status = CheckLayer(header, layer); !status.ok()) return status;
  const int32_t at = layer - header.first_layer;
  for (int32_t head = 0; head < header.heads; ++head) {
    for (int32_t tier = 0; tier < kFrameTiers; ++tier) {
      const FrameRun& place = part.frame.layout.run(at, head, tier);
      if (place.tokens == 0) continue;
      int32_t to = 0;
      while (to < kTierCount && formats[to] != header.formats[tier]) ++to;
      if (to == kTierCount) {
        return absl::FailedPreconditionError(
            absl::StrCat("format ", static_cast<int>(header.formats[tier]),
                         " is none of the sequence's; reserve with the plan's formats"));
      }
      ImportRun run;
      run.head = header.first_head + head;
      run.tier = to;
      run.tokens = place.tokens;
      run.first_position = header.first_position;
      run.keys = place.keys;
      run.key_meta = place.key_meta;
      run.values = place.values;
      run.value_meta = place.value_meta;
      run.positions = place.positions;
      run.statistics = place.statistics;
      run.scores = part.overlay.has_value() ? part.overlay->layout.run(at, head, tier) : -1;
      run.before = TokensBefore(runs, run);
      runs.push_back(run);
    }
  }
  return absl::OkStatus();
}

absl::Status AppendExpandRuns(const FrameView& frame, int32_t layer, std::vector<ExpandRun>& runs) {
  const FrameHeader& header = frame.header;
  if (absl::Status status = CheckLayer(header, layer); !status.ok()) return status;
  for (int32_t head = 0; head < header.heads; ++head) {
    const int32_t tier = frame.layout.run(layer - header.first_layer, head, kHigh).tokens > 0 ? kHigh : kLow;
    const FrameRun& place = frame.layout.run(layer - header.first_layer, head, tier);
    if (place.tokens != header.span || IsHalf(header.formats[tier])) {
      return absl::FailedPreconditionError(absl::StrCat("head ", head, " holds ", place.tokens, " of ", header.span,
                                                        " tokens in one format; only whole chunks are reused"));
    }
    ExpandRun run;
    run.head = header.first_head + head;
    run.format = header.formats[tier];
    run.tokens = place.tokens;
    run.first_token = header.first_position;
    run.keys = place.keys;
    run.key_meta = place.key_meta;
    run.values = place.values;
    run.value_meta = place.value_meta;
    runs.push_back(run);
  }
  return absl::OkStatus();
}

}  // namespace decant
