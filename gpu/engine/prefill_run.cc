// A layer's K and V live in working buffers that the next layer overwrites; the residual stream of all new tokens is
// what goes from layer to layer. The tiles of a layer run in order, so that a tile's keys stand when its queries look
// at them.
#include "gpu/engine/prefill_run.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "gpu/engine/transformer.h"
#include "gpu/kernels/attention/prefill_attention.h"
#include "gpu/kernels/nn/convert_rows.h"
#include "gpu/kernels/nn/sample.h"

namespace decant {
namespace {

int64_t RunTypeSize(RunType type) { return type == RunType::kBf16 ? 2 : 4; }

absl::Status CheckPrompt(const ModelConfig& config, absl::Span<const int32_t> tokens, const PrefillOptions& options) {
  if (tokens.empty()) return absl::InvalidArgumentError("the prompt is empty; give at least one token");
  const auto count = static_cast<int64_t>(tokens.size());
  if (count > config.max_positions) {
    return absl::InvalidArgumentError(absl::StrCat("the prompt has ", count, " tokens, model ", config.name,
                                                   " takes at most ", config.max_positions, "; shorten it"));
  }
  if (options.reused < 0 || options.reused >= count) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot reuse ", options.reused, " of ", count, " tokens; at least one is computed"));
  }
  if (options.tile < 1 || options.window < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("tile ", options.tile, " and window ", options.window, " must be positive"));
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= config.vocabulary) {
      return absl::InvalidArgumentError(
          absl::StrCat("token ", i, " has id ", tokens[i], ", outside the vocabulary of ", config.vocabulary));
    }
  }
  return absl::OkStatus();
}

class DensePrefillRun final : public PrefillRun {
 public:
  DensePrefillRun(const Weights& weights, Stream& stream, int32_t tokens, const PrefillOptions& options)
      : weights_(weights),
        config_(weights.config()),
        stream_(stream),
        options_(options),
        tokens_(tokens),
        computed_(tokens - options.reused),
        tile_(std::min(options.tile, computed_)) {
    // The sums of the window policy count a key's own query, those of the paper only later ones (diffkv.md,
    // section 2.6).
    if (options.score == ScoreSource::kAllLaterQueries) sum_from_ = options.reused;
    if (options.score == ScoreSource::kLastWindow) sum_from_ = std::max(options.reused, tokens - options.window);
  }

  absl::Status Start(absl::Span<const int32_t> tokens) {
    Device& device = weights_.device();
    DECANT_ASSIGN_OR_RETURN(transformer_, Transformer::Create(weights_, Transformer::RowCapacity(tile_)));
    const int64_t rows = computed_ + Transformer::RowCapacity(tile_);  // the last tile may write beyond its rows
    DECANT_ASSIGN_OR_RETURN(residual_, device.Allocate(rows * config_.hidden * 4));
    DECANT_ASSIGN_OR_RETURN(angles_, device.Allocate(int64_t{computed_} * config_.head_dim * 4));
    const int64_t kv_bytes = int64_t{config_.kv_heads} * tokens_ * config_.head_dim * RunTypeSize(weights_.run_type());
    DECANT_ASSIGN_OR_RETURN(k_, device.Allocate(kv_bytes));
    DECANT_ASSIGN_OR_RETURN(v_, device.Allocate(kv_bytes));
    if (options_.score != ScoreSource::kNone) {
      DECANT_ASSIGN_OR_RETURN(sums_, device.Allocate(int64_t{config_.q_heads} * tokens_ * 4));
    }
    const int64_t scratch_bytes =
        PrefillAttentionScratchBytes(device, weights_.run_type(), tokens_, config_.kv_heads, config_.head_dim);
    DECANT_ASSIGN_OR_RETURN(scratch_, device.Allocate(scratch_bytes));
    return Embed(device, tokens.subspan(static_cast<size_t>(options_.reused)));
  }

  LayerTap PrefixTarget(int32_t layer) override {
    if (options_.reused == 0) return LayerTap{};
    return Tap(layer);
  }

