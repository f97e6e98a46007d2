// What a landed batch means for the rows of one sequence: checks it against what came before and counts tokens. Host
// only; nothing here touches a device.
#ifndef DECANT_GPU_ENGINE_IMPORT_PLAN_H_
#define DECANT_GPU_ENGINE_IMPORT_PLAN_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/compress/recipe.h"
#include "common/kv/batch.h"
#include "common/kv/geometry.h"
#include "common/kv/rows.h"
#include "gpu/kernels/pages/page_ops.h"

namespace decant {

// The runs of one layer of a batch and by how much each (head, tier) grows.
struct LayerImport {
  int32_t layer = 0;
  std::vector<ImportRun> runs;
  std::vector<int32_t> growth;  // [kv_heads, kTierCount]
  int64_t balance = -1;         // byte offset in the batch of the layer's [kv_heads, head_dim] f32; -1: it came before
};

// Follows a prompt's frames as they land. A frame must carry every kv head of the chunk that comes next in its layer:
// duplicated, missing and out-of-order chunks are errors.
class ImportPlan {
 public:
  struct Expectation {
    Geometry geometry;
    bool k_norm = false;
    uint64_t model_fingerprint = 0;  // Digest::Prefix64; 0 accepts any (tests without a model folder)
    int32_t prompt_tokens = 0;
    FormatId formats[kTierCount] = {FormatId::kNone, FormatId::kNone, FormatId::kNone};
    KeyForm key_forms[kTierCount];
    int32_t split_window = 0;   // of a split row, else 0
    bool needs_scores = false;  // an online policy cannot start from frames without overlays
    // [layers] the most tokens of a head's high tier, as its policy promised pages for them; empty: no limit.
    std::vector<int32_t> most_high;
  };
  explicit ImportPlan(const Expectation& expectation);

  // Verifies a whole batch and takes it as landed. DATA_LOSS for damaged bytes, FAILED_PRECONDITION for frames that
  // belong to something else or come in the wrong order; after an error the plan is of no further use.
  absl::StatusOr<std::vector<LayerImport>> Take(absl::string_view batch);

  bool LayerIsComplete(int32_t layer) const {
    return next_position_[static_cast<size_t>(layer)] == expect_.prompt_tokens;
  }
  bool IsComplete() const;
  // The first layer that is not complete and its first missing position, for messages.
  std::string Missing() const;

  // Tokens per tier that the layer's heads hold so far.
  const std::array<int32_t, kTierCount>& tokens(int32_t layer, int32_t head) const {
    return tokens_[static_cast<size_t>(layer * expect_.geometry.kv_heads + head)];
  }
  int64_t pruned() const { return pruned_; }
  int32_t first_query() const { return first_query_ < 0 ? 0 : first_query_; }

 private:
  absl::Status CheckFrame(const BatchPart& part) const;
  absl::Status CheckOverlay(const BatchPart& part);
  void GrowWindow(LayerImport& import) const;
  absl::Status CheckRun(const BatchPart& part, const ImportRun& run) const;
  absl::Status CheckLimit(int32_t layer, int32_t head) const;
  // The factors of balanced keys belong to the layer: every chunk of it must bring the same.
  absl::Status TakeBalance(const BatchPart& part, absl::string_view batch, int32_t layer, LayerImport& import);

  const Expectation expect_;
  std::vector<int32_t> next_position_;                   // [layers]
  std::vector<std::array<int32_t, kTierCount>> tokens_;  // [layers, kv_heads]
  std::vector<std::string> balances_;                    // [layers] bytes; empty before the layer's first frame
  int64_t pruned_ = 0;
  int32_t first_query_ = -1;  // of the overlays; -1 before the first
};

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_IMPORT_PLAN_H_
