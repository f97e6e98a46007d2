#include "gpu/engine/layer_encoder.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/compress/allocate/budget.h"
#include "common/compress/arith/key_shape.h"
#include "common/kv/frame.h"
#include "common/kv/overlay.h"
#include "gpu/engine/low_rank_encoder.h"
#include "gpu/engine/split_layer_encoder.h"
#include "gpu/engine/wire_form.h"
#include "gpu/kernels/codec/encode_frames.h"
#include "gpu/kernels/codec/frame_runs.h"
#include "gpu/kernels/codec/shape_keys.h"
#include "gpu/kernels/nn/scatter_rows.h"
#include "gpu/kernels/score/score_tokens.h"
#include "gpu/kernels/score/select_tiers.h"

namespace decant {
namespace {

// A chunk on its way into the batch; a reused one has no frame of its own.
struct ChunkPlan {
  FrameHeader header;
  FrameLayout frame;
  OverlayHeader overlay_header;
  OverlayLayout overlay;
  size_t first_run = 0;
  size_t end_run = 0;
};

bool HasSums(ScoreSource source) {
  return source == ScoreSource::kAllLaterQueries || source == ScoreSource::kLastWindow ||
         source == ScoreSource::kAllQueries;
}

class FrameLayerEncoder final : public LayerEncoder {
 public:
  FrameLayerEncoder(Device& device, LayerEncoderOptions options)
      : device_(device),
        options_(std::move(options)),
        layers_held_(options_.recipe.needs_all_layers() ? options_.geometry.layers : 1),
        budgets_(LayerBudgets(options_.recipe, options_.geometry.layers, options_.prompt_tokens)) {
    chunks_ = (options_.prompt_tokens + options_.chunk_tokens - 1) / options_.chunk_tokens;
    counts_.resize(static_cast<size_t>(layers_held_ * options_.geometry.kv_heads * chunks_ * 3));
  }

  absl::Status Allocate() {
    const int64_t heads = options_.geometry.kv_heads;
    const int64_t runs = int64_t{chunks_} * heads * kFrameTiers;
    const int64_t tokens = layers_held_ * heads * options_.prompt_tokens;
    DECANT_ASSIGN_OR_RETURN(scores_, device_.Allocate(tokens * int64_t{sizeof(float)}));
    DECANT_ASSIGN_OR_RETURN(ranks_, device_.Allocate(tokens * int64_t{sizeof(float)}));
    DECANT_ASSIGN_OR_RETURN(select_scratch_, device_.Allocate(tokens * int64_t{sizeof(float)}));
    DECANT_ASSIGN_OR_RETURN(tiers_, device_.Allocate(tokens));
    DECANT_ASSIGN_OR_RETURN(device_counts_, device_.Allocate(static_cast<int64_t>(counts_.size() * sizeof(int32_t))));
    DECANT_ASSIGN_OR_RETURN(device_runs_, device_.Allocate(runs * static_cast<int64_t>(sizeof(EncodeRun))));
    DECANT_ASSIGN_OR_RETURN(errors_, device_.Allocate(2 * runs * static_cast<int64_t>(sizeof(StoredError))));
    return absl::OkStatus();
  }

  absl::Status SelectAll(Stream& stream, absl::Span<const LayerTap> layers) override {
    if (!options_.recipe.needs_all_layers() || static_cast<int32_t>(layers.size()) != options_.geometry.layers) {
      return absl::FailedPreconditionError(absl::StrCat(layers.size(), " of ", options_.geometry.layers,
                                                        " layers to select at once for profile ",
                                                        options_.recipe.profile));
    }
    for (const LayerTap& tap : layers) {
      DECANT_RETURN_IF_ERROR(CheckTap(tap));
      Score(stream, tap);
    }
    DECANT_RETURN_IF_ERROR(Select(stream, layers.front()));
    selected_all_ = true;
    return absl::OkStatus();
  }

