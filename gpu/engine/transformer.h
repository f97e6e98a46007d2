// The dense transformer around attention, as operations on rows of tokens: what prefill and decode share.
//
// A step is: Embed, Angles, then for every layer BeginLayer (q, k and v of the rows), the caller's attention from q()
// into attention(), EndLayer; then Logits. The residual stream is the caller's and f32; what enters a matrix product is
// converted to the run type.
#ifndef DECANT_GPU_ENGINE_TRANSFORMER_H_
#define DECANT_GPU_ENGINE_TRANSFORMER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "gpu/device/device.h"
#include "gpu/engine/weights.h"
#include "gpu/kernels/nn/matmul.h"

namespace decant {

// Owns the working memory of up to `max_rows` rows, taken at Create: the methods only enqueue. All addresses are device
// memory. Used by one stream at a time.
class Transformer {
 public:
  // RESOURCE_EXHAUSTED when the device has no room. `weights` must outlive it.
  static absl::StatusOr<std::unique_ptr<Transformer>> Create(const Weights& weights, int32_t max_rows);

  int32_t max_rows() const { return max_rows_; }

  // residual [rows, hidden] f32 out; ids [rows], each below the vocabulary.
  void Embed(Stream& stream, const int32_t* ids, int32_t rows, float* residual) const;
  // angles [rows, head_dim] out: the cosines, then the sines, of every rope pair at positions[row].
  void Angles(Stream& stream, const int32_t* positions, int32_t rows, float* angles) const;

  // Norm, q/k/v products, biases, q/k norm and rope: fills q(), k(), v() of `rows` rows.
  void BeginLayer(Stream& stream, int32_t layer, const float* residual, const float* angles, int32_t rows) {
    Project(stream, layer, residual, rows);
    Rotate(stream, angles, rows);
  }
  // The two halves of BeginLayer, for who needs q() and k() before rope as well.
  void Project(Stream& stream, int32_t layer, const float* residual, int32_t rows);
  void Rotate(Stream& stream, const float* angles, int32_t rows);
  float* q() const { return qkv_.As<float>(); }         // [rows, q_heads, head_dim], rows qkv_stride() floats apart
  float* k() const { return q() + attention_stride_; }  // [rows, kv_heads, head_dim], after rope
  float* v() const { return k() + int64_t{config_.kv_heads} * config_.head_dim; }
  int64_t qkv_stride() const { return qkv_stride_; }
  // Where the caller's attention goes: [rows, q_heads, head_dim], rows attention_stride() floats apart.
  float* attention() const { return attention_.As<float>(); }
  int64_t attention_stride() const { return attention_stride_; }
  // Output product, norm, gated product and down product, added to `residual`.
  void EndLayer(Stream& stream, int32_t layer, float* residual, int32_t rows);

  // Final norm and vocabulary product of `rows` rows: logits [rows, vocabulary] f32 out.
  void Logits(Stream& stream, const float* residual, int32_t rows, float* logits);

 private:
  Transformer(const Weights& weights, int32_t max_rows);
  absl::Status Allocate();
  // norm_rows_ = normed rows of `in`, in the run type.
  void Norm(Stream& stream, const float* in, const float* weight, int32_t rows);
  void Multiply(Stream& stream, const PackedMatrix& matrix, const void* in, int32_t rows, float* out,
                bool accumulate = false);
  // Head norm in place, where there is one.
  void NormHeads(Stream& stream, const float* norm_weight, int32_t rows, int32_t heads, float* x);

  const Weights& weights_;
  const ModelConfig& config_;
  const int32_t max_rows_;
  const int64_t qkv_stride_;
  const int64_t attention_stride_;
  Buffer qkv_;             // [rows, qkv_stride] f32
  Buffer attention_;       // [rows, attention_stride] f32
  Buffer attention_rows_;  // the same in the run type, unless that is f32
  Buffer norm_rows_;       // [rows, hidden] of the run type
  Buffer gate_up_;         // [rows, 2, intermediate] f32
  Buffer gated_rows_;      // [rows, intermediate] of the run type
  Buffer workspace_;       // of matrix products, where they want one
};

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_TRANSFORMER_H_
