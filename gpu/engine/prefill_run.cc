#include "gpu/engine/prefill_run.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "gpu/engine/transformer.h"
#include "gpu/kernels/attention/prefill_attention.h"
#include "gpu/kernels/nn/convert_rows.h"
#include "gpu/kernels/nn/packed_layout.h"
#include "gpu/kernels/nn/sample.h"

namespace decant {
namespace {

// Rows of logits at a time in CopyLogits.
constexpr int32_t kLogitRows = 64;

absl::Status CheckPrompt(const ModelConfig& config, absl::Span<const int32_t> tokens, const PrefillOptions& options) {
  const auto count = static_cast<int64_t>(tokens.size());
  if (count == 0) return absl::InvalidArgumentError("the prompt is empty; send at least one token");
  if (count > config.max_positions) {
    return absl::InvalidArgumentError(absl::StrCat("the prompt has ", count, " tokens, ", config.name,
                                                   " takes at most ", config.max_positions, "; shorten it"));
  }
  if (options.reused < 0 || options.reused >= count) {
    return absl::InvalidArgumentError(absl::StrCat("reused tokens ", options.reused, " of ", count,
                                                   ": at least the last token of a prompt must be computed"));
  }
  if (options.tile < 1) return absl::InvalidArgumentError(absl::StrCat("tile of ", options.tile, " tokens"));
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= 0 && tokens[i] < config.vocabulary) continue;
    return absl::InvalidArgumentError(absl::StrCat("token ", i, " of the prompt is ", tokens[i], ", ", config.name,
                                                   " knows ids below ", config.vocabulary,
                                                   "; was it tokenised for another model?"));
  }
  return absl::OkStatus();
}

class LayerMajorPrefill final : public PrefillRun {
 public:
  LayerMajorPrefill(const Weights& weights, Stream& stream, int32_t tokens, const PrefillOptions& options)
      : weights_(weights), config_(weights.config()), stream_(stream), tokens_(tokens), options_(options) {}

  absl::Status Allocate(absl::Span<const int32_t> tokens) {
    Device& device = weights_.device();
    const int64_t fresh = tokens_ - options_.reused;
    DECANT_ASSIGN_OR_RETURN(transformer_, Transformer::Create(weights_, tile()));
    DECANT_ASSIGN_OR_RETURN(residual_, device.Allocate(fresh * config_.hidden * 4));
    DECANT_ASSIGN_OR_RETURN(angles_, device.Allocate(fresh * config_.head_dim * 4));
    const int64_t kv_bytes = head_bytes() * config_.kv_heads;
    DECANT_ASSIGN_OR_RETURN(k_, device.Allocate(kv_bytes));
    DECANT_ASSIGN_OR_RETURN(v_, device.Allocate(kv_bytes));
    if (options_.score != ScoreSource::kNone) {
      DECANT_ASSIGN_OR_RETURN(sums_, device.Allocate(int64_t{config_.q_heads} * tokens_ * 4));
    }
    DECANT_ASSIGN_OR_RETURN(
        scratch_, device.Allocate(PrefillAttentionScratchBytes(device, weights_.run_type(), tile(), tokens_,
                                                               config_.q_heads, config_.kv_heads, config_.head_dim)));
    return EmbedTokens(tokens.subspan(static_cast<size_t>(options_.reused)));
  }

  LayerTap PrefixTarget(int32_t layer) override {
    LayerTap tap;
    tap.layer = layer;
    if (options_.reused == 0) return tap;
    tap = Tap(layer);
    tap.tokens = options_.reused;
    tap.sums = nullptr;
    return tap;
  }

  absl::StatusOr<LayerTap> ComputeLayer(int32_t layer) override {
    if (layer != next_layer_ || layer >= config_.layers) {
      return absl::FailedPreconditionError(
          absl::StrCat("layer ", layer, " of ", config_.layers, " is not the next one, ", next_layer_, " is"));
    }
    if (sums_.bytes() > 0) stream_.Fill(sums_.As<float>(), 0, sums_.bytes());
    for (int32_t first = options_.reused; first < tokens_; first += tile()) {
      ComputeTile(layer, first, std::min(tile(), tokens_ - first));
    }
    ++next_layer_;
    return Tap(layer);
  }

