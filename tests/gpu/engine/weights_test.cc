#include "gpu/engine/weights.h"

#include <gtest/gtest.h>

#include "gpu/engine/model_tensors.h"
#include "gpu/kernels/nn/packed_layout.h"
#include "tests/gpu/engine/golden_models.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

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

TEST(WeightsTest, ADeviceWithoutRoomIsAnError) {
  const auto device = CreateTestDevice(1, 64 << 10);
  const auto folder = OpenModelFolder(std::string(DECANT_SOURCE_DIR) + "/tests/golden/models/llama").value();
  const auto weights = Weights::Load(*device, folder, RunType::kF32);
  EXPECT_EQ(weights.status().code(), absl::StatusCode::kResourceExhausted) << weights.status();
  EXPECT_EQ(device->allocated_bytes(), 0);
}

}  // namespace
}  // namespace decant
