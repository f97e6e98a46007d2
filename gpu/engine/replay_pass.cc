#include "gpu/engine/replay_pass.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "gpu/kernels/attention/prefill_attention.h"
#include "gpu/kernels/nn/convert_rows.h"
#include "gpu/kernels/nn/packed_layout.h"

namespace decant {

absl::StatusOr<std::unique_ptr<ReplayPass>> ReplayPass::Create(const Weights& weights, Stream& stream,
                                                               int32_t prompt_tokens,
                                                               absl::Span<const ReplayChunk> chunks, int32_t sinks,
                                                               int32_t tile) {
  std::unique_ptr<ReplayPass> pass(new ReplayPass(weights, stream, prompt_tokens, sinks, tile));
  DECANT_RETURN_IF_ERROR(pass->Check(chunks));
  DECANT_RETURN_IF_ERROR(pass->Allocate(chunks));
  return pass;
}

absl::Status ReplayPass::Check(absl::Span<const ReplayChunk> chunks) const {
  if (chunks.empty()) return absl::InvalidArgumentError("no chunk to replay; give at least one");
  for (size_t i = 0; i < chunks.size(); ++i) {
    const ReplayChunk& chunk = chunks[i];
    if (sinks_ < 0 || chunk.begin < sinks_ || chunk.begin >= chunk.end || chunk.end > prompt_tokens_) {
      return absl::InvalidArgumentError(absl::StrCat("replay chunk ", i, " is positions ", chunk.begin, " to ",
                                                     chunk.end, ": it must hold some of the prompt's ", prompt_tokens_,
                                                     " behind its ", sinks_, " sinks"));
    }
    const auto count = static_cast<int64_t>(chunk.tokens.size());
    if (count == 0) return absl::InvalidArgumentError(absl::StrCat("the repeat prompt of chunk ", i, " is empty"));
    if (prompt_tokens_ + count > config_.max_positions) {
      return absl::InvalidArgumentError(absl::StrCat("the repeat prompt of chunk ", i, " ends at position ",
                                                     prompt_tokens_ + count, ", ", config_.name, " knows ",
                                                     config_.max_positions, "; repeat shorter chunks"));
    }
    for (const int32_t token : chunk.tokens) {
      if (token >= 0 && token < config_.vocabulary) continue;
      return absl::InvalidArgumentError(absl::StrCat("the repeat prompt of chunk ", i, " has token ", token, ", ",
                                                     config_.name, " knows ids below ", config_.vocabulary));
    }
  }
  return absl::OkStatus();
}

absl::Status ReplayPass::Allocate(absl::Span<const ReplayChunk> chunks) {
  Device& device = weights_.device();
  int64_t rows = 0;
  for (const ReplayChunk& chunk : chunks) {
    const auto count = static_cast<int32_t>(chunk.tokens.size());
    parts_.push_back({chunk.begin, chunk.end, rows, count});
    rows += count;
    longest_ = std::max(longest_, count);
  }
  tile_ = std::min(tile_, longest_);
  DECANT_ASSIGN_OR_RETURN(transformer_, Transformer::Create(weights_, tile_));
  DECANT_ASSIGN_OR_RETURN(residual_, device.Allocate(rows * config_.hidden * 4));
  DECANT_ASSIGN_OR_RETURN(angles_, device.Allocate(int64_t{longest_} * config_.head_dim * 4));
  const int64_t kv_bytes = int64_t{config_.kv_heads} * longest_ * config_.head_dim * RunTypeBytes(weights_.run_type());
  DECANT_ASSIGN_OR_RETURN(k_, device.Allocate(kv_bytes));
  DECANT_ASSIGN_OR_RETURN(v_, device.Allocate(kv_bytes));
  DECANT_ASSIGN_OR_RETURN(scratch_, device.Allocate(PrefillAttentionScratchBytes(
                                        device, weights_.run_type(), tile_, prompt_tokens_ + longest_, config_.q_heads,
                                        config_.kv_heads, config_.head_dim, 1)));
  return Embed(chunks);
}

absl::Status ReplayPass::Embed(absl::Span<const ReplayChunk> chunks) {
  std::vector<int32_t> positions(static_cast<size_t>(longest_));
  std::iota(positions.begin(), positions.end(), prompt_tokens_);
  DECANT_ASSIGN_OR_RETURN(const Buffer ids, weights_.device().Allocate(int64_t{longest_} * 4));
  stream_.Copy(ids.As<int32_t>(), positions.data(), int64_t{longest_} * 4);
  transformer_->Angles(stream_, ids.As<int32_t>(), longest_, angles_.As<float>());
  for (size_t i = 0; i < parts_.size(); ++i) {
    stream_.Copy(ids.As<int32_t>(), chunks[i].tokens.data(), int64_t{parts_[i].rows} * 4);
    transformer_->Embed(stream_, ids.As<int32_t>(), parts_[i].rows,
                        residual_.As<float>() + parts_[i].first_row * config_.hidden);
  }
  return stream_.Synchronize();
}

void ReplayPass::ComputeLayer(const LayerTap& tap, float* scores) {
  // The prompt's keys are packed by the first tile and serve all repeats.
  int32_t packed = 0;
  for (const Part& part : parts_) {
    for (int32_t first = 0; first < part.rows; first += tile_) {
      ComputeTile(tap, part, first, first == 0 ? packed : prompt_tokens_ + first, scores);
    }
    packed = prompt_tokens_;
  }
}

void ReplayPass::ComputeTile(const LayerTap& tap, const Part& part, int32_t first, int32_t packed_keys, float* scores) {
  const int32_t rows = std::min(tile_, part.rows - first);
  float* const residual = residual_.As<float>() + (part.first_row + first) * config_.hidden;
  transformer_->BeginLayer(stream_, tap.layer, residual, angles_.As<float>() + int64_t{first} * config_.head_dim, rows);
  StoreHeads(transformer_->k(), first, rows, k_);
  StoreHeads(transformer_->v(), first, rows, v_);
  PrefillAttentionArgs args;
  args.run_type = weights_.run_type();
  args.q = transformer_->q();
  args.q_stride = transformer_->qkv_stride();
  args.queries = rows;
  args.first_query = prompt_tokens_ + first;
  args.k = tap.k;
  args.v = tap.v;
  args.capacity = tap.capacity;
  args.tail_k = k_.As<void>();
  args.tail_v = v_.As<void>();
  args.tail_capacity = longest_;
  args.tail_from = prompt_tokens_;
  args.q_heads = config_.q_heads;
  args.kv_heads = config_.kv_heads;
  args.head_dim = config_.head_dim;
  args.scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim));
  // Nothing reads what the last layer would give.
  const bool last = tap.layer + 1 == config_.layers;
  args.out = last ? nullptr : transformer_->attention();
  args.out_stride = transformer_->attention_stride();
  args.replay = ReplayPeaks{scores, prompt_tokens_, sinks_, part.begin, part.end};
  args.scratch = scratch_.As<void>();
  args.scratch_keys = prompt_tokens_ + longest_;
  args.packed_keys = packed_keys;
  PrefillAttention(stream_, args);
  if (!last) transformer_->EndLayer(stream_, tap.layer, residual, rows);
}

void ReplayPass::StoreHeads(const float* rows, int32_t first, int32_t count, const Buffer& to) {
  ConvertRowsArgs args;
  args.in = rows;
  args.in_stride = transformer_->qkv_stride();
  args.rows = count;
  args.groups = config_.kv_heads;
  args.width = config_.head_dim;
  args.out_type = weights_.run_type();
  args.out = to.As<char>(int64_t{first} * config_.head_dim * RunTypeBytes(weights_.run_type()));
  args.out_row_stride = config_.head_dim;
  args.out_group_stride = int64_t{longest_} * config_.head_dim;
  ConvertRows(stream_, args);
}

}  // namespace decant
