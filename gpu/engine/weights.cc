#include "gpu/engine/weights.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "common/base/status_macros.h"
#include "common/model/tensor_names.h"
#include "gpu/engine/model_tensors.h"
#include "gpu/kernels/nn/product_host.h"

namespace decant {
namespace {

int64_t StoredBytes(StoredType type) { return type == StoredType::kF32 ? 4 : 2; }

// Without a branch, so that it costs little beside the copy that brings the values here.
bool AllFinite(const float* values, int64_t count) {
  constexpr uint32_t kExponent = 0x7f800000;
  uint32_t bad = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, values + i, sizeof(bits));
    bad |= (bits & kExponent) == kExponent ? 1u : 0u;
  }
  return bad == 0;
}

// What NaN does to a model shows only far from where it is: as garbage, or as an error of whoever met it first.
absl::Status NotFinite(const TensorView& view, absl::string_view name) {
  std::vector<float> row(static_cast<size_t>(view.shape.empty() ? 1 : view.shape.back()));
  const auto width = static_cast<int64_t>(row.size());
  int64_t element = 0;
  float value = 0;
  for (int64_t first = 0; first < view.elements && std::isfinite(value); first += width) {
    TensorView part;
    part.type = view.type;
    part.elements = width;
    part.bytes = static_cast<const char*>(view.bytes) + first * StoredBytes(view.type);
    CopyAsFloat(part, row.data());
    const auto bad = std::find_if(row.begin(), row.end(), [](float x) { return !std::isfinite(x); });
    if (bad == row.end()) continue;
    value = *bad;
    element = first + (bad - row.begin());
  }
  return absl::InvalidArgumentError(absl::StrCat(view.path, ": tensor ", name, " holds ", value, " at element ",
                                                 element, " of [", absl::StrJoin(view.shape, ", "),
                                                 "]; a model needs finite weights, fetch or export the file again"));
}

// Matrices of one width on top of each other, read as one.
class StackedRows {
 public:
  explicit StackedRows(int32_t width) : width_(width) {}

  absl::Status Add(const Safetensors& tensors, const std::string& name, int32_t rows) {
    DECANT_ASSIGN_OR_RETURN(TensorView view, tensors.Find(name, {rows, width_}));
    parts_.emplace_back(std::move(view), total_, rows, name);
    total_ += rows;
    return absl::OkStatus();
  }
  int32_t rows() const { return total_; }

  void Read(int32_t first, int32_t count, float* out) const {
    for (const Part& part : parts_) {
      const int32_t begin = std::max(first, part.first);
      const int32_t end = std::min(first + count, part.first + part.rows);
      if (begin >= end) continue;
      TensorView slice;
      slice.type = part.view.type;
      slice.elements = int64_t{end - begin} * width_;
      slice.bytes =
          static_cast<const char*>(part.view.bytes) + int64_t{begin - part.first} * width_ * StoredBytes(slice.type);
      float* const to = out + int64_t{begin - first} * width_;
      CopyAsFloat(slice, to);
      if (!AllFinite(to, slice.elements)) part.finite = false;
    }
  }

  // Of all that was read.
  absl::Status CheckFinite() const {
    for (const Part& part : parts_) {
      if (!part.finite) return NotFinite(part.view, part.name);
    }
    return absl::OkStatus();
  }

 private:
  struct Part {
    Part(TensorView part_view, int32_t first_row, int32_t row_count, std::string part_name)
        : view(std::move(part_view)), first(first_row), rows(row_count), name(std::move(part_name)) {}
    TensorView view;
    int32_t first = 0;
    int32_t rows = 0;
    std::string name;
    mutable std::atomic<bool> finite = true;  // several threads read
  };
  int32_t width_;
  int32_t total_ = 0;
  std::deque<Part> parts_;
};

