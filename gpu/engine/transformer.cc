#include "gpu/engine/transformer.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "gpu/engine/model_tensors.h"
#include "gpu/kernels/nn/add_bias.h"
#include "gpu/kernels/nn/convert_rows.h"
#include "gpu/kernels/nn/embed.h"
#include "gpu/kernels/nn/packed_layout.h"
#include "gpu/kernels/nn/rms_norm.h"
#include "gpu/kernels/nn/rope.h"
#include "gpu/kernels/nn/swi_glu.h"

namespace decant {

Transformer::Transformer(const Weights& weights, int32_t max_rows)
    : weights_(weights),
      config_(weights.config()),
      max_rows_(max_rows),
      qkv_stride_(int64_t{config_.q_heads + 2 * config_.kv_heads} * config_.head_dim),
      attention_stride_(int64_t{config_.q_heads} * config_.head_dim) {}

absl::StatusOr<std::unique_ptr<Transformer>> Transformer::Create(const Weights& weights, int32_t max_rows) {
  auto transformer = std::unique_ptr<Transformer>(new Transformer(weights, max_rows));
  DECANT_RETURN_IF_ERROR(transformer->Allocate());
  return transformer;
}

absl::Status Transformer::Allocate() {
  Device& device = weights_.device();
  const int64_t rows = MatmulRows(max_rows_);
  const int64_t run_bytes = RunTypeBytes(weights_.run_type());
  const auto f32 = [&](int64_t width) { return device.Allocate(rows * width * 4); };
  const auto run = [&](int64_t width) { return device.Allocate(rows * width * run_bytes); };
  DECANT_ASSIGN_OR_RETURN(qkv_, f32(qkv_stride_));
  DECANT_ASSIGN_OR_RETURN(attention_, f32(attention_stride_));
  if (weights_.run_type() != RunType::kF32) {
    DECANT_ASSIGN_OR_RETURN(attention_rows_, run(attention_stride_));
  }
  DECANT_ASSIGN_OR_RETURN(norm_rows_, run(config_.hidden));
  DECANT_ASSIGN_OR_RETURN(gate_up_, f32(int64_t{2} * config_.intermediate));
  DECANT_ASSIGN_OR_RETURN(gated_rows_, run(config_.intermediate));
  DECANT_ASSIGN_OR_RETURN(workspace_, device.Allocate(MatmulWorkspaceBytes(device)));
  return absl::OkStatus();
}

void Transformer::Embed(Stream& stream, const int32_t* ids, int32_t rows, float* residual) const {
  decant::Embed(stream, EmbedArgs{&weights_.tensors().embedding, ids, rows, residual});
}

void Transformer::Angles(Stream& stream, const int32_t* positions, int32_t rows, float* angles) const {
  RopeAnglesArgs args;
  args.positions = positions;
  args.inverse_frequencies = weights_.tensors().inverse_frequencies;
  args.magnitude = config_.rope_magnitude;
  args.rows = rows;
  args.head_dim = config_.head_dim;
  args.angles = angles;
  RopeAngles(stream, args);
}

void Transformer::Norm(Stream& stream, const float* in, const float* weight, int32_t rows) {
  RmsNormArgs args;
  args.in = in;
  args.in_stride = config_.hidden;
  args.rows = rows;
  args.width = config_.hidden;
  args.weight = weight;
  args.epsilon = config_.norm_epsilon;
  args.out_type = weights_.run_type();
  args.out = norm_rows_.As<void>();
  args.out_stride = config_.hidden;
  RmsNorm(stream, args);
}

void Transformer::Multiply(Stream& stream, const PackedMatrix& matrix, const void* in, int32_t rows, float* out,
                           bool accumulate) {
  Matmul(stream, MatmulArgs{&matrix, in, rows, out, accumulate, workspace_.As<void>()});
}

void Transformer::NormHeads(Stream& stream, const float* norm_weight, int32_t rows, int32_t heads, float* x) {
  if (norm_weight == nullptr) return;
  RmsNormArgs norm;
  norm.in = x;
  norm.in_stride = qkv_stride_;
  norm.rows = rows;
  norm.groups = heads;
  norm.width = config_.head_dim;
  norm.weight = norm_weight;
  norm.epsilon = config_.norm_epsilon;
  norm.out = x;
  norm.out_stride = qkv_stride_;
  RmsNorm(stream, norm);
}

void Transformer::Project(Stream& stream, int32_t layer, const float* residual, int32_t rows) {
  DECANT_CHECK_MSG(rows <= max_rows_, "%d rows, room for %d", rows, max_rows_);
  const LayerTensors& tensors = weights_.tensors().layers[static_cast<size_t>(layer)];
  Norm(stream, residual, tensors.input_norm, rows);
  Multiply(stream, tensors.qkv, norm_rows_.As<void>(), rows, q());
  if (tensors.qkv_bias != nullptr) {
    AddBias(stream, AddBiasArgs{tensors.qkv_bias, rows, static_cast<int32_t>(qkv_stride_), q()});
  }
  NormHeads(stream, tensors.q_norm, rows, config_.q_heads, q());
  NormHeads(stream, tensors.k_norm, rows, config_.kv_heads, k());
}

void Transformer::Rotate(Stream& stream, const float* angles, int32_t rows) {
  RopeArgs rope;
  rope.angles = angles;
  rope.rows = rows;
  rope.heads = config_.q_heads + config_.kv_heads;  // k lies right behind q
  rope.head_dim = config_.head_dim;
  rope.x = q();
  rope.stride = qkv_stride_;
  Rope(stream, rope);
}

void Transformer::EndLayer(Stream& stream, int32_t layer, float* residual, int32_t rows) {
  DECANT_CHECK_MSG(rows <= max_rows_, "%d rows, room for %d", rows, max_rows_);
  const LayerTensors& tensors = weights_.tensors().layers[static_cast<size_t>(layer)];
  const void* attention_rows = attention();
  if (attention_rows_.bytes() > 0) {
    ConvertRowsArgs convert;
    convert.in = attention();
    convert.in_stride = attention_stride_;
    convert.rows = rows;
    convert.width = static_cast<int32_t>(attention_stride_);
    convert.out_type = weights_.run_type();
    convert.out = attention_rows_.As<void>();
    convert.out_row_stride = attention_stride_;
    ConvertRows(stream, convert);
    attention_rows = attention_rows_.As<void>();
  }
  Multiply(stream, tensors.output, attention_rows, rows, residual, true);
  if (tensors.output_bias != nullptr) {
    AddBias(stream, AddBiasArgs{tensors.output_bias, rows, config_.hidden, residual});
  }
  Norm(stream, residual, tensors.post_norm, rows);
  Multiply(stream, tensors.gate_up, norm_rows_.As<void>(), rows, gate_up_.As<float>());
  SwiGlu(stream,
         SwiGluArgs{gate_up_.As<float>(), rows, config_.intermediate, weights_.run_type(), gated_rows_.As<void>()});
  Multiply(stream, tensors.down, gated_rows_.As<void>(), rows, residual, true);
}

void Transformer::Logits(Stream& stream, const float* residual, int32_t rows, float* logits) {
  DECANT_CHECK_MSG(rows <= max_rows_, "%d rows, room for %d", rows, max_rows_);
  const ModelTensors& tensors = weights_.tensors();
  Norm(stream, residual, tensors.final_norm, rows);
  Multiply(stream, tensors.logits_matrix(), norm_rows_.As<void>(), rows, logits);
}

}  // namespace decant