  absl::StatusOr<int32_t> SampleFirst(const Sampling& sampling, int64_t position) override {
    DECANT_RETURN_IF_ERROR(CheckFinished());
    Device& device = weights_.device();
    const int64_t scratch_bytes = SampleScratchBytes(1, config_.vocabulary);
    DECANT_ASSIGN_OR_RETURN(const Buffer logits, device.Allocate(int64_t{config_.vocabulary} * 4));
    DECANT_ASSIGN_OR_RETURN(const Buffer scratch, device.Allocate(scratch_bytes));
    DECANT_ASSIGN_OR_RETURN(const Buffer arguments, device.Allocate(sizeof(Sampling) + 8));
    transformer_->Logits(stream_, ResidualRow(tokens_ - 1), 1, logits.As<float>());
    SampleArgs args;
    args.logits = logits.As<float>();
    args.stride = config_.vocabulary;
    args.rows = 1;
    args.vocabulary = config_.vocabulary;
    args.sampling = arguments.As<Sampling>();
    args.positions = arguments.As<int32_t>(sizeof(Sampling));
    args.tokens = arguments.As<int32_t>(sizeof(Sampling) + 4);
    args.scratch = scratch.As<void>();
    const auto position32 = static_cast<int32_t>(position);
    stream_.Copy(arguments.As<Sampling>(), &sampling, sizeof(Sampling));
    stream_.Copy(arguments.As<int32_t>(sizeof(Sampling)), &position32, 4);
    Sample(stream_, args);
    int32_t token = 0;
    stream_.Copy(&token, args.tokens, 4);
    DECANT_RETURN_IF_ERROR(stream_.Synchronize());
    return token;
  }

  absl::Status CopyLogits(absl::Span<float> out) override {
    DECANT_RETURN_IF_ERROR(CheckFinished());
    const int64_t wanted = int64_t{tokens_ - options_.reused} * config_.vocabulary;
    if (static_cast<int64_t>(out.size()) != wanted) {
      return absl::InvalidArgumentError(absl::StrCat("room for ", out.size(), " logits, there are ", wanted));
    }
    const int32_t step = std::min(kLogitRows, tile());
    DECANT_ASSIGN_OR_RETURN(const Buffer logits, weights_.device().Allocate(int64_t{step} * config_.vocabulary * 4));
    float* to = out.data();
    for (int32_t first = options_.reused; first < tokens_; first += step) {
      const int32_t rows = std::min(step, tokens_ - first);
      transformer_->Logits(stream_, ResidualRow(first), rows, logits.As<float>());
      stream_.Copy(to, logits.As<float>(), int64_t{rows} * config_.vocabulary * 4);
      DECANT_RETURN_IF_ERROR(stream_.Synchronize());
      to += int64_t{rows} * config_.vocabulary;
    }
    return absl::OkStatus();
  }

 private:
  int32_t tile() const { return std::min(options_.tile, tokens_ - options_.reused); }
  int64_t head_bytes() const { return int64_t{tokens_} * config_.head_dim * RunTypeBytes(weights_.run_type()); }
  float* ResidualRow(int32_t position) const {
    return residual_.As<float>() + int64_t{position - options_.reused} * config_.hidden;
  }