// Gathers all vectors on the host and gives each its place in one buffer of the device.
class VectorStore {
 public:
  absl::Status Add(const Safetensors& tensors, const std::string& name, int32_t elements, const float** place) {
    DECANT_ASSIGN_OR_RETURN(const TensorView view, tensors.Find(name, {elements}));
    places_.push_back({place, values_.size()});
    values_.resize(values_.size() + static_cast<size_t>(elements));
    float* const to = values_.data() + values_.size() - elements;
    CopyAsFloat(view, to);
    return AllFinite(to, elements) ? absl::OkStatus() : NotFinite(view, name);
  }
  void Add(const std::vector<float>& vector, const float** place) {
    places_.push_back({place, values_.size()});
    values_.insert(values_.end(), vector.begin(), vector.end());
  }
  // Makes the last added vectors one with the vector before the first of them.
  void MergeLast(int count) { places_.resize(places_.size() - static_cast<size_t>(count)); }

  absl::StatusOr<Buffer> Upload(Stream& stream) const {
    const int64_t bytes = static_cast<int64_t>(values_.size() * sizeof(float));
    DECANT_ASSIGN_OR_RETURN(Buffer buffer, stream.device().Allocate(bytes));
    stream.Copy(buffer.As<float>(), values_.data(), bytes);
    DECANT_RETURN_IF_ERROR(stream.Synchronize());
    for (const auto& [place, offset] : places_) *place = buffer.As<float>() + offset;
    return buffer;
  }

 private:
  std::vector<std::pair<const float**, size_t>> places_;
  std::vector<float> values_;
};

class PackedWeights final : public Weights {
 public:
  PackedWeights(Device& device, ModelConfig config, RunType run_type)
      : device_(device), config_(std::move(config)), run_type_(run_type) {}

  const ModelConfig& config() const override { return config_; }
  RunType run_type() const override { return run_type_; }
  Device& device() const override { return device_; }
  int64_t bytes() const override { return bytes_; }
  const ModelTensors& tensors() const override { return tensors_; }

  absl::Status Load(const Safetensors& stored) {
    stream_ = device_.NewStream();
    DECANT_RETURN_IF_ERROR(
        Pack(stored, {{"model.embed_tokens.weight", config_.vocabulary}}, config_.hidden, tensors_.embedding));
    if (!config_.tied_embeddings) {
      DECANT_RETURN_IF_ERROR(Pack(stored, {{"lm_head.weight", config_.vocabulary}}, config_.hidden, tensors_.head));
    }
    tensors_.layers.resize(static_cast<size_t>(config_.layers));
    for (int32_t layer = 0; layer < config_.layers; ++layer) {
      DECANT_RETURN_IF_ERROR(PackLayer(stored, layer));
      DECANT_RETURN_IF_ERROR(AddVectors(stored, layer));
    }
    DECANT_RETURN_IF_ERROR(vectors_.Add(stored, "model.norm.weight", config_.hidden, &tensors_.final_norm));
    vectors_.Add(config_.inverse_frequencies, &tensors_.inverse_frequencies);
    DECANT_ASSIGN_OR_RETURN(tensors_.vectors, vectors_.Upload(*stream_));
    bytes_ += tensors_.vectors.bytes();
    vectors_ = VectorStore();
    stream_ = nullptr;
    stored.ReleaseMemory();  // of the vectors
    return absl::OkStatus();
  }

 private:
  using Parts = std::vector<std::pair<std::string, int32_t>>;  // name, rows

  absl::Status Pack(const Safetensors& stored, const Parts& parts, int32_t width, PackedMatrix& matrix) {
    StackedRows rows(width);
    for (const auto& [name, count] : parts) DECANT_RETURN_IF_ERROR(rows.Add(stored, name, count));
    DECANT_ASSIGN_OR_RETURN(
        matrix, PackMatrix(*stream_, run_type_, rows.rows(), width,
                           [&](int32_t first, int32_t count, float* out) { rows.Read(first, count, out); }));
    DECANT_RETURN_IF_ERROR(rows.CheckFinite());
    // What is packed is not held twice, so that loading never takes much more memory than serving.
    stored.ReleaseMemory();
    bytes_ += matrix.memory.bytes();
    return absl::OkStatus();
  }