  absl::StatusOr<LayerTap> ComputeLayer(int32_t layer) override {
    if (layer != next_layer_) {
      return absl::FailedPreconditionError(
          absl::StrCat("layer ", layer, " cannot be computed now; next is ", next_layer_));
    }
    if (sums_.bytes() > 0) stream_.Fill(sums_.As<void>(), 0, sums_.bytes());
    int32_t packed = 0;
    for (int32_t first = 0; first < computed_; first += tile_) {
      const int32_t rows = std::min(tile_, computed_ - first);
      ComputeTile(layer, first, rows, packed);
      packed = options_.reused + first + rows;
    }
    ++next_layer_;
    return Tap(layer);
  }

  absl::StatusOr<int32_t> SampleFirst(const Sampling& sampling, int64_t position) override {
    DECANT_RETURN_IF_ERROR(CheckFinished());
    Device& device = weights_.device();
    const int64_t logits_bytes = int64_t{Transformer::RowCapacity(1)} * config_.vocabulary * 4;
    DECANT_ASSIGN_OR_RETURN(Buffer logits, device.Allocate(logits_bytes));
    DECANT_ASSIGN_OR_RETURN(Buffer scratch, device.Allocate(SampleScratchBytes(1, config_.vocabulary)));
    DECANT_ASSIGN_OR_RETURN(Buffer values, device.Allocate(static_cast<int64_t>(sizeof(Sampling)) + 8));
    transformer_->Logits(stream_, Residual(computed_ - 1), 1, logits.As<float>());

    const auto at = static_cast<int32_t>(position);
    const int64_t position_offset = sizeof(Sampling);
    stream_.Copy(values.As<void>(), &sampling, sizeof(Sampling));
    stream_.Copy(values.As<void>(position_offset), &at, 4);
    Sample(stream_, SampleArgs{logits.As<float>(), config_.vocabulary, 1, config_.vocabulary, values.As<Sampling>(),
                               values.As<int32_t>(position_offset), values.As<int32_t>(position_offset + 4),
                               scratch.As<void>()});
    int32_t token = 0;
    stream_.Copy(&token, values.As<void>(position_offset + 4), 4);
    DECANT_RETURN_IF_ERROR(stream_.Synchronize());
    return token;
  }

  absl::Status CopyLogits(absl::Span<float> out) override {
    DECANT_RETURN_IF_ERROR(CheckFinished());
    const int64_t expected = int64_t{computed_} * config_.vocabulary;
    if (static_cast<int64_t>(out.size()) != expected) {
      return absl::InvalidArgumentError(absl::StrCat("logits need ", expected, " floats, got room for ", out.size()));
    }
    const int64_t row_floats = config_.vocabulary;
    DECANT_ASSIGN_OR_RETURN(Buffer logits,
                            weights_.device().Allocate(Transformer::RowCapacity(tile_) * row_floats * 4));
    for (int32_t first = 0; first < computed_; first += tile_) {
      const int32_t rows = std::min(tile_, computed_ - first);
      transformer_->Logits(stream_, Residual(first), rows, logits.As<float>());
      stream_.Copy(out.data() + first * row_floats, logits.As<void>(), rows * row_floats * 4);
      DECANT_RETURN_IF_ERROR(stream_.Synchronize());
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Embed(Device& device, absl::Span<const int32_t> tokens) {
    std::vector<int32_t> positions;
    for (int32_t i = 0; i < computed_; ++i) positions.push_back(options_.reused + i);
    const int64_t bytes = int64_t{computed_} * 4;
    DECANT_ASSIGN_OR_RETURN(Buffer values, device.Allocate(2 * bytes));
    stream_.Copy(values.As<void>(), tokens.data(), bytes);
    stream_.Copy(values.As<void>(bytes), positions.data(), bytes);
    for (int32_t first = 0; first < computed_; first += tile_) {
      const int32_t rows = std::min(tile_, computed_ - first);
      transformer_->Embed(stream_, values.As<int32_t>(int64_t{first} * 4), rows, Residual(first));
      transformer_->Angles(stream_, values.As<int32_t>(bytes + int64_t{first} * 4), rows, Angles(first));
    }
    return stream_.Synchronize();
  }

  void ComputeTile(int32_t layer, int32_t first, int32_t rows, int32_t packed) {
    Transformer& t = *transformer_;
    t.BeginLayer(stream_, layer, Residual(first), Angles(first), rows);
    StoreRows(t.k(), first, rows, k_);
    StoreRows(t.v(), first, rows, v_);
    PrefillAttentionArgs args;
    args.run_type = weights_.run_type();
    args.q = t.q();
    args.q_stride = t.qkv_stride();
    args.queries = rows;
    args.first_query = options_.reused + first;
    args.k = k_.As<void>();
    args.v = v_.As<void>();
    args.capacity = tokens_;
    args.q_heads = config_.q_heads;
    args.kv_heads = config_.kv_heads;
    args.head_dim = config_.head_dim;
    args.scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim));
    args.out = t.attention();
    args.out_stride = t.attention_stride();
    args.sums = sums_.bytes() > 0 ? sums_.As<float>() : nullptr;
    args.sum_stride = tokens_;
    args.sum_from = sum_from_;
    args.sum_own = options_.score == ScoreSource::kLastWindow;
    args.scratch = scratch_.As<void>();
    args.packed = packed;
    PrefillAttention(stream_, args);
    t.EndLayer(stream_, layer, Residual(first), rows);
  }