  absl::StatusOr<EncodedLayer> Encode(Stream& stream, const LayerTap& tap, int32_t first_chunk) override {
    DECANT_RETURN_IF_ERROR(CheckTap(tap));
    if (first_chunk < 0 || first_chunk > chunks_ || (first_chunk > 0 && !options_.recipe.forwards_prefix())) {
      return absl::InvalidArgumentError(absl::StrCat("frames from chunk ", first_chunk, " of ", chunks_,
                                                     " on with profile ", options_.recipe.profile));
    }
    if (!options_.recipe.needs_all_layers()) {
      Score(stream, tap);
      DECANT_RETURN_IF_ERROR(Select(stream, tap));
    } else if (!selected_all_) {
      return absl::FailedPreconditionError(
          absl::StrCat("profile ", options_.recipe.profile, " compares tokens of all layers; call SelectAll first"));
    }
    EncodedLayer layer;
    layer.layer = tap.layer;
    std::vector<EncodeRun> runs;
    const std::vector<ChunkPlan> plans = LayOut(tap, first_chunk, layer, runs);
    DECANT_ASSIGN_OR_RETURN(const LayerTap whole, InPlace(stream, tap));
    DECANT_ASSIGN_OR_RETURN(const LayerTap shaped, InForm(stream, whole));
    DECANT_RETURN_IF_ERROR(Run(stream, shaped, runs, layer));
    DECANT_RETURN_IF_ERROR(CopyBalance(stream, plans, layer));
    DECANT_RETURN_IF_ERROR(CopyReusedScores(stream, plans, first_chunk, layer));
    Seal(plans, layer);
    return layer;
  }

 private:
  bool has_overlays() const { return options_.recipe.needs_overlays(); }
  int32_t first_token(int32_t chunk) const { return chunk * options_.chunk_tokens; }
  int32_t span(int32_t chunk) const {
    return std::min(options_.chunk_tokens, options_.prompt_tokens - first_token(chunk));
  }
  // Of a layer's part of scores, ranks and tiers.
  int64_t slot(int32_t layer) const { return layers_held_ == 1 ? 0 : layer; }
  int64_t slot_tokens() const { return int64_t{options_.geometry.kv_heads} * options_.prompt_tokens; }
  float* scores(int32_t layer) const { return scores_.As<float>() + slot(layer) * slot_tokens(); }
  uint8_t* tiers(int32_t layer) const { return tiers_.As<uint8_t>() + slot(layer) * slot_tokens(); }
  int32_t count(int32_t layer, int32_t head, int32_t chunk, int32_t tier) const {
    const int64_t row = slot(layer) * options_.geometry.kv_heads + head;
    return counts_[static_cast<size_t>((row * chunks_ + chunk) * 3 + tier)];
  }

  absl::Status CheckTap(const LayerTap& tap) const {
    const bool partial = tap.positions != nullptr;
    if (tap.layer < 0 || tap.layer >= options_.geometry.layers || tap.tokens > options_.prompt_tokens ||
        (tap.tokens < options_.prompt_tokens && !partial)) {
      return absl::InvalidArgumentError(absl::StrCat("layer ", tap.layer, " of ", tap.tokens,
                                                     " tokens, made for layers below ", options_.geometry.layers,
                                                     " and ", options_.prompt_tokens, " tokens"));
    }
    if (HasSums(options_.recipe.score) && tap.sums == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("profile ", options_.recipe.profile, " scores tokens, but the layer has no sums"));
    }
    const KeyForm& form = options_.recipe.key_form;
    if (form.rope == 0 && tap.pre_rope_k == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("profile ", options_.recipe.profile, " keeps keys before rope, but the layer shows none"));
    }
    if (form.balanced != 0 && (tap.query_peaks == nullptr || tap.key_peaks == nullptr)) {
      return absl::InvalidArgumentError(
          absl::StrCat("profile ", options_.recipe.profile, " balances channels, but the layer has no peaks"));
    }
    const int32_t kept_anyway = options_.recipe.sinks + options_.recipe.window;
    if (options_.recipe.score == ScoreSource::kReplay && tap.replay_scores == nullptr &&
        options_.prompt_tokens > kept_anyway) {
      return absl::InvalidArgumentError(absl::StrCat("profile ", options_.recipe.profile,
                                                     " scores tokens by a replay, but the layer was not replayed"));
    }
    return absl::OkStatus();
  }

