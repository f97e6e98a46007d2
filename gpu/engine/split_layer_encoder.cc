#include "gpu/engine/split_layer_encoder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/compress/arith/window_split.h"
#include "common/kv/frame.h"
#include "gpu/kernels/codec/encode_frames.h"
#include "gpu/kernels/codec/frame_runs.h"

namespace decant {
namespace {

struct SplitChunk {
  FrameHeader header;
  FrameLayout frame;
  size_t first_run = 0;
  size_t end_run = 0;
};

class SplitLayerEncoder final : public LayerEncoder {
 public:
  SplitLayerEncoder(Device& device, LayerEncoderOptions options) : device_(device), options_(std::move(options)) {
    chunks_ = (options_.prompt_tokens + options_.chunk_tokens - 1) / options_.chunk_tokens;
  }

  absl::Status Allocate() {
    const int64_t runs = int64_t{chunks_} * options_.geometry.kv_heads * kFrameTiers;
    DECANT_ASSIGN_OR_RETURN(device_runs_, device_.Allocate(runs * static_cast<int64_t>(sizeof(EncodeRun))));
    DECANT_ASSIGN_OR_RETURN(errors_, device_.Allocate(2 * runs * static_cast<int64_t>(sizeof(StoredError))));
    return absl::OkStatus();
  }

  absl::Status SelectAll(Stream&, absl::Span<const LayerTap>) override {
    return absl::FailedPreconditionError(
        absl::StrCat("profile ", options_.recipe.profile, " splits tokens by position; there is nothing to select"));
  }

  absl::StatusOr<EncodedLayer> Encode(Stream& stream, const LayerTap& tap, int32_t first_chunk) override {
    if (first_chunk != 0 || tap.tokens != options_.prompt_tokens || tap.positions != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("layer ", tap.layer, " of ", tap.tokens, " tokens from chunk ",
                                                     first_chunk, " on; split rows take all ", options_.prompt_tokens,
                                                     " tokens of the prompt, from chunk 0 on"));
    }
    EncodedLayer layer;
    layer.layer = tap.layer;
    std::vector<EncodeRun> runs;
    const std::vector<SplitChunk> chunks = LayOut(tap.layer, layer, runs);
    DECANT_RETURN_IF_ERROR(Run(stream, tap, runs, layer));
    Seal(chunks, layer);
    return layer;
  }

 private:
  // Tokens of each tier that a chunk of positions [first, first + span) holds in every head.
  void Count(int32_t first, int32_t span, int32_t (&counts)[kFrameTiers]) const {
    const int32_t window = options_.recipe.window;
    counts[kHigh] = CountBelow(FrozenKeys(options_.prompt_tokens, window), first, span);
    counts[kLow] = CountBelow(FrozenValues(options_.prompt_tokens, window), first, span);
    counts[kFixed] = span - counts[kHigh];
    counts[kTail] = span - counts[kLow];
  }

  FrameHeader HeaderOf(int32_t layer, int32_t chunk, const int32_t (&counts)[kFrameTiers]) const {
    const Recipe& recipe = options_.recipe;
    const FormatId formats[kFrameTiers] = {recipe.high, recipe.low, recipe.window_keys, recipe.window_values};
    FrameHeader header;
    header.first_position = chunk * options_.chunk_tokens;
    header.span = std::min(options_.chunk_tokens, options_.prompt_tokens - header.first_position);
    for (int32_t tier = 0; tier < kFrameTiers; ++tier) {
      if (counts[tier] > 0) header.formats[tier] = formats[tier];
      if (counts[tier] > 0 && counts[tier] < header.span) header.explicit_positions = true;
    }
    const bool frozen = counts[kHigh] + counts[kLow] > 0;
    header.provenance = std::max(frozen ? Provenance::kQuantised : Provenance::kExact, options_.prefix_provenance);
    header.k_norm_applied = options_.k_norm;
    header.first_layer = layer;
    header.heads = options_.geometry.kv_heads;
    header.head_dim = options_.geometry.head_dim;
    header.model_fingerprint = options_.model.Prefix64();
    header.profile = recipe.digest;
    if (static_cast<size_t>(chunk) < options_.contexts.size()) {
      header.context = options_.contexts[static_cast<size_t>(chunk)];
    }
    return header;
  }

