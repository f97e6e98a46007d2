#include "gpu/engine/low_rank_encoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/half.h"
#include "common/base/status_macros.h"
#include "common/compress/transform/cross_layer_svd.h"
#include "common/compress/transform/low_rank_frame.h"

namespace decant {
namespace {

struct Fitted {
  SharedBasis stored;  // as it will be read
  StoredError error;
};

// Fits rows [first, first + tokens) of x and measures what its stored form loses.
absl::StatusOr<Fitted> FitRows(const std::vector<float>& x, int32_t first, int32_t tokens, int32_t width,
                               int32_t rank) {
  const absl::Span<const float> rows =
      absl::MakeConstSpan(x).subspan(static_cast<size_t>(first) * static_cast<size_t>(width),
                                     static_cast<size_t>(tokens) * static_cast<size_t>(width));
  DECANT_ASSIGN_OR_RETURN(const SharedBasis basis, FitSharedBasis(rows, tokens, width, rank));
  std::vector<uint8_t> bytes(static_cast<size_t>(SharedBasisBytes(tokens, width, basis.rank)));
  StoreSharedBasis(basis, absl::MakeSpan(bytes));
  Fitted fitted;
  DECANT_ASSIGN_OR_RETURN(fitted.stored, LoadSharedBasis(bytes, tokens, width, basis.rank));
  std::vector<float> back(rows.size());
  ExpandSharedBasis(fitted.stored, 0, width, absl::MakeSpan(back));
  for (size_t i = 0; i < back.size(); ++i) {
    const double difference = static_cast<double>(back[i]) - static_cast<double>(rows[i]);
    fitted.error.squared_difference += difference * difference;
    fitted.error.squared_norm += static_cast<double>(rows[i]) * static_cast<double>(rows[i]);
  }
  return fitted;
}

// A share of the group's width, which may be smaller than that of the recipe's groups.
int32_t RankOf(const LayerEncoderOptions& options, int32_t rank, int32_t layers, int32_t tokens) {
  const int64_t scaled = int64_t{rank} * layers / options.recipe.low_rank.group_layers;
  const int32_t width = layers * options.geometry.kv_heads * options.geometry.head_dim;
  return static_cast<int32_t>(std::clamp<int64_t>(scaled, 1, std::min(tokens, width)));
}

// Whole chunks, as many tokens of a full group as a frame may hold; below one chunk: its bases are too large.
int64_t SpanTokens(const LayerEncoderOptions& options, int64_t most_frame_bytes) {
  const LowRank& low_rank = options.recipe.low_rank;
  const int32_t layers = std::min(low_rank.group_layers, options.geometry.layers);
  const int64_t width = int64_t{layers} * options.geometry.kv_heads * options.geometry.head_dim;
  const int64_t ranks = RankOf(options, low_rank.key_rank, layers, options.prompt_tokens) +
                        RankOf(options, low_rank.value_rank, layers, options.prompt_tokens);
  // Header and padding of the frame take less than 256 bytes.
  const int64_t tokens = (most_frame_bytes - 256) / (2 * ranks) - width;
  return tokens >= options.prompt_tokens ? tokens : tokens / options.chunk_tokens * options.chunk_tokens;
}

class LowRankEncoder final : public LayerEncoder {
 public:
  LowRankEncoder(LayerEncoderOptions options, int64_t most_frame_bytes)
      : options_(std::move(options)),
        most_frame_bytes_(most_frame_bytes),
        columns_(options_.geometry.kv_heads * options_.geometry.head_dim),
        rotation_{options_.inverse_frequencies, options_.rope_magnitude} {}

  absl::Status SelectAll(Stream& /*stream*/, absl::Span<const LayerTap> /*layers*/) override {
    return absl::FailedPreconditionError(
        absl::StrCat("profile ", options_.recipe.profile, " keeps every token: layers are encoded as they come"));
  }

  absl::StatusOr<EncodedLayer> Encode(Stream& stream, const LayerTap& tap, int32_t first_chunk) override {
    if (tap.tokens != options_.prompt_tokens || first_chunk != 0 || tap.layer != next_layer_ ||
        tap.layer >= options_.geometry.layers) {
      return absl::InvalidArgumentError(absl::StrCat("layer ", tap.layer, " of ", tap.tokens, " tokens from chunk ",
                                                     first_chunk, ": layer ", next_layer_, " of ",
                                                     options_.prompt_tokens, " tokens comes next, from chunk 0"));
    }
    ++next_layer_;
    const LayerRange group = SharedLayers(tap.layer, options_.geometry.layers, options_.recipe.low_rank.group_layers);
    if (tap.layer == group.first) {
      const size_t size = static_cast<size_t>(tap.tokens) * static_cast<size_t>(group.count * columns_);
      keys_.resize(size);
      values_.resize(size);
    }
    DECANT_RETURN_IF_ERROR(Gather(stream, tap, group, tap.k, keys_, true));
    DECANT_RETURN_IF_ERROR(Gather(stream, tap, group, tap.v, values_, false));
    EncodedLayer layer;
    layer.layer = tap.layer;
    if (tap.layer + 1 < group.first + group.count) return layer;
    DECANT_RETURN_IF_ERROR(EndGroup(group, layer));
    return layer;
  }

