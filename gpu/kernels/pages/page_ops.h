// Page management of all (sequence, layer, head) at once: plan -> prefix sum -> commit, on the device.
//
// Every operation enqueues on `stream`, allocates nothing and never synchronises. Addresses are device memory. `rows`
// is an array in device memory of `sequences` SequenceRows. The number of free pages is guaranteed by the caller's
// reservations; running out anyway sets *error to 1, leaves the rows of the heads that could not grow as they were, and
// is a bug of the caller.
#ifndef DECANT_GPU_KERNELS_PAGES_PAGE_OPS_H_
#define DECANT_GPU_KERNELS_PAGES_PAGE_OPS_H_

#include <cstdint>

#include "common/kv/rows.h"
#include "gpu/device/device.h"

namespace decant {

// Fills the ring with all page ids.
void ResetRing(Stream& stream, const PageRing& ring);

struct GrowRowsArgs {
  PageArena arena;
  PageRing ring;
  const SequenceRows* rows = nullptr;  // one sequence
  int32_t layer = 0;
  const int32_t* growth = nullptr;  // [kv_heads, kTierCount] tokens to add
  int32_t* scratch = nullptr;       // [kv_heads * kTierCount + 1]
  int32_t* error = nullptr;
};
// Takes pages so that every tier of every head of one layer has room for its growth. Token counts stay: ImportFrames
// moves them.
void GrowRows(Stream& stream, const GrowRowsArgs& args);

// One run of tokens of a frame that goes into one tier of one head.
struct ImportRun {
  int32_t head = 0;
  int32_t tier = 0;  // TierIndex
  int32_t tokens = 0;
  int32_t before = 0;          // tokens of the runs of the same (head, tier) that stand before it in the list
  int32_t first_position = 0;  // of the frame's chunk
  int64_t keys = 0;            // byte offsets of the segments in `frames`
  int64_t key_meta = 0;
  int64_t values = 0;
  int64_t value_meta = 0;
  int64_t positions = -1;  // u16 offsets from first_position, or -1: consecutive from first_position
  int64_t statistics = 0;  // of formats that have them
  int64_t scores = -1;     // f32 score sums, or -1: zero
};

struct ImportFramesArgs {
  PageArena arena;
  const SequenceRows* rows = nullptr;  // one sequence
  int32_t layer = 0;
  const uint8_t* frames = nullptr;  // landed bytes: frames and overlays
  const ImportRun* runs = nullptr;  // [run_count], those of one (head, tier) in ascending position
  int32_t run_count = 0;
};
// Copies frames into pages behind the tokens that are there, without decoding them, and moves the token counts. A run
// that the pages of its tier have no room for is not written.
void ImportFrames(Stream& stream, const ImportFramesArgs& args);

// Values of type int32_t that PlanStep wants as scratch for so many heads of all sequences and layers.
constexpr int64_t PlanStepScratch(int64_t heads) { return 2 * heads + 3; }

struct PlanStepArgs {
  PageArena arena;
  PageRing ring;
  const SequenceRows* rows = nullptr;
  int32_t sequences = 0;
  StepAction* actions = nullptr;  // [sequences, layers, kv_heads], out
  int32_t* scratch = nullptr;     // [PlanStepScratch(sequences * layers * kv_heads)], aligned to 8 bytes
  int64_t* moved = nullptr;       // [sequences, 2]: demoted and dropped tokens, added to
  int32_t* error = nullptr;
};
// Decides for every head what the next token of each sequence does (the policy of its rows) and takes the pages that
// this needs; a head that needs none takes none (defect D5). Token counts move in AppendToken. The paper's mean is over
// later queries only, so under kDiffKvPaper the newest stored token, which so far only its own query has seen, first
// goes back to score 0.
void PlanStep(Stream& stream, const PlanStepArgs& args);

// Advances the length of every sequence by one; the last operation of a step.
void AdvanceLengths(Stream& stream, const SequenceRows* rows, int32_t sequences);

// Gives all pages of the sequences back to the ring and zeroes the rows.
void ReleaseRows(Stream& stream, const PageArena& arena, const PageRing& ring, const SequenceRows* rows,
                 int32_t sequences);

// out[kTierCount]: tokens by tier, and behind them pages by tier, summed over layers and heads of one sequence.
void CountRows(Stream& stream, const PageArena& arena, const SequenceRows* rows, int64_t* out);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_PAGES_PAGE_OPS_H_
