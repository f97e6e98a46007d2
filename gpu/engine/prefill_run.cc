#include "gpu/engine/prefill_run.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "gpu/engine/layer_cache.h"
#include "gpu/engine/replay_pass.h"
#include "gpu/engine/transformer.h"
#include "gpu/kernels/attention/prefill_attention.h"
#include "gpu/kernels/attention/prefill_channel_peaks.h"
#include "gpu/kernels/attention/prefill_token_choice.h"
#include "gpu/kernels/nn/convert_rows.h"
#include "gpu/kernels/nn/gather_rows.h"
#include "gpu/kernels/nn/packed_layout.h"
#include "gpu/kernels/nn/sample.h"
#include "gpu/kernels/nn/unrotate_keys.h"

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
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= 0 && tokens[i] < config.vocabulary) continue;
    return absl::InvalidArgumentError(absl::StrCat("token ", i, " of the prompt is ", tokens[i], ", ", config.name,
                                                   " knows ids below ", config.vocabulary,
                                                   "; was it tokenised for another model?"));
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const ModelConfig& config, const PrefillOptions& options) {
  if (options.tile < 1) return absl::InvalidArgumentError(absl::StrCat("tile of ", options.tile, " tokens"));
  if (options.keep_layers < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("keep ", options.keep_layers, " layers of ", config.layers, "; one is the least"));
  }
  if (options.more_scores.size() >= kMaxAttentionSums) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.more_scores.size(), " more scores, at most ", kMaxAttentionSums - 1, " go in one pass"));
  }
  for (const ScoreRequest& request : options.more_scores) {
    if (request.source != ScoreSource::kNone && request.window >= 1) continue;
    return absl::InvalidArgumentError(absl::StrCat("more scores from source ", static_cast<int>(request.source),
                                                   " with a window of ", request.window));
  }
  return absl::OkStatus();
}

std::vector<ScoreRequest> SourcesOf(const PrefillOptions& options) {
  std::vector<ScoreRequest> sources;
  if (options.score != ScoreSource::kNone) sources.push_back({options.score, options.window});
  sources.insert(sources.end(), options.more_scores.begin(), options.more_scores.end());
  return sources;
}

LayerCacheOptions CacheOptions(const Weights& weights, int32_t tokens, const PrefillOptions& options) {
  LayerCacheOptions cache;
  cache.run_type = weights.run_type();
  cache.tokens = tokens;
  cache.layers = std::min(options.keep_layers, weights.config().layers);
  cache.sources = static_cast<int32_t>(SourcesOf(options).size());
  cache.pre_rope_keys = options.pre_rope_keys;
  cache.channel_peaks = options.channel_peaks;
  return cache;
}

class LayerMajorPrefill final : public PrefillRun {
 public:
  LayerMajorPrefill(const Weights& weights, Stream& stream, int32_t tokens, const PrefillOptions& options)
      : weights_(weights),
        config_(weights.config()),
        stream_(stream),
        tokens_(tokens),
        options_(options),
        sources_(SourcesOf(options)),
        cache_(config_, CacheOptions(weights, tokens, options)),
        rows_(tokens) {}

  absl::Status Allocate(absl::Span<const int32_t> tokens) {
    Device& device = weights_.device();
    const int64_t fresh = tokens_ - options_.reused;
    DECANT_ASSIGN_OR_RETURN(transformer_, Transformer::Create(weights_, tile()));
    DECANT_ASSIGN_OR_RETURN(residual_, device.Allocate(fresh * config_.hidden * 4));
    DECANT_ASSIGN_OR_RETURN(angles_, device.Allocate(fresh * config_.head_dim * 4));
    DECANT_RETURN_IF_ERROR(cache_.Allocate(device));
    if (options_.pre_rope_keys && options_.reused > 0) DECANT_RETURN_IF_ERROR(MakeReusedAngles());
    DECANT_ASSIGN_OR_RETURN(scratch_, device.Allocate(PrefillAttentionScratchBytes(
                                          device, weights_.run_type(), tile(), tokens_, config_.q_heads,
                                          config_.kv_heads, config_.head_dim, static_cast<int32_t>(sources_.size()))));
    return EmbedTokens(tokens.subspan(static_cast<size_t>(options_.reused)));
  }

  int32_t layers() const override { return config_.layers; }
  int32_t rows() const override { return rows_; }
  const float* replay_scores() const override { return replay_scores_.As<float>(); }

