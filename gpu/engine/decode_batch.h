// Continuous batching over compressed pages: one batch over all running sequences, which join and leave at every step.
#ifndef DECANT_GPU_ENGINE_DECODE_BATCH_H_
#define DECANT_GPU_ENGINE_DECODE_BATCH_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/base/memory_ref.h"
#include "common/compress/recipe.h"
#include "common/kv/receipt.h"
#include "common/kv/rows.h"
#include "gpu/engine/sampling.h"
#include "gpu/engine/weights.h"

namespace decant {

struct DecodeOptions {
  int64_t kv_budget_bytes = int64_t{256} << 20;  // pages; taken at once
  int32_t max_sequences = 64;                    // reserved or running at once
  Digest model;                                  // the fingerprint that frames must carry; zero accepts any
  // Those of the profiles that will be served: the page size is chosen for them, so that few formats waste little.
  // Empty: full precision and the token-wise formats. Others are served too where a page holds them.
  std::vector<FormatId> formats;
};

struct SequenceOptions {
  int32_t prompt_tokens = 0;
  int32_t max_tokens = 0;  // to generate, the first included
  Recipe recipe;
  FormatId fixed = FormatId::kNone;  // format of a prefix that arrives in another one, if any
  Sampling sampling;
  std::vector<int32_t> end_tokens;
  // Teacher forcing: what the sequence is fed after its first token, one a step, in place of what it would draw; then
  // it draws. Forced tokens never end the answer. At most max_tokens - 1.
  std::vector<int32_t> forced;
};

using SequenceId = int64_t;

// What a step gives back for one sequence.
struct StepToken {
  SequenceId sequence = 0;
  int32_t token = 0;
  bool finished = false;
  bool stopped = false;  // by an end token; else by length
};

struct SequenceUse {
  // A prefix in a format of its own counts as high. Of split rows a token is low once its value is frozen.
  TokenCounts tokens;
  int64_t pages = 0;
  int64_t resident_bytes = 0;  // pages x page size
  int64_t bytes_read = 0;      // of K, V, scales and read statistics, by all steps so far
};

// The row tables of one sequence in host memory.
struct RowsCopy {
  std::vector<HeadState> heads;   // [layers, kv_heads]
  std::vector<int32_t> page_ids;  // [layers, kv_heads, capacity]
  SequenceRows rows;              // its addresses are those of the device
  PageArena arena;                // likewise
};

// Not thread-safe: the thread that steps it owns it.
class DecodeBatch {
 public:
  static absl::StatusOr<std::unique_ptr<DecodeBatch>> Create(const Weights& weights, Stream& stream,
                                                             const DecodeOptions& options);
  virtual ~DecodeBatch() = default;

  // The most pages a sequence can come to need: every token high, a tail page per head and tier.
  virtual int64_t WorstCasePages(const SequenceOptions& options) const = 0;
  virtual int64_t total_pages() const = 0;
  virtual int64_t page_bytes() const = 0;
  // Pages not promised to any sequence.
  virtual int64_t unreserved_pages() const = 0;

  // Promises pages and makes the row tables. RESOURCE_EXHAUSTED when the unreserved pages or places do not suffice
  // (nothing changes), INVALID_ARGUMENT when they never can, or for more tokens than the model has positions.
  virtual absl::StatusOr<SequenceId> Reserve(const SequenceOptions& options) = 0;
  // Copies a landed batch of frames and overlays of `sequence` into pages, after coded frames were restored and
  // low-rank ones expanded (wire_form.h says what that costs this thread); each batch holds whole layers or parts of
  // them, chunks in ascending order per layer. DATA_LOSS or FAILED_PRECONDITION for frames that are wrong in any way;
  // the sequence must then be removed. As layers fill, the promise shrinks to true pages and what generation can add.
  virtual absl::Status Import(SequenceId sequence, absl::Span<const uint8_t> batch) = 0;
  // Every layer must hold the prompt (FAILED_PRECONDITION). The first generated token was sampled by prefill. Under an
  // online policy with two tiers, tokens of a reused prefix that enough queries have passed over get the tier that the
  // prompt's policy has for them and count as demoted or dropped. RESOURCE_EXHAUSTED, and nothing changes, when the
  // device has no room for the work.
  virtual absl::Status Join(SequenceId sequence, int32_t first_token) = 0;
  // One token for every joined sequence that is not finished; allocates nothing.
  virtual absl::StatusOr<absl::Span<const StepToken>> Step() = 0;
  virtual int32_t running() const = 0;

  virtual absl::StatusOr<SequenceUse> Use(SequenceId sequence) = 0;
  // Frees pages and tables at once, in any state.
  virtual void Remove(SequenceId sequence) = 0;

  // For tests and the quality lab: f32 logits of the last Step, [running sequences in StepToken order, vocabulary];
  // also of steps whose next token was forced.
  virtual absl::Status CopyLogits(absl::Span<float> out) = 0;
  // For tests and inspection: which page holds what.
  virtual absl::StatusOr<RowsCopy> CopyRows(SequenceId sequence) = 0;
  // The device memory of the pages, for tests that flip stored bits.
  virtual MemoryRef pages() = 0;
};

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_DECODE_BATCH_H_