  void Score(Stream& stream, const LayerTap& tap) const {
    const Recipe& recipe = options_.recipe;
    ScoreTokensArgs args;
    args.source = recipe.score;
    args.reduce = recipe.reduce;
    args.pooling = recipe.pooling;
    args.pool_width = recipe.pool_width;
    args.sinks = recipe.sinks;
    args.window = recipe.window;
    if (HasSums(recipe.score)) args.sums = tap.sums;
    args.stride = tap.sum_stride;
    if (recipe.score == ScoreSource::kReplay) args.replay = tap.replay_scores;
    args.q_heads = options_.geometry.q_heads;
    args.kv_heads = options_.geometry.kv_heads;
    args.rows = tap.tokens;
    args.positions = tap.positions;
    args.tokens = options_.prompt_tokens;
    args.scores = scores(tap.layer);
    args.ranks = ranks_.As<float>() + slot(tap.layer) * slot_tokens();
    ScoreTokens(stream, args);
  }

  // Tiers and their counts: of the tap's layer, or of all that are held.
  absl::Status Select(Stream& stream, const LayerTap& tap) {
    const Recipe& recipe = options_.recipe;
    SelectTiersArgs args;
    args.scores = scores_.As<float>();
    args.ranks = ranks_.As<float>();
    args.layers = layers_held_;
    args.kv_heads = options_.geometry.kv_heads;
    args.tokens = options_.prompt_tokens;
    args.allocation = recipe.allocation;
    args.source = recipe.score;
    args.first_query = tap.first_query;
    args.alpha_high = recipe.alpha_high;
    args.alpha_low = recipe.alpha_low;
    args.window = recipe.window;
    SetNumbers(tap.layer, args);
    args.scratch = select_scratch_.As<float>();
    args.chunk_tokens = options_.chunk_tokens;
    args.tiers = tiers_.As<uint8_t>();
    args.counts = device_counts_.As<int32_t>();
    SelectTiers(stream, args);
    stream.Copy(counts_.data(), args.counts, static_cast<int64_t>(counts_.size() * sizeof(int32_t)));
    return stream.Synchronize();
  }

  // How many tokens the rankings take. Of two cuts the budget is what stays at all; else it is what is high, and the
  // others are low where there is a low format.
  void SetNumbers(int32_t layer, SelectTiersArgs& args) const {
    const Recipe& recipe = options_.recipe;
    args.high = budgets_[static_cast<size_t>(layer)];
    if (recipe.needs_all_layers()) args.high = BudgetTokens(recipe.budget, layers_held_ * slot_tokens());
    args.kept = recipe.low == FormatId::kNone ? args.high : kAllTokens;
    if (!recipe.cuts_twice()) return;
    args.kept = args.high;
    args.high = BudgetTokens(recipe.high_share, args.kept);
  }

  // The tap with every token's K and V at its position, as frames are cut by position.
  absl::StatusOr<LayerTap> InPlace(Stream& stream, const LayerTap& tap) {
    if (tap.positions == nullptr) return tap;
    LayerTap whole = tap;
    const std::pair<void**, Buffer*> moved[] = {
        {&whole.k, &whole_k_}, {&whole.v, &whole_v_}, {&whole.pre_rope_k, &whole_pre_rope_k_}};
    const int64_t row_bytes = int64_t{options_.geometry.head_dim} * (options_.run_type == RunType::kF32 ? 4 : 2);
    for (const auto& [address, buffer] : moved) {
      if (*address == nullptr) continue;
      if (buffer->bytes() == 0) {
        DECANT_ASSIGN_OR_RETURN(*buffer, device_.Allocate(slot_tokens() * row_bytes));
      }
      ScatterRowsArgs args;
      args.in = *address;
      args.rows = tap.positions;
      args.count = tap.tokens;
      args.groups = options_.geometry.kv_heads;
      args.row_bytes = row_bytes;
      args.in_group_bytes = tap.capacity * row_bytes;
      args.out = buffer->As<void>();
      args.out_group_bytes = options_.prompt_tokens * row_bytes;
      ScatterRows(stream, args);
      *address = buffer->As<void>();
    }
    whole.tokens = options_.prompt_tokens;
    whole.capacity = options_.prompt_tokens;
    whole.positions = nullptr;
    return whole;
  }

