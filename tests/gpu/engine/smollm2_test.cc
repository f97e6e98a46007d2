// Greedy continuations of SmolLM2 against the reference's, in f32. Skipped where the model's folder is missing.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "common/model/model_folder.h"
#include "gpu/engine/prefill_run.h"
#include "tests/common/model/smollm2_folder.h"
#include "tests/support/paths/paths.h"

namespace decant {
namespace {

TEST(Smollm2Test, ContinuesPromptsLikeTheReference) {
  DECANT_REQUIRE_SMOLLM2();
  const auto device = CreateHostDevice(0);
  const auto stream = device->NewStream();
  const ModelFolder folder = OpenModelFolder(Smollm2Folder()).value();
  const auto weights = Weights::Load(*device, folder, RunType::kF32).value();
  std::ifstream file(SourceDir() + "/tests/golden/models/smollm2_continuations.json");
  for (const nlohmann::json& golden : nlohmann::json::parse(file)) {
    std::vector<int32_t> tokens = golden.at("prompt_ids");
    ASSERT_EQ(folder.tokenizer->Encode(golden.at("prompt").get<std::string>()).value(), tokens);
    const std::vector<int32_t> continuation = golden.at("ids");
    const std::vector<double> margins = golden.at("margins");
    // All steps at once: the reference's own continuation is the input, so each row says what would come next.
    const size_t prompt = tokens.size();
    tokens.insert(tokens.end(), continuation.begin(), continuation.end() - 1);
    auto run = PrefillRun::Create(*weights, *stream, tokens, PrefillOptions()).value();
    for (int32_t layer = 0; layer < weights->config().layers; ++layer) ASSERT_TRUE(run->ComputeLayer(layer).ok());
    const auto vocabulary = static_cast<size_t>(weights->config().vocabulary);
    std::vector<float> logits(tokens.size() * vocabulary);
    ASSERT_TRUE(run->CopyLogits(absl::MakeSpan(logits)).ok());
    for (size_t step = 0; step < continuation.size() && margins[step] >= 0.05; ++step) {
      const auto row = logits.begin() + static_cast<std::ptrdiff_t>((prompt - 1 + step) * vocabulary);
      EXPECT_EQ(std::max_element(row, row + static_cast<std::ptrdiff_t>(vocabulary)) - row, continuation[step])
          << golden.at("prompt") << " at step " << step;
    }
  }
}

}  // namespace
}  // namespace decant