  absl::Status PackLayer(const Safetensors& stored, int32_t layer) {
    const auto name = [layer](const char* part) { return LayerTensorName(layer, part); };
    const int32_t q = config_.q_heads * config_.head_dim;
    const int32_t kv = config_.kv_heads * config_.head_dim;
    LayerTensors& to = tensors_.layers[static_cast<size_t>(layer)];
    DECANT_RETURN_IF_ERROR(Pack(stored,
                                {{name("self_attn.q_proj.weight"), q},
                                 {name("self_attn.k_proj.weight"), kv},
                                 {name("self_attn.v_proj.weight"), kv}},
                                config_.hidden, to.qkv));
    DECANT_RETURN_IF_ERROR(Pack(stored, {{name("self_attn.o_proj.weight"), config_.hidden}}, q, to.output));
    DECANT_RETURN_IF_ERROR(
        Pack(stored,
             {{name("mlp.gate_proj.weight"), config_.intermediate}, {name("mlp.up_proj.weight"), config_.intermediate}},
             config_.hidden, to.gate_up));
    return Pack(stored, {{name("mlp.down_proj.weight"), config_.hidden}}, config_.intermediate, to.down);
  }

  absl::Status AddVectors(const Safetensors& stored, int32_t layer) {
    const auto name = [layer](const char* part) { return LayerTensorName(layer, part); };
    const int32_t q = config_.q_heads * config_.head_dim;
    const int32_t kv = config_.kv_heads * config_.head_dim;
    LayerTensors& to = tensors_.layers[static_cast<size_t>(layer)];
    const auto add = [&](const char* part, int32_t elements, const float** place) {
      return vectors_.Add(stored, name(part), elements, place);
    };
    DECANT_RETURN_IF_ERROR(add("input_layernorm.weight", config_.hidden, &to.input_norm));
    DECANT_RETURN_IF_ERROR(add("post_attention_layernorm.weight", config_.hidden, &to.post_norm));
    if (config_.qkv_bias) {
      const float* behind = nullptr;
      DECANT_RETURN_IF_ERROR(add("self_attn.q_proj.bias", q, &to.qkv_bias));
      DECANT_RETURN_IF_ERROR(add("self_attn.k_proj.bias", kv, &behind));
      DECANT_RETURN_IF_ERROR(add("self_attn.v_proj.bias", kv, &behind));
      vectors_.MergeLast(2);
    }
    if (config_.output_bias) {
      DECANT_RETURN_IF_ERROR(add("self_attn.o_proj.bias", config_.hidden, &to.output_bias));
    }
    if (config_.qk_norm) {
      DECANT_RETURN_IF_ERROR(add("self_attn.q_norm.weight", config_.head_dim, &to.q_norm));
      DECANT_RETURN_IF_ERROR(add("self_attn.k_norm.weight", config_.head_dim, &to.k_norm));
    }
    return absl::OkStatus();
  }

  Device& device_;
  const ModelConfig config_;
  const RunType run_type_;
  int64_t bytes_ = 0;
  ModelTensors tensors_;
  std::unique_ptr<Stream> stream_;  // while loading
  VectorStore vectors_;             // while loading
};

}  // namespace

absl::StatusOr<std::unique_ptr<Weights>> Weights::Load(Device& device, const ModelFolder& folder, RunType run_type) {
  auto weights = std::make_unique<PackedWeights>(device, folder.config, run_type);
  DECANT_RETURN_IF_ERROR(weights->Load(*folder.tensors));
  return weights;
}

RunType PreferredRunType(const Device& device) {
  if (device.kind() == DeviceKind::kCuda) return RunType::kBf16;
  return HasFastProduct(RunType::kBf16) ? RunType::kBf16 : RunType::kF32;
}

}  // namespace decant