  // The tap with its keys in the recipe's form.
  absl::StatusOr<LayerTap> InForm(Stream& stream, const LayerTap& tap) {
    const KeyForm& form = options_.recipe.key_form;
    LayerTap formed = tap;
    if (form.rope == 0) formed.k = tap.pre_rope_k;
    if (!IsShaped(form)) return formed;
    const int64_t channels = int64_t{options_.geometry.kv_heads} * options_.geometry.head_dim;
    if (form.balanced != 0) {
      if (balance_.bytes() == 0) {
        DECANT_ASSIGN_OR_RETURN(balance_, device_.Allocate(channels * int64_t{sizeof(float)}));
      }
      FitKeyBalance(stream, FitKeyBalanceArgs{tap.query_peaks, tap.key_peaks, channels, balance_.As<float>()});
    }
    const int64_t bytes = channels * tap.capacity * (options_.run_type == RunType::kF32 ? 4 : 2);
    if (bytes > shaped_k_.bytes()) {
      DECANT_ASSIGN_OR_RETURN(shaped_k_, device_.Allocate(bytes));
    }
    ShapeKeysArgs args;
    args.run_type = options_.run_type;
    args.form = form;
    args.balance = form.balanced != 0 ? balance_.As<float>() : nullptr;
    args.k = formed.k;
    args.capacity = tap.capacity;
    args.kv_heads = options_.geometry.kv_heads;
    args.tokens = tap.tokens;
    args.head_dim = options_.geometry.head_dim;
    args.out = shaped_k_.As<void>();
    args.out_capacity = tap.capacity;
    ShapeKeys(stream, args);
    formed.k = shaped_k_.As<void>();
    return formed;
  }

  // Every frame of a layer carries the factors of its keys: each may be read without the others.
  absl::Status CopyBalance(Stream& stream, const std::vector<ChunkPlan>& plans, EncodedLayer& layer) const {
    if (options_.recipe.key_form.balanced == 0) return absl::OkStatus();
    for (const ChunkPlan& plan : plans) {
      stream.Copy(layer.batch.data() + plan.frame.balance, balance_.As<void>(), balance_.bytes());
    }
    return stream.Synchronize();
  }

  // What a frame loses: tokens, or bits of them. What was computed from fewer tokens than there were is never better
  // than pruned.
  Provenance OwnProvenance(const LayerTap& tap, const int64_t (&held)[3]) const {
    const Recipe& recipe = options_.recipe;
    if (held[2] > 0 || tap.positions != nullptr) return Provenance::kPruned;
    const Format high = FormatOf(recipe.high);
    const bool lossless =
        IsFull(high.k) && IsFull(high.v) && recipe.key_form == KeyForm{} && recipe.low_rank.group_layers == 0;
    return lossless && held[kLow] == 0 ? Provenance::kExact : Provenance::kQuantised;
  }

  FrameHeader HeaderOf(const LayerTap& tap, int32_t chunk) const {
    const Recipe& recipe = options_.recipe;
    FrameHeader header;
    int64_t held[3] = {0, 0, 0};
    for (int32_t head = 0; head < options_.geometry.kv_heads; ++head) {
      for (int32_t tier = 0; tier < 3; ++tier) held[tier] += count(tap.layer, head, chunk, tier);
      if (count(tap.layer, head, chunk, kHigh) != span(chunk) && count(tap.layer, head, chunk, kLow) != span(chunk)) {
        header.explicit_positions = true;
      }
    }
    if (held[kHigh] > 0) header.formats[kHigh] = recipe.high;
    if (held[kLow] > 0) header.formats[kLow] = recipe.low;
    header.provenance = std::max(OwnProvenance(tap, held), options_.prefix_provenance);
    header.key_form = recipe.key_form;
    header.k_norm_applied = options_.k_norm;
    header.first_layer = tap.layer;
    header.heads = options_.geometry.kv_heads;
    header.head_dim = options_.geometry.head_dim;
    header.first_position = first_token(chunk);
    header.span = span(chunk);
    header.model_fingerprint = options_.model.Prefix64();
    header.profile = recipe.digest;
    if (static_cast<size_t>(chunk) < options_.contexts.size()) {
      header.context = options_.contexts[static_cast<size_t>(chunk)];
    }
    return header;
  }

