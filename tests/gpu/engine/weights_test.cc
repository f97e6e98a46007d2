#include "gpu/engine/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "gpu/engine/model_tensors.h"
#include "gpu/kernels/nn/packed_layout.h"
#include "tests/gpu/engine/golden_models.h"
#include "tests/support/paths/paths.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

using ::testing::HasSubstr;

// A copy of a golden model in which one f32 element of a tensor is `value`.
std::string BrokenModel(const std::string& tensor, int64_t element, float value) {
  const std::string from = SourceDir() + "/tests/golden/models/llama";
  const std::string folder = absl::StrCat(testing::TempDir(), "/not_finite_", getpid());
  std::filesystem::remove_all(folder);
  std::filesystem::copy(from, folder, std::filesystem::copy_options::recursive);
  const std::string path = folder + "/model.safetensors";
  std::ifstream in(path, std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(in), {});
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof(header));
  const auto entry = nlohmann::json::parse(bytes.substr(8, header)).at(tensor);
  EXPECT_EQ(entry.at("dtype"), "F32");
  std::memcpy(bytes.data() + 8 + header + entry.at("data_offsets").at(0).get<size_t>() + element * 4, &value, 4);
  std::ofstream(path, std::ios::binary) << bytes;
  return folder;
}

TEST(WeightsTest, HoldOneCopyAndCountIt) {
  for (const std::string& name : GoldenModelNames()) {
    for (const RunType type : {RunType::kF32, RunType::kBf16}) {
      const auto device = CreateTestDevice(2);
      const GoldenModel model = LoadGolden(*device, name, type);
      EXPECT_EQ(model.weights->run_type(), type);
      EXPECT_EQ(&model.weights->device(), device.get());
      EXPECT_EQ(device->allocated_bytes(), model.weights->bytes());
      const ModelConfig& config = model.weights->config();
      const ModelTensors& tensors = model.weights->tensors();
      EXPECT_EQ(tensors.head.memory.bytes() == 0, config.tied_embeddings) << name;
      EXPECT_EQ(&tensors.logits_matrix() == &tensors.embedding, config.tied_embeddings) << name;
      EXPECT_EQ(tensors.layers[0].qkv_bias != nullptr, config.qkv_bias) << name;
      EXPECT_EQ(tensors.layers[0].output_bias != nullptr, config.output_bias) << name;
      EXPECT_EQ(tensors.layers[0].q_norm != nullptr, config.qk_norm) << name;
    }
  }
}

// Counts how often the memory of the files is given back.
class CountedTensors final : public Safetensors {
 public:
  CountedTensors(std::unique_ptr<Safetensors> tensors, int& releases)
      : tensors_(std::move(tensors)), releases_(releases) {}
  absl::StatusOr<TensorView> Find(absl::string_view name, absl::Span<const int64_t> shape) const override {
    return tensors_->Find(name, shape);
  }
  bool Contains(absl::string_view name) const override { return tensors_->Contains(name); }
  std::vector<std::string> Names() const override { return tensors_->Names(); }
  int64_t total_bytes() const override { return tensors_->total_bytes(); }
  void ReleaseMemory() const override { ++releases_; }
  Digest fingerprint() const override { return tensors_->fingerprint(); }

 private:
  const std::unique_ptr<Safetensors> tensors_;
  int& releases_;
};

// Else a worker needs twice its weights while it loads.
TEST(WeightsTest, TheFileIsGivenBackMatrixByMatrix) {
  const auto device = CreateTestDevice(1);
  ModelFolder folder = OpenModelFolder(SourceDir() + "/tests/golden/models/llama").value();
  int releases = 0;
  folder.tensors = std::make_unique<CountedTensors>(std::move(folder.tensors), releases);
  ASSERT_TRUE(Weights::Load(*device, folder, RunType::kF32).ok());
  // Embedding, head and four packed matrices of each layer; then the vectors.
  EXPECT_EQ(releases, 2 + 4 * folder.config.layers + 1);
}

TEST(WeightsTest, ADeviceWithoutRoomIsAnError) {
  const auto device = CreateTestDevice(1, 64 << 10);
  const auto folder = OpenModelFolder(SourceDir() + "/tests/golden/models/llama").value();
  const auto weights = Weights::Load(*device, folder, RunType::kF32);
  EXPECT_EQ(weights.status().code(), absl::StatusCode::kResourceExhausted) << weights.status();
  EXPECT_EQ(device->allocated_bytes(), 0);
}

TEST(WeightsTest, WhatIsNotFiniteIsRefusedByName) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const struct {
    const char* tensor;
    int64_t element;
    float value;
    const char* says;
  } cases[] = {{"model.layers.1.mlp.up_proj.weight", 37, std::nanf(""), "holds nan at element 37 of ["},
               {"model.embed_tokens.weight", 0, -kInf, "holds -inf at element 0 of ["},
               {"model.layers.0.input_layernorm.weight", 3, kInf, "holds inf at element 3 of ["}};
  for (const auto& test : cases) {
    const std::string folder = BrokenModel(test.tensor, test.element, test.value);
    const auto device = CreateTestDevice(2);
    for (const RunType type : {RunType::kF32, RunType::kBf16}) {
      const auto weights = Weights::Load(*device, OpenModelFolder(folder).value(), type);
      ASSERT_EQ(weights.status().code(), absl::StatusCode::kInvalidArgument) << weights.status();
      const std::string message(weights.status().message());
      EXPECT_THAT(message, HasSubstr(absl::StrCat("/model.safetensors: tensor ", test.tensor, " ", test.says)));
    }
    std::filesystem::remove_all(folder);
  }
}

}  // namespace
}  // namespace decant
