#include "gpu/engine/split_import.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/compress/arith/window_split.h"
#include "common/kv/rows.h"

namespace decant {
namespace {

// Positions ascend and none is listed twice, so the last one says whether they are `tokens` in a row from `first` on.
bool IsRowFrom(const FrameRun& run, absl::string_view batch, int32_t first) {
  if (run.tokens == 0) return true;
  if (run.positions < 0) return first == 0;
  uint16_t ends[2];
  std::memcpy(&ends[0], batch.data() + run.positions, 2);
  std::memcpy(&ends[1], batch.data() + run.positions + int64_t{2} * (run.tokens - 1), 2);
  return ends[0] == first && ends[1] == first + run.tokens - 1;
}

}  // namespace

absl::Status CheckSplitFrame(const BatchPart& part, absl::string_view batch, int32_t layer, int32_t prompt_tokens,
                             int32_t window) {
  const FrameHeader& header = part.frame.header;
  const int32_t first = header.first_position;
  const int32_t frozen[2] = {CountBelow(FrozenKeys(prompt_tokens, window), first, header.span),
                             CountBelow(FrozenValues(prompt_tokens, window), first, header.span)};
  const int32_t tokens[kFrameTiers] = {frozen[0], frozen[1], header.span - frozen[0], header.span - frozen[1]};
  for (int32_t head = 0; head < header.heads; ++head) {
    for (int32_t tier = 0; tier < kFrameTiers; ++tier) {
      const FrameRun& run = part.frame.layout.run(layer - header.first_layer, head, tier);
      const int32_t from = tier == kHigh || tier == kLow ? 0 : header.span - tokens[tier];
      if (run.tokens == tokens[tier] && IsRowFrom(run, batch, from)) continue;
      return absl::FailedPreconditionError(absl::StrCat(
          "layer ", layer, ", chunk at position ", first, ", head ", head, ": ", run.tokens, " tokens in tier ", tier,
          " where a prompt of ", prompt_tokens, " tokens and a window of ", window, " have the ", tokens[tier],
          " from offset ", from, " on; abort the transfer and plan the request again"));
    }
  }
  return absl::OkStatus();
}

}  // namespace decant