  LayerTap PrefixTarget(int32_t layer) override {
    LayerTap tap;
    tap.layer = layer;
    if (options_.reused == 0) return tap;
    tap.tokens = options_.reused;
    tap.k = cache_.k(layer);
    tap.v = cache_.v(layer);
    tap.pre_rope_k = cache_.pre_rope_k(layer);
    tap.capacity = tokens_;
    return tap;
  }

  absl::StatusOr<LayerTap> ComputeLayer(int32_t layer) override {
    if (layer != next_layer_ || layer >= config_.layers) {
      return absl::FailedPreconditionError(
          absl::StrCat("layer ", layer, " of ", config_.layers, " is not the next one, ", next_layer_, " is"));
    }
    cache_.Begin(stream_, layer);
    if (reused_angles_.bytes() > 0) UnrotateReused(layer);
    for (int32_t first = options_.reused; first < rows_; first += tile()) {
      ComputeTile(layer, first, std::min(tile(), rows_ - first));
    }
    if (options_.channel_peaks) RaiseKeyPeaks(layer);
    shapes_.push_back({rows_, positions_.empty() ? nullptr : positions_.back().As<int32_t>()});
    ++next_layer_;
    return Tap(layer);
  }

  absl::StatusOr<LayerTap> Tap(int32_t layer) const override {
    if (layer < 0 || layer >= next_layer_ || next_layer_ - layer > options_.keep_layers) {
      return absl::FailedPreconditionError(absl::StrCat("layer ", layer, " is not at hand: ", next_layer_,
                                                        " are computed and the last ", options_.keep_layers,
                                                        " kept; ask for more with keep_layers"));
    }
    const Shape& shape = shapes_[static_cast<size_t>(layer)];
    LayerTap tap;
    tap.layer = layer;
    tap.tokens = shape.rows;
    tap.positions = shape.positions;
    tap.k = cache_.k(layer);
    tap.v = cache_.v(layer);
    tap.pre_rope_k = cache_.pre_rope_k(layer);
    tap.capacity = tokens_;
    tap.sum_stride = tokens_;
    tap.query_peaks = cache_.query_peaks(layer);
    tap.key_peaks = cache_.key_peaks(layer);
    for (size_t i = 0; i < sources_.size(); ++i) {
      const LayerSums sums{cache_.sums(layer, static_cast<int32_t>(i)), FirstQuery(sources_[i], shape.rows)};
      if (i > 0 || options_.score == ScoreSource::kNone) {
        tap.more_sums.push_back(sums);
        continue;
      }
      tap.sums = sums.sums;
      tap.first_query = sums.first_query;
    }
    if (layer < replayed_) tap.replay_scores = ReplayScores(layer);
    return tap;
  }

  absl::Status SelectRows(const TokenSelection& selection) override {
    DECANT_RETURN_IF_ERROR(CheckBetweenLayers());
    if (selection.kept < 0 || selection.window < 1 || selection.kernel < 1 || selection.kernel % 2 == 0) {
      return absl::InvalidArgumentError(absl::StrCat("selection of ", selection.kept, " tokens with a window of ",
                                                     selection.window, ", pooled over ", selection.kernel,
                                                     ": the window is at least 1, the pooling odd"));
    }
    const int32_t source = SourceOfWindow(selection.window);
    if (source < 0) {
      return absl::FailedPreconditionError(absl::StrCat("nothing sums the attention of the last ", selection.window,
                                                        " queries, by which tokens would be selected; add it to "
                                                        "more_scores"));
    }
    const int32_t window = std::min(selection.window, rows_);
    const int32_t kept = std::max(selection.kept, window);
    if (kept >= rows_) return absl::OkStatus();
    DECANT_ASSIGN_OR_RETURN(const Buffer scratch, weights_.device().Allocate(int64_t{rows_} * 8));
    TokenChoiceArgs args;
    args.sums = cache_.sums(next_layer_ - 1, source);
    args.stride = tokens_;
    args.q_heads = config_.q_heads;
    args.tokens = rows_;
    args.window = window;
    args.kernel = selection.kernel;
    args.average = selection.average;
    args.kept = kept;
    args.scores = scratch.As<float>();
    args.chosen = scratch.As<int32_t>(int64_t{rows_} * 4);
    ChooseTokens(stream_, args);
    return Compact(args.chosen, kept);
  }