  // Places every frame and overlay and lists what to encode.
  std::vector<ChunkPlan> LayOut(const LayerTap& tap, int32_t first_chunk, EncodedLayer& layer,
                                std::vector<EncodeRun>& runs) const {
    std::vector<ChunkPlan> plans;
    int64_t end = 0;
    for (int32_t chunk = has_overlays() ? 0 : first_chunk; chunk < chunks_; ++chunk) {
      const bool reused = chunk < first_chunk;
      ChunkPlan plan;
      plan.header = HeaderOf(tap, chunk);
      std::vector<int32_t> counts;
      for (int32_t head = 0; head < options_.geometry.kv_heads; ++head) {
        // A stored chunk holds every token in its first tier.
        counts.push_back(reused ? span(chunk) : count(tap.layer, head, chunk, kHigh));
        counts.push_back(reused ? 0 : count(tap.layer, head, chunk, kLow));
        counts.insert(counts.end(), kFrameTiers - 2, 0);
        layer.counts.high += reused ? 0 : count(tap.layer, head, chunk, kHigh);
        layer.counts.low += reused ? 0 : count(tap.layer, head, chunk, kLow);
        layer.counts.pruned += reused ? 0 : count(tap.layer, head, chunk, 2);
      }
      if (reused) {
        plan.header.formats[kHigh] = options_.recipe.high;
        plan.header.explicit_positions = false;
      }
      plan.frame = LayOutFrame(plan.header, counts, end);
      EncodedChunk place{first_token(chunk), span(chunk), end, reused ? 0 : plan.frame.bytes, 0, 0};
      end += place.frame_bytes;
      if (has_overlays()) {
        plan.overlay_header = OverlayHeaderFor(plan.header, tap.first_query);
        plan.overlay = LayOutOverlay(plan.overlay_header, plan.frame, end);
        place.overlay_offset = end;
        place.overlay_bytes = plan.overlay.bytes;
        end += place.overlay_bytes;
      }
      plan.first_run = runs.size();
      if (!reused) {
        AppendEncodeRuns(plan.header, plan.frame, has_overlays() ? &plan.overlay : nullptr, first_token(chunk), runs);
      }
      plan.end_run = runs.size();
      plans.push_back(std::move(plan));
      layer.chunks.push_back(place);
    }
    layer.batch.resize(static_cast<size_t>(end));
    return plans;
  }

  // Encodes into device memory and brings bytes and errors back.
  absl::Status Run(Stream& stream, const LayerTap& tap, const std::vector<EncodeRun>& runs, EncodedLayer& layer) {
    const auto bytes = static_cast<int64_t>(layer.batch.size());
    if (bytes > out_.bytes()) {
      DECANT_ASSIGN_OR_RETURN(out_, device_.Allocate(bytes));
    }
    run_errors_.resize(2 * runs.size());
    if (runs.empty()) return absl::OkStatus();
    stream.Copy(device_runs_.As<void>(), runs.data(), static_cast<int64_t>(runs.size() * sizeof(EncodeRun)));
    EncodeFramesArgs args;
    args.run_type = options_.run_type;
    args.k = tap.k;
    args.v = tap.v;
    args.capacity = tap.capacity;
    args.head_dim = options_.geometry.head_dim;
    args.tiers = tiers(tap.layer);
    args.scores = scores(tap.layer);
    args.tokens = tap.tokens;
    args.key_levels = options_.recipe.key_levels;
    args.value_levels = options_.recipe.value_levels;
    args.runs = device_runs_.As<EncodeRun>();
    args.run_count = static_cast<int32_t>(runs.size());
    args.out = out_.As<uint8_t>();
    args.key_errors = errors_.As<StoredError>();
    args.value_errors = args.key_errors + runs.size();
    EncodeFrames(stream, args);
    stream.Copy(layer.batch.data(), args.out, bytes);
    stream.Copy(run_errors_.data(), args.key_errors, static_cast<int64_t>(run_errors_.size() * sizeof(StoredError)));
    return stream.Synchronize();
  }

  // The overlays of reused chunks: all their tokens in order.
  absl::Status CopyReusedScores(Stream& stream, const std::vector<ChunkPlan>& plans, int32_t first_chunk,
                                EncodedLayer& layer) const {
    if (!has_overlays() || first_chunk == 0) return absl::OkStatus();
    for (int32_t chunk = 0; chunk < first_chunk; ++chunk) {
      for (int32_t head = 0; head < options_.geometry.kv_heads; ++head) {
        const int64_t from = int64_t{head} * options_.prompt_tokens + first_token(chunk);
        stream.Copy(layer.batch.data() + plans[static_cast<size_t>(chunk)].overlay.run(0, head, kHigh),
                    scores(layer.layer) + from, int64_t{4} * span(chunk));
      }
    }
    return stream.Synchronize();
  }

