// Where a run of a frame goes: what host and device schedules of ImportFrames share.
#ifndef DECANT_GPU_KERNELS_PAGES_IMPORT_RUN_H_
#define DECANT_GPU_KERNELS_PAGES_IMPORT_RUN_H_

#include <cstdint>
#include <cstring>

#include "common/base/host_device.h"
#include "gpu/kernels/pages/page_ops.h"
#include "gpu/kernels/pages/slot.h"

namespace decant {

struct RunTarget {
  FormatId format = FormatId::kNone;
  int32_t page_tokens = 0;
  int32_t slot = 0;    // of the run's first token
  int32_t window = 0;  // slots that are used in turn, 0: they only grow
  bool fits = false;   // false: GrowRows ran out of pages and said so; there is no place to write to
};

// `state` is the head's before the operation.
DECANT_HOST_DEVICE RunTarget TargetOf(const ImportFramesArgs& args, const ImportRun& run, const HeadState& state) {
  RunTarget target;
  target.format = args.rows->formats[run.tier];
  target.page_tokens = args.arena.layouts[static_cast<int32_t>(target.format)].tokens;
  const int64_t room = int64_t{state.pages[run.tier]} * target.page_tokens;
  const int32_t held = state.tokens[run.tier] + run.before;
  target.slot = held;
  target.fits = run.tokens > 0 && held + run.tokens <= room;
  // The window of a split row: a token stands where its position says.
  if (!args.rows->split() || run.tier != kTail) return target;
  uint16_t offset = 0;
  if (run.positions >= 0) memcpy(&offset, args.frames + run.positions, sizeof(offset));
  target.window = args.rows->window;
  target.slot = (run.first_position + offset) % target.window;
  target.fits = target.fits && (target.window <= room || target.slot + run.tokens <= room);
  return target;
}

// The tokens of a run that go into one page: [first, first + count) of the run, from slot `slot` of the tier on.
struct RunPart {
  int32_t first = 0;
  int32_t count = 0;
  int32_t slot = 0;
};

// The part behind `part`, or the first one of a part with count 0; count 0 behind the last.
DECANT_HOST_DEVICE RunPart NextPart(const RunTarget& target, int32_t run_tokens, const RunPart& part) {
  RunPart next;
  next.first = part.first + part.count;
  next.slot = part.slot + part.count;
  if (target.window > 0 && next.slot == target.window) next.slot = 0;
  const int32_t in_page = target.page_tokens - next.slot % target.page_tokens;
  next.count = run_tokens - next.first < in_page ? run_tokens - next.first : in_page;
  if (target.window > 0 && next.slot + next.count > target.window) next.count = target.window - next.slot;
  return next;
}
DECANT_HOST_DEVICE RunPart FirstPart(const RunTarget& target, int32_t run_tokens) {
  RunPart none;
  none.slot = target.slot;
  return NextPart(target, run_tokens, none);
}

// Blocks of read statistics that begin alike in run and page are copied; others are made of the stored keys.
DECANT_HOST_DEVICE bool CopiesStatistics(const RunPart& part) {
  return part.slot % kStatisticsBlock == 0 && part.first % kStatisticsBlock == 0;
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_PAGES_IMPORT_RUN_H_