  // Rows of k or v of a tile to their places in the working buffer, heads outside tokens.
  void StoreRows(const float* rows_of_heads, int32_t first, int32_t rows, const Buffer& working) {
    ConvertRowsArgs args;
    args.in = rows_of_heads;
    args.in_stride = transformer_->qkv_stride();
    args.rows = rows;
    args.groups = config_.kv_heads;
    args.width = config_.head_dim;
    args.out_type = weights_.run_type();
    args.out = working.As<void>(int64_t{options_.reused + first} * config_.head_dim * RunTypeSize(weights_.run_type()));
    args.out_row_stride = config_.head_dim;
    args.out_group_stride = int64_t{tokens_} * config_.head_dim;
    ConvertRows(stream_, args);
  }

  LayerTap Tap(int32_t layer) const {
    LayerTap tap;
    tap.layer = layer;
    tap.tokens = tokens_;
    tap.k = k_.As<void>();
    tap.v = v_.As<void>();
    tap.capacity = tokens_;
    tap.sums = sums_.bytes() > 0 ? sums_.As<float>() : nullptr;
    tap.sum_stride = tokens_;
    tap.first_query = sum_from_;
    return tap;
  }

  absl::Status CheckFinished() const {
    if (next_layer_ == config_.layers) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat(next_layer_, " of ", config_.layers, " layers are computed; there are no logits yet"));
  }

  float* Residual(int32_t row) const { return residual_.As<float>(int64_t{row} * config_.hidden * 4); }
  float* Angles(int32_t row) const { return angles_.As<float>(int64_t{row} * config_.head_dim * 4); }

  const Weights& weights_;
  const ModelConfig& config_;
  Stream& stream_;
  const PrefillOptions options_;
  const int32_t tokens_;
  const int32_t computed_;
  const int32_t tile_;
  int32_t sum_from_ = 0;
  int32_t next_layer_ = 0;
  std::unique_ptr<Transformer> transformer_;
  Buffer residual_;  // [computed + slack, hidden] f32
  Buffer angles_;    // [computed, head_dim] f32
  Buffer k_;         // [kv_heads, tokens, head_dim] of the run type
  Buffer v_;
  Buffer sums_;  // [q_heads, tokens] f32
  Buffer scratch_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PrefillRun>> PrefillRun::Create(const Weights& weights, Stream& stream,
                                                               absl::Span<const int32_t> tokens,
                                                               const PrefillOptions& options) {
  DECANT_RETURN_IF_ERROR(CheckPrompt(weights.config(), tokens, options));
  auto run = std::make_unique<DensePrefillRun>(weights, stream, static_cast<int32_t>(tokens.size()), options);
  DECANT_RETURN_IF_ERROR(run->Start(tokens));
  return run;
}

}  // namespace decant
