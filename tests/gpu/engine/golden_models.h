// The tiny golden models of tests/golden/models, loaded on a device.
#ifndef DECANT_TESTS_GPU_ENGINE_GOLDEN_MODELS_H_
#define DECANT_TESTS_GPU_ENGINE_GOLDEN_MODELS_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "common/model/model_folder.h"
#include "gpu/device/device.h"
#include "gpu/engine/prefill_run.h"
#include "gpu/engine/weights.h"
#include "tests/support/paths/paths.h"

namespace decant {

inline const std::vector<std::string>& GoldenModelNames() {
  static const std::vector<std::string> names = {"llama", "llama_linear", "llama_llama3", "mistral",
                                                 "qwen2", "qwen2_yarn",   "qwen3",        "qwen3_yarn"};
  return names;
}

struct GoldenModel {
  ModelFolder folder;
  std::unique_ptr<Stream> stream;
  std::unique_ptr<Weights> weights;
  std::vector<int32_t> tokens;
  std::vector<float> logits;  // [tokens, vocabulary]
};

// With another limit of positions where `max_positions` is not 0.
inline GoldenModel LoadGolden(Device& device, const std::string& name, RunType run_type, int32_t max_positions = 0) {
  const std::string path = SourceDir() + "/tests/golden/models/" + name;
  GoldenModel model;
  auto folder = OpenModelFolder(path);
  if (!folder.ok()) throw std::runtime_error(folder.status().ToString());
  model.folder = std::move(*folder);
  if (max_positions > 0) model.folder.config.max_positions = max_positions;
  auto weights = Weights::Load(device, model.folder, run_type);
  if (!weights.ok()) throw std::runtime_error(weights.status().ToString());
  model.weights = std::move(*weights);
  model.stream = device.NewStream();
  const auto golden = Safetensors::Open(path + "/golden").value();
  std::vector<float> ids(40);
  CopyAsFloat(golden->Find("token_ids", {40}).value(), ids.data());
  for (const float id : ids) model.tokens.push_back(static_cast<int32_t>(id));
  const int64_t vocabulary = model.folder.config.vocabulary;
  model.logits.resize(static_cast<size_t>(40 * vocabulary));
  CopyAsFloat(golden->Find("logits", {40, vocabulary}).value(), model.logits.data());
  return model;
}

// All layers; the caller may look at every tap.
template <typename OnTap>
std::vector<float> RunPrefill(const GoldenModel& model, const PrefillOptions& options, const OnTap& on_tap) {
  auto run = PrefillRun::Create(*model.weights, *model.stream, model.tokens, options).value();
  const ModelConfig& config = model.weights->config();
  for (int32_t layer = 0; layer < config.layers; ++layer) {
    on_tap(*run, layer, LayerTap());
    const LayerTap tap = run->ComputeLayer(layer).value();
    on_tap(*run, layer, tap);
  }
  std::vector<float> logits((model.tokens.size() - static_cast<size_t>(options.reused)) *
                            static_cast<size_t>(config.vocabulary));
  const absl::Status status = run->CopyLogits(absl::MakeSpan(logits));
  if (!status.ok()) throw std::runtime_error(status.ToString());
  return logits;
}
inline std::vector<float> RunPrefill(const GoldenModel& model, const PrefillOptions& options) {
  return RunPrefill(model, options, [](PrefillRun&, int32_t, const LayerTap&) {});
}

// max |a - b| / max |b|; the parity measure of the project.
inline float RelativeDifference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return 1e9f;
  float difference = 0;
  float largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const float d = std::abs(a[i] - b[i]);
    if (!(d <= difference)) difference = d;
    largest = std::max(largest, std::abs(b[i]));
  }
  return difference / largest;
}

}  // namespace decant

#endif  // DECANT_TESTS_GPU_ENGINE_GOLDEN_MODELS_H_