 private:
  // Brings one layer's K or V, [heads, capacity, head_dim] of the run type, to its columns of x.
  absl::Status Gather(Stream& stream, const LayerTap& tap, const LayerRange& group, const void* from,
                      std::vector<float>& x, bool unrotate) {
    const auto dim = static_cast<size_t>(options_.geometry.head_dim);
    const bool wide = options_.run_type == RunType::kF32;
    const int64_t vector_bytes = static_cast<int64_t>(dim) * (wide ? 4 : 2);
    staging_.resize(static_cast<size_t>(tap.tokens * vector_bytes));
    const auto width = static_cast<size_t>(group.count * columns_);
    for (int32_t head = 0; head < options_.geometry.kv_heads; ++head) {
      stream.Copy(staging_.data(), static_cast<const uint8_t*>(from) + head * tap.capacity * vector_bytes,
                  tap.tokens * vector_bytes);
      DECANT_RETURN_IF_ERROR(stream.Synchronize());
      const size_t column = static_cast<size_t>((tap.layer - group.first) * columns_) + static_cast<size_t>(head) * dim;
      for (int32_t token = 0; token < tap.tokens; ++token) {
        const absl::Span<float> to(x.data() + static_cast<size_t>(token) * width + column, dim);
        const uint8_t* vector = staging_.data() + token * vector_bytes;
        for (size_t i = 0; i < dim; ++i) to[i] = wide ? Load<float>(vector, i) : ToFloat(Load<Bf16>(vector, i));
        if (unrotate) UnrotateKey(rotation_, token, to);
      }
    }
    return absl::OkStatus();
  }

  template <typename T>
  static T Load(const uint8_t* vector, size_t i) {
    T value;
    std::memcpy(&value, vector + i * sizeof(T), sizeof(T));
    return value;
  }

  absl::Status EndGroup(const LayerRange& group, EncodedLayer& layer) {
    const int32_t width = group.count * columns_;
    const auto span =
        static_cast<int32_t>(std::min<int64_t>(options_.prompt_tokens, SpanTokens(options_, most_frame_bytes_)));
    for (int32_t first = 0; first < options_.prompt_tokens; first += span) {
      const int32_t tokens = std::min(span, options_.prompt_tokens - first);
      const LowRank& ranks = options_.recipe.low_rank;
      DECANT_ASSIGN_OR_RETURN(const Fitted keys, FitRows(keys_, first, tokens, width,
                                                         RankOf(options_, ranks.key_rank, group.count, tokens)));
      DECANT_ASSIGN_OR_RETURN(const Fitted values, FitRows(values_, first, tokens, width,
                                                           RankOf(options_, ranks.value_rank, group.count, tokens)));
      LowRankHeader header = HeaderOf(group, first, tokens);
      header.key_error = keys.error;
      header.value_error = values.error;
      const std::string frame = SealLowRankFrame(header, keys.stored, values.stored);
      EncodedChunk chunk;
      chunk.first_token = first;
      chunk.tokens = tokens;
      chunk.frame_offset = static_cast<int64_t>(layer.batch.size());
      chunk.frame_bytes = static_cast<int64_t>(frame.size());
      chunk.overlay_offset = chunk.frame_offset + chunk.frame_bytes;
      layer.batch.insert(layer.batch.end(), frame.begin(), frame.end());
      layer.chunks.push_back(chunk);
      layer.counts.high += int64_t{tokens} * group.count * options_.geometry.kv_heads;
      layer.key_error.Add(keys.error);
      layer.value_error.Add(values.error);
    }
    return absl::OkStatus();
  }

  LowRankHeader HeaderOf(const LayerRange& group, int32_t first, int32_t tokens) const {
    LowRankHeader header;
    header.provenance = std::max(Provenance::kQuantised, options_.prefix_provenance);
    header.k_norm_applied = options_.k_norm;
    header.first_layer = group.first;
    header.layers = group.count;
    header.heads = options_.geometry.kv_heads;
    header.head_dim = options_.geometry.head_dim;
    header.first_position = first;
    header.tokens = tokens;
    header.model_fingerprint = options_.model.Prefix64();
    header.profile = options_.recipe.digest;
    const auto chunk = static_cast<size_t>((first + tokens - 1) / options_.chunk_tokens);
    if (chunk < options_.contexts.size()) header.context = options_.contexts[chunk];
    return header;
  }

  const LayerEncoderOptions options_;
  const int64_t most_frame_bytes_;
  const int32_t columns_;  // of one layer
  const KeyRotation rotation_;
  int32_t next_layer_ = 0;
  std::vector<float> keys_;  // [tokens, columns of the group]
  std::vector<float> values_;
  std::vector<uint8_t> staging_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LayerEncoder>> CreateLowRankEncoder(Device&, const LayerEncoderOptions& options,
                                                                   int64_t most_frame_bytes) {
  const FormatId full = options.run_type == RunType::kF32 ? FormatId::kFullF32 : FormatId::kFullBf16;
  const LowRank& low_rank = options.recipe.low_rank;
  if (options.recipe.high != full || low_rank.group_layers < 1 || low_rank.key_rank < 0 || low_rank.value_rank < 0 ||
      options.inverse_frequencies.size() * 2 != static_cast<size_t>(options.geometry.head_dim) ||
      !(options.rope_magnitude > 0)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "profile ", options.recipe.profile, ": groups of ", low_rank.group_layers, " layers, ranks ", low_rank.key_rank,
        " and ", low_rank.value_rank, ", high format ", static_cast<int>(options.recipe.high), ", ",
        options.inverse_frequencies.size(), " rotated pairs for heads of ", options.geometry.head_dim,
        " elements: a shared basis needs full precision and the model's rotation"));
  }
  if (SpanTokens(options, most_frame_bytes) < std::min(options.chunk_tokens, options.prompt_tokens)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "profile ", options.recipe.profile, ": the bases of ", low_rank.group_layers, " layers with ranks ",
        low_rank.key_rank, " and ", low_rank.value_rank, " leave no room for tokens in a frame of ", most_frame_bytes,
        " bytes; use fewer layers per group or lower ranks"));
  }
  return std::make_unique<LowRankEncoder>(options, most_frame_bytes);
}

}  // namespace decant
