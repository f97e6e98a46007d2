#include "gpu/engine/import_plan.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/compress/arith/key_shape.h"
#include "gpu/engine/split_import.h"
#include "gpu/kernels/codec/frame_runs.h"

namespace decant {
namespace {

template <typename... Parts>
absl::Status Refused(const Parts&... parts) {
  return absl::FailedPreconditionError(absl::StrCat(parts..., "; abort the transfer and plan the request again"));
}

// "after rope, Hadamard 64, balanced"
std::string FormText(const KeyForm& form) {
  std::string text = form.rope != 0 ? "after rope" : "before rope";
  if (form.hadamard != 0) absl::StrAppend(&text, ", Hadamard ", HadamardOrder(form));
  if (form.balanced != 0) absl::StrAppend(&text, ", balanced");
  return text;
}

}  // namespace

ImportPlan::ImportPlan(const Expectation& expectation)
    : expect_(expectation),
      next_position_(static_cast<size_t>(expectation.geometry.layers), 0),
      tokens_(static_cast<size_t>(expectation.geometry.layers * expectation.geometry.kv_heads)),
      balances_(static_cast<size_t>(expectation.geometry.layers)) {}

absl::Status ImportPlan::CheckFrame(const BatchPart& part) const {
  const FrameHeader& header = part.frame.header;
  const Geometry& geometry = expect_.geometry;
  if (expect_.model_fingerprint != 0 && header.model_fingerprint != expect_.model_fingerprint) {
    return Refused("frame of model ", absl::Hex(header.model_fingerprint), ", not ",
                   absl::Hex(expect_.model_fingerprint));
  }
  if (header.head_dim != geometry.head_dim || header.first_head != 0 || header.heads != geometry.kv_heads) {
    return Refused("frame of heads ", header.first_head, " + ", header.heads, " of ", header.head_dim,
                   " elements, not 0 + ", geometry.kv_heads, " of ", geometry.head_dim);
  }
  if (header.first_layer + header.layers > geometry.layers) {
    return Refused("frame of layers ", header.first_layer, " + ", header.layers, " of a model with ", geometry.layers);
  }
  if (header.k_norm_applied != expect_.k_norm) {
    return Refused("frame whose keys are ", header.k_norm_applied ? "after" : "before", " the key norm");
  }
  for (int32_t layer = header.first_layer; layer < header.first_layer + header.layers; ++layer) {
    const int32_t next = next_position_[static_cast<size_t>(layer)];
    if (header.first_position != next) {
      return Refused("layer ", layer, ": chunk at position ", header.first_position, " where ", next,
                     " comes next (duplicated, missing or out of order)");
    }
    if (header.span > expect_.prompt_tokens - next) {
      return Refused("layer ", layer, ": chunk of positions ", next, " + ", header.span, " in a prompt of ",
                     expect_.prompt_tokens, " tokens");
    }
  }
  return absl::OkStatus();
}

absl::Status ImportPlan::CheckOverlay(const BatchPart& part) {
  if (!expect_.needs_scores) return absl::OkStatus();
  const FrameHeader& header = part.frame.header;
  if (!part.overlay.has_value()) {
    return Refused("layer ", header.first_layer, ", chunk at position ", header.first_position,
                   ": no overlay, but the online policy needs its scores");
  }
  const int32_t first_query = part.overlay->header.first_query;
  if (first_query_ < 0) first_query_ = first_query;
  if (first_query != first_query_) {
    return Refused("overlay with scores from query ", first_query, ", others from ", first_query_);
  }
  return absl::OkStatus();
}

absl::Status ImportPlan::CheckRun(const BatchPart& part, const ImportRun& run) const {
  const FrameHeader& header = part.frame.header;
  const KeyForm& form = expect_.key_forms[run.tier];
  if (header.key_form != form) {
    return Refused("layer ", header.first_layer, ", chunk at position ", header.first_position, ": keys in form ",
                   FormText(header.key_form), ", the sequence's tier ", run.tier, " holds them in form ",
                   FormText(form));
  }
  // Where a format stores no positions, the place in the row is the position.
  const bool counts_places = form.rope == 0 && !FormatOf(expect_.formats[run.tier]).tracked;
  if (counts_places && run.tokens != header.span) {
    return Refused("layer ", header.first_layer, ", chunk at position ", header.first_position, ": ", run.tokens,
                   " of ", header.span, " tokens in a format without positions, with keys before rope");
  }
  return absl::OkStatus();
}

absl::Status ImportPlan::CheckLimit(int32_t layer, int32_t head) const {
  if (expect_.most_high.empty()) return absl::OkStatus();
  const int32_t most = expect_.most_high[static_cast<size_t>(layer)];
  const int32_t high = tokens(layer, head)[kHigh];
  if (high <= most) return absl::OkStatus();
  return Refused("layer ", layer, ", head ", head, ": ", high, " tokens, its policy keeps ", most, " of the prompt");
}

absl::Status ImportPlan::TakeBalance(const BatchPart& part, absl::string_view batch, int32_t layer,
                                     LayerImport& import) {
  const FrameView& frame = part.frame;
  if (frame.header.key_form.balanced == 0) return absl::OkStatus();
  const int64_t bytes = int64_t{4} * expect_.geometry.kv_heads * expect_.geometry.head_dim;
  const int64_t offset = frame.layout.balance + (layer - frame.header.first_layer) * bytes;
  const absl::string_view factors = batch.substr(static_cast<size_t>(offset), static_cast<size_t>(bytes));
  std::string& known = balances_[static_cast<size_t>(layer)];
  if (known.empty()) {
    for (int64_t at = 0; at < bytes; at += 4) {
      float factor;
      std::memcpy(&factor, factors.data() + at, sizeof(factor));
      if (!IsFiniteAbove0(factor)) return Refused("layer ", layer, ": keys balanced by ", factor);
    }
    known.assign(factors.data(), factors.size());
    import.balance = offset;
  }
  if (known != factors) {
    return Refused("layer ", layer, ", chunk at position ", frame.header.first_position,
                   ": keys balanced by other factors than those before");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<LayerImport>> ImportPlan::Take(absl::string_view batch) {
  DECANT_ASSIGN_OR_RETURN(const std::vector<BatchPart> parts, SplitBatch(batch));
  const int32_t heads = expect_.geometry.kv_heads;
  std::map<int32_t, LayerImport> layers;
  for (const BatchPart& part : parts) {
    DECANT_RETURN_IF_ERROR(CheckFrame(part));
    DECANT_RETURN_IF_ERROR(CheckOverlay(part));
    const FrameHeader& header = part.frame.header;
    for (int32_t layer = header.first_layer; layer < header.first_layer + header.layers; ++layer) {
      LayerImport& import = layers[layer];
      import.layer = layer;
      import.growth.resize(static_cast<size_t>(heads * kTierCount), 0);
      const size_t first_run = import.runs.size();
      if (expect_.split_window > 0) {
        DECANT_RETURN_IF_ERROR(CheckSplitFrame(part, batch, layer, expect_.prompt_tokens, expect_.split_window));
      }
      DECANT_RETURN_IF_ERROR(AppendImportRuns(part, layer, expect_.formats, import.runs));
      DECANT_RETURN_IF_ERROR(TakeBalance(part, batch, layer, import));
      int64_t kept = 0;
      for (size_t i = first_run; i < import.runs.size(); ++i) {
        const ImportRun& run = import.runs[i];
        DECANT_RETURN_IF_ERROR(CheckRun(part, run));
        import.growth[static_cast<size_t>(run.head * kTierCount + run.tier)] += run.tokens;
        tokens_[static_cast<size_t>(layer * heads + run.head)][static_cast<size_t>(run.tier)] += run.tokens;
        DECANT_RETURN_IF_ERROR(CheckLimit(layer, run.head));
        kept += run.tokens;
      }
      if (expect_.split_window == 0) pruned_ += int64_t{heads} * header.span - kept;
      next_position_[static_cast<size_t>(layer)] += header.span;
    }
  }
  std::vector<LayerImport> imports;
  for (auto& [layer, import] : layers) {
    if (expect_.split_window > 0) GrowWindow(import);
    imports.push_back(std::move(import));
  }
  return imports;
}

// Values stand in their window by position, so the first ones that land may need its last page.
void ImportPlan::GrowWindow(LayerImport& import) const {
  const int32_t whole = std::min(expect_.prompt_tokens, expect_.split_window);
  for (int32_t head = 0; head < expect_.geometry.kv_heads; ++head) {
    int32_t& growth = import.growth[static_cast<size_t>(head * kTierCount + kTail)];
    const int32_t held = tokens(import.layer, head)[kTail] - growth;
    if (growth > 0) growth = whole - held;
  }
}

bool ImportPlan::IsComplete() const {
  return std::all_of(next_position_.begin(), next_position_.end(),
                     [this](int32_t next) { return next == expect_.prompt_tokens; });
}

std::string ImportPlan::Missing() const {
  for (size_t layer = 0; layer < next_position_.size(); ++layer) {
    if (next_position_[layer] == expect_.prompt_tokens) continue;
    return absl::StrCat("layer ", layer, " has ", next_position_[layer], " of ", expect_.prompt_tokens, " tokens");
  }
  return "nothing";
}

}  // namespace decant