  void Seal(const std::vector<ChunkPlan>& plans, EncodedLayer& layer) const {
    const size_t run_count = run_errors_.size() / 2;
    for (size_t i = 0; i < plans.size(); ++i) {
      FrameHeader header = plans[i].header;
      for (size_t run = plans[i].first_run; run < plans[i].end_run; ++run) {
        header.key_error.Add(run_errors_[run]);
        header.value_error.Add(run_errors_[run_count + run]);
      }
      layer.key_error.Add(header.key_error);
      layer.value_error.Add(header.value_error);
      if (layer.chunks[i].frame_bytes > 0) SealFrame(header, plans[i].frame, layer.batch.data());
      if (has_overlays()) SealOverlay(plans[i].overlay_header, plans[i].overlay, layer.batch.data());
    }
  }

  Device& device_;
  const LayerEncoderOptions options_;
  const int32_t layers_held_;  // whose scores and tiers are held at once: all, or one
  const std::vector<int32_t> budgets_;
  int32_t chunks_ = 0;
  bool selected_all_ = false;
  Buffer scores_;          // [layers_held, kv_heads, tokens] f32
  Buffer ranks_;           // the same
  Buffer select_scratch_;  // the same
  Buffer tiers_;           // [layers_held, kv_heads, tokens] u8
  Buffer device_counts_;   // [layers_held, kv_heads, chunks, 3] i32
  Buffer whole_k_;         // [kv_heads, tokens, head_dim] of the run type, once a layer has fewer tokens
  Buffer whole_v_;
  Buffer whole_pre_rope_k_;
  Buffer balance_;   // [kv_heads, head_dim] f32 of the layer
  Buffer shaped_k_;  // [kv_heads, capacity, head_dim] of the run type
  Buffer device_runs_;
  Buffer errors_;  // of keys, then of values, per run
  Buffer out_;     // grows to the largest layer
  std::vector<int32_t> counts_;
  std::vector<StoredError> run_errors_;
};

// Codes the frames that another encoder makes.
class CodingEncoder final : public LayerEncoder {
 public:
  explicit CodingEncoder(std::unique_ptr<LayerEncoder> plain) : plain_(std::move(plain)) {}

  absl::Status SelectAll(Stream& stream, absl::Span<const LayerTap> layers) override {
    return plain_->SelectAll(stream, layers);
  }

  absl::StatusOr<EncodedLayer> Encode(Stream& stream, const LayerTap& tap, int32_t first_chunk) override {
    DECANT_ASSIGN_OR_RETURN(const EncodedLayer layer, plain_->Encode(stream, tap, first_chunk));
    return CodedLayer(layer);
  }

 private:
  const std::unique_ptr<LayerEncoder> plain_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LayerEncoder>> LayerEncoder::Create(Device& device, const LayerEncoderOptions& options) {
  const Geometry& geometry = options.geometry;
  if (geometry.layers < 1 || options.prompt_tokens < 1 || options.chunk_tokens < 1 ||
      options.chunk_tokens > kMaxFrameSpan || geometry.kv_heads < 1 || geometry.q_heads % geometry.kv_heads != 0 ||
      geometry.head_dim < 8 || geometry.head_dim % 8 != 0 || options.recipe.high == FormatId::kNone ||
      options.prefix_provenance == Provenance::kUnspecified) {
    return absl::InvalidArgumentError(absl::StrCat(
        "cannot encode ", options.prompt_tokens, " tokens in chunks of ", options.chunk_tokens, " with ",
        geometry.q_heads, " query and ", geometry.kv_heads, " kv heads of ", geometry.head_dim, " elements, format ",
        static_cast<int>(options.recipe.high), ", provenance ", static_cast<int>(options.prefix_provenance)));
  }
  if (options.recipe.split()) return CreateSplitLayerEncoder(device, options);
  if (options.recipe.code == WireCode::kLowRank) return CreateLowRankEncoder(device, options);
  auto encoder = std::make_unique<FrameLayerEncoder>(device, options);
  DECANT_RETURN_IF_ERROR(encoder->Allocate());
  if (options.recipe.code != WireCode::kEntropy) return encoder;
  return std::make_unique<CodingEncoder>(std::move(encoder));
}

}  // namespace decant