  absl::Status KeepRows(absl::Span<const int32_t> rows) override {
    DECANT_RETURN_IF_ERROR(CheckBetweenLayers());
    const auto count = static_cast<int32_t>(rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i] >= 0 && rows[i] < rows_ && (i == 0 || rows[i] > rows[i - 1])) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("row ", rows[i], " at ", i, " of those to keep: they ascend below ", rows_));
    }
    if (count == 0 || rows.back() != rows_ - 1) {
      return absl::InvalidArgumentError(absl::StrCat("the last row, ", rows_ - 1, ", must go on: it predicts a token"));
    }
    if (count == rows_) return absl::OkStatus();
    DECANT_ASSIGN_OR_RETURN(const Buffer chosen, weights_.device().Allocate(int64_t{count} * 4));
    stream_.Copy(chosen.As<int32_t>(), rows.data(), int64_t{count} * 4);
    return Compact(chosen.As<int32_t>(), count);
  }

  absl::Status BeginReplay(absl::Span<const ReplayChunk> chunks, int32_t sinks) override {
    if (!positions_.empty()) {
      return absl::FailedPreconditionError(absl::StrCat("only ", rows_, " of ", tokens_,
                                                        " tokens have gone through all layers; replay without a "
                                                        "selection"));
    }
    replay_.reset();
    replayed_ = 0;
    DECANT_ASSIGN_OR_RETURN(replay_, ReplayPass::Create(weights_, stream_, tokens_, chunks, sinks, options_.tile));
    if (replay_scores_.bytes() == 0) {
      DECANT_ASSIGN_OR_RETURN(replay_scores_, weights_.device().Allocate(int64_t{config_.layers} * config_.kv_heads *
                                                                         tokens_ * int64_t{sizeof(float)}));
    }
    stream_.Fill(replay_scores_.As<float>(), 0, replay_scores_.bytes());
    return absl::OkStatus();
  }

  absl::Status ReplayLayer(int32_t layer) override {
    if (replay_ == nullptr || layer != replayed_) {
      return absl::FailedPreconditionError(
          absl::StrCat("replay of layer ", layer, ", ", replayed_, " are replayed; begin one and go on in order"));
    }
    DECANT_ASSIGN_OR_RETURN(const LayerTap tap, Tap(layer));
    replay_->ComputeLayer(tap, ReplayScores(layer));
    if (++replayed_ < config_.layers) return absl::OkStatus();
    DECANT_RETURN_IF_ERROR(stream_.Synchronize());
    replay_.reset();
    return absl::OkStatus();
  }

  absl::StatusOr<int32_t> SampleFirst(const Sampling& sampling, int64_t position) override {
    DECANT_RETURN_IF_ERROR(CheckFinished());
    Device& device = weights_.device();
    const int64_t scratch_bytes = SampleScratchBytes(1, config_.vocabulary);
    DECANT_ASSIGN_OR_RETURN(const Buffer logits, device.Allocate(int64_t{config_.vocabulary} * 4));
    DECANT_ASSIGN_OR_RETURN(const Buffer scratch, device.Allocate(scratch_bytes));
    DECANT_ASSIGN_OR_RETURN(const Buffer arguments, device.Allocate(sizeof(Sampling) + 8));
    transformer_->Logits(stream_, ResidualRow(rows_ - 1), 1, logits.As<float>());
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
    const int64_t wanted = int64_t{rows_ - options_.reused} * config_.vocabulary;
    if (static_cast<int64_t>(out.size()) != wanted) {
      return absl::InvalidArgumentError(absl::StrCat("room for ", out.size(), " logits, there are ", wanted));
    }
    const int32_t step = std::min(kLogitRows, tile());
    DECANT_ASSIGN_OR_RETURN(const Buffer logits, weights_.device().Allocate(int64_t{step} * config_.vocabulary * 4));
    float* to = out.data();
    for (int32_t first = options_.reused; first < rows_; first += step) {
      const int32_t count = std::min(step, rows_ - first);
      transformer_->Logits(stream_, ResidualRow(first), count, logits.As<float>());
      stream_.Copy(to, logits.As<float>(), int64_t{count} * config_.vocabulary * 4);
      DECANT_RETURN_IF_ERROR(stream_.Synchronize());
      to += int64_t{count} * config_.vocabulary;
    }
    return absl::OkStatus();
  }

 private:
  // What a computed layer's rows are.
  struct Shape {
    int32_t rows = 0;
    const int32_t* positions = nullptr;
  };

  int32_t tile() const { return std::min(options_.tile, tokens_ - options_.reused); }
  float* ResidualRow(int32_t row) const {
    return residual_.As<float>() + int64_t{row - options_.reused} * config_.hidden;
  }
  float* ReplayScores(int32_t layer) const {
    return replay_scores_.As<float>() + int64_t{layer} * config_.kv_heads * tokens_;
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

  absl::Status MakeReusedAngles() {
    std::vector<int32_t> positions(static_cast<size_t>(options_.reused));
    std::iota(positions.begin(), positions.end(), 0);
    const int64_t bytes = int64_t{4} * options_.reused;
    DECANT_ASSIGN_OR_RETURN(const Buffer ids, weights_.device().Allocate(bytes));
    DECANT_ASSIGN_OR_RETURN(reused_angles_, weights_.device().Allocate(bytes * config_.head_dim));
    stream_.Copy(ids.As<void>(), positions.data(), bytes);
    transformer_->Angles(stream_, ids.As<int32_t>(), options_.reused, reused_angles_.As<float>());
    return stream_.Synchronize();
  }

  // A stored prefix brings its keys after rope only.
  void UnrotateReused(int32_t layer) {
    UnrotateKeysArgs args;
    args.run_type = weights_.run_type();
    args.angles = reused_angles_.As<float>();
    args.k = cache_.k(layer);
    args.out = cache_.pre_rope_k(layer);
    args.capacity = tokens_;
    args.heads = config_.kv_heads;
    args.tokens = options_.reused;
    args.head_dim = config_.head_dim;
    UnrotateKeys(stream_, args);
  }

  absl::Status CheckBetweenLayers() const {
    if (options_.reused > 0) {
      return absl::InvalidArgumentError(absl::StrCat("a selection needs the hidden states of all tokens, ",
                                                     options_.reused, " of them are reused; compute the whole prompt"));
    }
    if (next_layer_ > 0 && next_layer_ < config_.layers && replay_ == nullptr && replayed_ == 0) {
      return absl::OkStatus();
    }
    return absl::FailedPreconditionError(absl::StrCat("rows are selected between two layers and without a replay; ",
                                                      next_layer_, " of ", config_.layers, " are computed, ", replayed_,
                                                      " replayed"));
  }

  int32_t FirstQuery(const ScoreRequest& request, int32_t rows) const {
    if (request.source != ScoreSource::kLastWindow) return options_.reused;
    return std::max(options_.reused, rows - request.window);
  }

  int32_t SourceOfWindow(int32_t window) const {
    for (size_t i = 0; i < sources_.size(); ++i) {
      if (sources_[i].source == ScoreSource::kLastWindow && sources_[i].window == window)
        return static_cast<int32_t>(i);
    }
    return -1;
  }

  // chosen [count] i32 on the device: rows that go on.
  absl::Status Compact(const int32_t* chosen, int32_t count) {
    Device& device = weights_.device();
    DECANT_ASSIGN_OR_RETURN(Buffer residual, device.Allocate(int64_t{count} * config_.hidden * 4));
    DECANT_ASSIGN_OR_RETURN(Buffer angles, device.Allocate(int64_t{count} * config_.head_dim * 4));
    DECANT_ASSIGN_OR_RETURN(Buffer positions, device.Allocate(int64_t{count} * 4));
    const auto gather = [&](const Buffer& from, int64_t row_bytes, const Buffer& to) {
      GatherRows(stream_, GatherRowsArgs{from.As<void>(), chosen, count, row_bytes, to.As<void>()});
    };
    gather(residual_, int64_t{config_.hidden} * 4, residual);
    gather(angles_, int64_t{config_.head_dim} * 4, angles);
    if (positions_.empty()) {
      stream_.Copy(positions.As<int32_t>(), chosen, int64_t{count} * 4);
    } else {
      gather(positions_.back(), 4, positions);
    }
    DECANT_RETURN_IF_ERROR(stream_.Synchronize());
    residual_ = std::move(residual);
    angles_ = std::move(angles);
    positions_.push_back(std::move(positions));
    rows_ = count;
    return absl::OkStatus();
  }

  void StoreHeads(const float* rows, int32_t first, int32_t count, char* to) {
    ConvertRowsArgs args;
    args.in = rows;
    args.in_stride = transformer_->qkv_stride();
    args.rows = count;
    args.groups = config_.kv_heads;
    args.width = config_.head_dim;
    args.out_type = weights_.run_type();
    args.out = to + int64_t{first} * config_.head_dim * RunTypeBytes(weights_.run_type());
    args.out_row_stride = config_.head_dim;
    args.out_group_stride = cache_.head_stride();
    ConvertRows(stream_, args);
  }

  void ComputeTile(int32_t layer, int32_t first, int32_t rows) {
    const float* angles = angles_.As<float>() + int64_t{first - options_.reused} * config_.head_dim;
    transformer_->Project(stream_, layer, ResidualRow(first), rows);
    if (options_.pre_rope_keys) StoreHeads(transformer_->k(), first, rows, cache_.pre_rope_k(layer));
    transformer_->Rotate(stream_, angles, rows);
    StoreHeads(transformer_->k(), first, rows, cache_.k(layer));
    StoreHeads(transformer_->v(), first, rows, cache_.v(layer));
    if (options_.channel_peaks) RaiseQueryPeaks(layer, rows);
    Attend(layer, first, rows);
    transformer_->EndLayer(stream_, layer, ResidualRow(first), rows);
  }

  void Attend(int32_t layer, int32_t first, int32_t rows) {
    PrefillAttentionArgs args;
    args.run_type = weights_.run_type();
    args.q = transformer_->q();
    args.q_stride = transformer_->qkv_stride();
    args.queries = rows;
    args.first_query = first;
    args.k = cache_.k(layer);
    args.v = cache_.v(layer);
    args.capacity = tokens_;
    args.q_heads = config_.q_heads;
    args.kv_heads = config_.kv_heads;
    args.head_dim = config_.head_dim;
    args.scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim));
    args.out = transformer_->attention();
    args.out_stride = transformer_->attention_stride();
    for (const ScoreRequest& request : sources_) {
      args.sums[args.sum_count] = AttentionSums{cache_.sums(layer, args.sum_count), FirstQuery(request, rows_),
                                                request.source != ScoreSource::kAllLaterQueries};
      ++args.sum_count;
    }
    args.sum_stride = tokens_;
    args.scratch = scratch_.As<void>();
    args.scratch_keys = tokens_;
    args.packed_keys = first == options_.reused ? 0 : first;
    PrefillAttention(stream_, args);
  }

  void RaiseQueryPeaks(int32_t layer, int32_t rows) {
    ChannelPeaksArgs args;
    args.x = transformer_->q();
    args.row_stride = transformer_->qkv_stride();
    args.head_stride = config_.head_dim;
    args.rows = rows;
    args.heads = config_.q_heads;
    args.group = config_.q_heads / config_.kv_heads;
    args.head_dim = config_.head_dim;
    args.peaks = cache_.query_peaks(layer);
    ChannelPeaks(stream_, args);
  }

  // Over the cache, so that reused tokens count.
  void RaiseKeyPeaks(int32_t layer) {
    ChannelPeaksArgs args;
    args.type = weights_.run_type();
    args.x = cache_.k(layer);
    args.row_stride = config_.head_dim;
    args.head_stride = cache_.head_stride();
    args.rows = rows_;
    args.heads = config_.kv_heads;
    args.head_dim = config_.head_dim;
    args.peaks = cache_.key_peaks(layer);
    ChannelPeaks(stream_, args);
  }

  const Weights& weights_;
  const ModelConfig& config_;
  Stream& stream_;
  const int32_t tokens_;
  const PrefillOptions options_;
  const std::vector<ScoreRequest> sources_;  // `score`, if any, then more_scores
  LayerCache cache_;
  int32_t next_layer_ = 0;
  int32_t rows_;
  std::vector<Shape> shapes_;      // of the layers computed
  std::vector<Buffer> positions_;  // [rows] i32, one for each selection
  std::unique_ptr<Transformer> transformer_;
  Buffer residual_;       // [rows - reused, hidden] f32
  Buffer angles_;         // [rows - reused, head_dim] f32
  Buffer reused_angles_;  // [reused, head_dim] f32, where keys before rope are asked for
  Buffer scratch_;
  std::unique_ptr<ReplayPass> replay_;  // while one goes on
  int32_t replayed_ = 0;                // layers
  Buffer replay_scores_;                // [layers, kv_heads, tokens] f32
};

}  // namespace

absl::StatusOr<std::unique_ptr<PrefillRun>> PrefillRun::Create(const Weights& weights, Stream& stream,
                                                               absl::Span<const int32_t> tokens,
                                                               const PrefillOptions& options) {
  DECANT_RETURN_IF_ERROR(CheckPrompt(weights.config(), tokens, options));
  DECANT_RETURN_IF_ERROR(CheckOptions(weights.config(), options));
  auto run = std::make_unique<LayerMajorPrefill>(weights, stream, static_cast<int32_t>(tokens.size()), options);
  DECANT_RETURN_IF_ERROR(run->Allocate(tokens));
  return run;
}

}  // namespace decant
