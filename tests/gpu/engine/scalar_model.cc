#include "tests/gpu/engine/scalar_model.h"

#include <cmath>
#include <numeric>

#include "common/model/tensor_names.h"

namespace decant {
namespace {

void Add(const Doubles& more, Doubles& to) {
  for (size_t i = 0; i < to.size(); ++i) to[i] += more[i];
}

// exp(x - max) / total
void Softmax(Doubles& x) {
  double top = x[0];
  for (const double value : x) top = std::max(top, value);
  double total = 0;
  for (double& value : x) total += value = std::exp(value - top);
  for (double& value : x) value /= total;
}

}  // namespace

Doubles ScalarModel::Tensor(const std::string& name, std::vector<int64_t> shape) const {
  const TensorView view = folder_.tensors->Find(name, shape).value();
  std::vector<float> values(static_cast<size_t>(view.elements));
  CopyAsFloat(view, values.data());
  return Doubles(values.begin(), values.end());
}

Doubles ScalarModel::Product(const Doubles& in, const std::string& name, int64_t inputs, int64_t outputs) const {
  const Doubles matrix = Tensor(name + ".weight", {outputs, inputs});
  const auto depth = static_cast<size_t>(inputs);
  const auto width = static_cast<size_t>(outputs);
  Doubles bias(width);
  if (folder_.tensors->Contains(name + ".bias")) bias = Tensor(name + ".bias", {outputs});
  Doubles out(in.size() / depth * width);
  for (size_t row = 0; row < in.size() / depth; ++row) {
    for (size_t o = 0; o < width; ++o) {
      const double* const a = in.data() + row * depth;
      out[row * width + o] = std::inner_product(a, a + depth, matrix.data() + o * depth, bias[o]);
    }
  }
  return out;
}

void ScalarModel::Norm(Doubles& rows, const std::string& name, int64_t width) const {
  const Doubles weight = Tensor(name, {width});
  for (size_t first = 0; first < rows.size(); first += weight.size()) {
    double* const x = rows.data() + first;
    const double mean = std::inner_product(x, x + width, x, 0.0) / static_cast<double>(width);
    const double scale = 1 / std::sqrt(mean + static_cast<double>(config_.norm_epsilon));
    for (size_t i = 0; i < weight.size(); ++i) x[i] *= scale * weight[i];
  }
}

void ScalarModel::Rotate(Doubles& rows, const std::vector<int32_t>& positions, int32_t heads) const {
  const auto half = static_cast<size_t>(config_.head_dim / 2);
  const auto width = static_cast<size_t>(heads) * 2 * half;
  for (size_t row = 0; row < positions.size(); ++row) {
    for (size_t head = 0; head < static_cast<size_t>(heads); ++head) {
      double* const x = rows.data() + row * width + head * 2 * half;
      for (size_t i = 0; i < half; ++i) {
        const double angle = positions[row] * static_cast<double>(config_.inverse_frequencies[i]);
        const double c = std::cos(angle) * static_cast<double>(config_.rope_magnitude);
        const double s = std::sin(angle) * static_cast<double>(config_.rope_magnitude);
        const double a = x[i];
        const double b = x[i + half];
        x[i] = a * c - b * s;
        x[i + half] = b * c + a * s;
      }
    }
  }
}

ScalarLayer ScalarModel::Project(int32_t layer, const Doubles& residual, const std::vector<int32_t>& positions) const {
  const int64_t q_width = int64_t{config_.q_heads} * config_.head_dim;
  const int64_t kv_width = int64_t{config_.kv_heads} * config_.head_dim;
  const auto name = [layer](const char* part) { return LayerTensorName(layer, part); };
  Doubles in = residual;
  Norm(in, name("input_layernorm.weight"), config_.hidden);
  ScalarLayer out;
  out.positions = positions;
  out.q = Product(in, name("self_attn.q_proj"), config_.hidden, q_width);
  out.k = Product(in, name("self_attn.k_proj"), config_.hidden, kv_width);
  out.v = Product(in, name("self_attn.v_proj"), config_.hidden, kv_width);
  if (config_.qk_norm) {
    Norm(out.q, name("self_attn.q_norm.weight"), config_.head_dim);
    Norm(out.k, name("self_attn.k_norm.weight"), config_.head_dim);
  }
  out.pre_rope_k = out.k;
  Rotate(out.q, positions, config_.q_heads);
  Rotate(out.k, positions, config_.kv_heads);
  return out;
}

double ScalarModel::Dot(const double* q, const ScalarLayer& layer, int32_t row, int32_t head) const {
  const int32_t kv_head = head / (config_.q_heads / config_.kv_heads);
  const double* const k = layer.k.data() + (row * config_.kv_heads + kv_head) * config_.head_dim;
  return std::inner_product(q, q + config_.head_dim, k, 0.0) / std::sqrt(config_.head_dim);
}

Doubles ScalarModel::Attention(const ScalarLayer& layer, int32_t row, int32_t head) const {
  const double* const q = layer.q.data() + (row * config_.q_heads + head) * config_.head_dim;
  Doubles scores;
  for (int32_t key = 0; key <= row; ++key) scores.push_back(Dot(q, layer, key, head));
  Softmax(scores);
  return scores;
}

Doubles ScalarModel::Attend(const ScalarLayer& layer, const ScalarLayer* past) const {
  const auto rows = static_cast<int32_t>(layer.positions.size());
  const int32_t before = past == nullptr ? 0 : static_cast<int32_t>(past->positions.size());
  Doubles out(layer.q.size());
  for (int32_t row = 0; row < rows; ++row) {
    for (int32_t head = 0; head < config_.q_heads; ++head) {
      const int32_t at = (row * config_.q_heads + head) * config_.head_dim;
      const int32_t kv_head = head / (config_.q_heads / config_.kv_heads);
      const auto source = [&](int32_t key) -> const ScalarLayer& { return key < before ? *past : layer; };
      Doubles weights;
      for (int32_t key = 0; key <= before + row; ++key) {
        weights.push_back(Dot(layer.q.data() + at, source(key), key < before ? key : key - before, head));
      }
      Softmax(weights);
      for (int32_t key = 0; key <= before + row; ++key) {
        const int32_t from = key < before ? key : key - before;
        const double* const v = source(key).v.data() + (from * config_.kv_heads + kv_head) * config_.head_dim;
        for (int32_t i = 0; i < config_.head_dim; ++i) {
          out[static_cast<size_t>(at + i)] += weights[static_cast<size_t>(key)] * v[i];
        }
      }
    }
  }
  return out;
}

void ScalarModel::Finish(int32_t layer, const Doubles& attention, Doubles& residual) const {
  const auto name = [layer](const char* part) { return LayerTensorName(layer, part); };
  Add(Product(attention, name("self_attn.o_proj"), int64_t{config_.q_heads} * config_.head_dim, config_.hidden),
      residual);
  Doubles in = residual;
  Norm(in, name("post_attention_layernorm.weight"), config_.hidden);
  Doubles gate = Product(in, name("mlp.gate_proj"), config_.hidden, config_.intermediate);
  const Doubles up = Product(in, name("mlp.up_proj"), config_.hidden, config_.intermediate);
  for (size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
  Add(Product(gate, name("mlp.down_proj"), config_.intermediate, config_.hidden), residual);
}

ScalarRun ScalarModel::Forward(const std::vector<int32_t>& tokens, const ScalarRun* past, const Select& select) const {
  const auto hidden = static_cast<size_t>(config_.hidden);
  const Doubles embedding = Tensor("model.embed_tokens.weight", {config_.vocabulary, config_.hidden});
  Doubles residual;
  for (const int32_t token : tokens) {
    const auto row = embedding.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(token) * hidden);
    residual.insert(residual.end(), row, row + config_.hidden);
  }
  std::vector<int32_t> positions(tokens.size());
  std::iota(positions.begin(), positions.end(), past == nullptr ? 0 : past->layers[0].positions.back() + 1);
  ScalarRun run;
  for (int32_t layer = 0; layer < config_.layers; ++layer) {
    ScalarLayer now = Project(layer, residual, positions);
    Finish(layer, Attend(now, past == nullptr ? nullptr : &past->layers[static_cast<size_t>(layer)]), residual);
    const std::vector<int32_t> rows = select ? select(layer, now) : std::vector<int32_t>();
    run.layers.push_back(std::move(now));
    if (rows.empty()) continue;
    Doubles kept;
    std::vector<int32_t> kept_positions;
    for (const int32_t row : rows) {
      const auto from = residual.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(row) * hidden);
      kept.insert(kept.end(), from, from + config_.hidden);
      kept_positions.push_back(positions[static_cast<size_t>(row)]);
    }
    residual = std::move(kept);
    positions = std::move(kept_positions);
  }
  Norm(residual, "model.norm.weight", config_.hidden);
  run.logits =
      Product(residual, config_.tied_embeddings ? "model.embed_tokens" : "lm_head", config_.hidden, config_.vocabulary);
  return run;
}

}  // namespace decant