  std::vector<SplitChunk> LayOut(int32_t layer_index, EncodedLayer& layer, std::vector<EncodeRun>& runs) const {
    std::vector<SplitChunk> chunks;
    int64_t end = 0;
    for (int32_t chunk = 0; chunk < chunks_; ++chunk) {
      const int32_t first = chunk * options_.chunk_tokens;
      int32_t counts[kFrameTiers];
      Count(first, std::min(options_.chunk_tokens, options_.prompt_tokens - first), counts);
      SplitChunk split;
      split.header = HeaderOf(layer_index, chunk, counts);
      std::vector<int32_t> all;
      for (int32_t head = 0; head < options_.geometry.kv_heads; ++head) {
        all.insert(all.end(), counts, counts + kFrameTiers);
        // A token is low once its value is frozen; its key is by then, or with the next window.
        layer.counts.high += counts[kTail];
        layer.counts.low += counts[kLow];
      }
      split.frame = LayOutFrame(split.header, all, end);
      split.first_run = runs.size();
      AppendEncodeRuns(split.header, split.frame, nullptr, first, runs);
      split.end_run = runs.size();
      layer.chunks.push_back(EncodedChunk{first, split.header.span, end, split.frame.bytes, 0, 0});
      end += split.frame.bytes;
      chunks.push_back(std::move(split));
    }
    layer.batch.resize(static_cast<size_t>(end));
    return chunks;
  }

  // Encodes into device memory and brings bytes and errors back.
  absl::Status Run(Stream& stream, const LayerTap& tap, const std::vector<EncodeRun>& runs, EncodedLayer& layer) {
    const auto bytes = static_cast<int64_t>(layer.batch.size());
    if (bytes > out_.bytes()) {
      DECANT_ASSIGN_OR_RETURN(out_, device_.Allocate(bytes));
    }
    run_errors_.resize(2 * runs.size());
    stream.Copy(device_runs_.As<void>(), runs.data(), static_cast<int64_t>(runs.size() * sizeof(EncodeRun)));
    EncodeFramesArgs args;
    args.run_type = options_.run_type;
    args.k = tap.k;
    args.v = tap.v;
    args.capacity = tap.capacity;
    args.head_dim = options_.geometry.head_dim;
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

  void Seal(const std::vector<SplitChunk>& chunks, EncodedLayer& layer) const {
    const size_t run_count = run_errors_.size() / 2;
    for (const SplitChunk& chunk : chunks) {
      FrameHeader header = chunk.header;
      for (size_t run = chunk.first_run; run < chunk.end_run; ++run) {
        header.key_error.Add(run_errors_[run]);
        header.value_error.Add(run_errors_[run_count + run]);
      }
      layer.key_error.Add(header.key_error);
      layer.value_error.Add(header.value_error);
      SealFrame(header, chunk.frame, layer.batch.data());
    }
  }

  Device& device_;
  const LayerEncoderOptions options_;
  int32_t chunks_ = 0;
  Buffer device_runs_;
  Buffer errors_;  // of keys, then of values, per run
  Buffer out_;     // grows to the largest layer
  std::vector<StoredError> run_errors_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LayerEncoder>> CreateSplitLayerEncoder(Device& device,
                                                                      const LayerEncoderOptions& options) {
  const Recipe& recipe = options.recipe;
  if (options.chunk_tokens % kTokenGroup != 0 || recipe.window < 1 || recipe.window % kTokenGroup != 0) {
    return absl::InvalidArgumentError(absl::StrCat("chunks of ", options.chunk_tokens, " tokens and a window of ",
                                                   recipe.window, "; keys are frozen in groups of ", kTokenGroup,
                                                   ", so both must be a multiple of it"));
  }
  if (recipe.key_form != KeyForm{}) {
    return absl::InvalidArgumentError(
        absl::StrCat("profile ", recipe.profile, ": keys of split rows are stored as attention reads them"));
  }
  auto encoder = std::make_unique<SplitLayerEncoder>(device, options);
  DECANT_RETURN_IF_ERROR(encoder->Allocate());
  return encoder;
}

}  // namespace decant