  absl::Status CheckFinished() const {
    if (next_layer_ == config_.layers) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat(next_layer_, " of ", config_.layers, " layers are computed; logits come after the last"));
  }

  absl::Status EmbedTokens(absl::Span<const int32_t> fresh) {
    const auto count = static_cast<int32_t>(fresh.size());
    std::vector<int32_t> positions(fresh.size());
    std::iota(positions.begin(), positions.end(), options_.reused);
    DECANT_ASSIGN_OR_RETURN(const Buffer ids, weights_.device().Allocate(int64_t{count} * 8));
    stream_.Copy(ids.As<int32_t>(), fresh.data(), int64_t{count} * 4);
    stream_.Copy(ids.As<int32_t>() + count, positions.data(), int64_t{count} * 4);
    transformer_->Embed(stream_, ids.As<int32_t>(), count, residual_.As<float>());
    transformer_->Angles(stream_, ids.As<int32_t>() + count, count, angles_.As<float>());
    return stream_.Synchronize();
  }

  void StoreHeads(const float* rows, int32_t first, int32_t count, const Buffer& to) {
    ConvertRowsArgs args;
    args.in = rows;
    args.in_stride = transformer_->qkv_stride();
    args.rows = count;
    args.groups = config_.kv_heads;
    args.width = config_.head_dim;
    args.out_type = weights_.run_type();
    args.out = to.As<char>(int64_t{first} * config_.head_dim * RunTypeBytes(weights_.run_type()));
    args.out_row_stride = config_.head_dim;
    args.out_group_stride = int64_t{tokens_} * config_.head_dim;
    ConvertRows(stream_, args);
  }

  void ComputeTile(int32_t layer, int32_t first, int32_t rows) {
    const float* angles = angles_.As<float>() + int64_t{first - options_.reused} * config_.head_dim;
    transformer_->BeginLayer(stream_, layer, ResidualRow(first), angles, rows);
    StoreHeads(transformer_->k(), first, rows, k_);
    StoreHeads(transformer_->v(), first, rows, v_);
    PrefillAttentionArgs args;
    args.run_type = weights_.run_type();
    args.q = transformer_->q();
    args.q_stride = transformer_->qkv_stride();
    args.queries = rows;
    args.first_query = first;
    args.k = k_.As<void>();
    args.v = v_.As<void>();
    args.capacity = tokens_;
    args.q_heads = config_.q_heads;
    args.kv_heads = config_.kv_heads;
    args.head_dim = config_.head_dim;
    args.scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim));
    args.out = transformer_->attention();
    args.out_stride = transformer_->attention_stride();
    args.sums = sums_.As<float>();
    args.sum_stride = tokens_;
    args.sum_from = first_query();
    args.sum_own_query = options_.score == ScoreSource::kLastWindow;
    args.scratch = scratch_.As<void>();
    args.scratch_keys = tokens_;
    args.packed_keys = first == options_.reused ? 0 : first;
    PrefillAttention(stream_, args);
    transformer_->EndLayer(stream_, layer, ResidualRow(first), rows);
  }

  int32_t first_query() const {
    if (options_.score != ScoreSource::kLastWindow) return options_.reused;
    return std::max(options_.reused, tokens_ - options_.window);
  }

  LayerTap Tap(int32_t layer) const {
    LayerTap tap;
    tap.layer = layer;
    tap.tokens = tokens_;
    tap.k = k_.As<void>();
    tap.v = v_.As<void>();
    tap.capacity = tokens_;
    tap.sums = sums_.As<float>();
    tap.sum_stride = tokens_;
    tap.first_query = first_query();
    return tap;
  }

  const Weights& weights_;
  const ModelConfig& config_;
  Stream& stream_;
  const int32_t tokens_;
  const PrefillOptions options_;
  int32_t next_layer_ = 0;
  std::unique_ptr<Transformer> transformer_;
  Buffer residual_;  // [fresh tokens, hidden] f32
  Buffer angles_;    // [fresh tokens, head_dim] f32
  Buffer k_;         // [kv_heads, tokens, head_dim] of the run type
  Buffer v_;
  Buffer sums_;  // [q_heads, tokens] f32, or empty
  Buffer scratch_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PrefillRun>> PrefillRun::Create(const Weights& weights, Stream& stream,
                                                               absl::Span<const int32_t> tokens,
                                                               const PrefillOptions& options) {
  DECANT_RETURN_IF_ERROR(CheckPrompt(weights.config(), tokens, options));
  auto run = std::make_unique<LayerMajorPrefill>(weights, stream, static_cast<int32_t>(tokens.size()), options);
  DECANT_RETURN_IF_ERROR(run->Allocate(tokens));
  return run;
}

}  // namespace decant
