#include "common/model/model_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/model/tensor_names.h"
#include "tests/common/model/temporary_folder.h"

namespace decant {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class GoldenFolderTest : public testing::TestWithParam<const char*> {};

TEST_P(GoldenFolderTest, OpensAndNeedsExactlyItsTensors) {
  const auto folder = OpenModelFolder(GoldenModels() + "/" + GetParam());
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->config.name, GetParam());
  EXPECT_FALSE(folder->fingerprint.IsZero());
  std::vector<std::string> needed;
  for (const TensorNeed& need : NeededTensors(folder->config)) needed.push_back(need.name);
  EXPECT_THAT(folder->tensors->Names(), testing::UnorderedElementsAreArray(needed));
}

INSTANTIATE_TEST_SUITE_P(Variants, GoldenFolderTest,
                         testing::Values("llama", "llama_llama3", "llama_linear", "mistral", "qwen2", "qwen2_yarn",
                                         "qwen3", "qwen3_yarn"),
                         [](const auto& variant) { return std::string(variant.param); });

TEST(ModelFolderTest, OpensTheBundledModel) {
  const auto folder = OpenModelFolder(TinyModel());
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->config.geometry(), (Geometry{6, 8, 2, 64}));
  EXPECT_EQ(folder->config.vocabulary, folder->tokenizer->vocabulary());
  EXPECT_TRUE(folder->config.tied_embeddings);
  EXPECT_EQ(folder->tensors->total_bytes(), 11213312);
}

// A copy of a good folder to spoil.
class SpoiledFolderTest : public testing::Test {
 protected:
  SpoiledFolderTest() { folder_.CopyFrom(GoldenModels() + "/qwen2"); }

  void ExpectError(absl::StatusCode code, const std::string& file, const std::string& words) {
    const absl::Status status = OpenModelFolder(folder_.path()).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(folder_.path()), HasSubstr(file), HasSubstr(words)));
  }
  Digest Fingerprint() {
    const auto folder = OpenModelFolder(folder_.path());
    EXPECT_TRUE(folder.ok()) << folder.status();
    return folder.ok() ? folder->fingerprint : Digest{};
  }

  TemporaryFolder folder_;
};

TEST_F(SpoiledFolderTest, AMissingTensorIsNamed) {
  folder_.Edit("config.json", [](nlohmann::json& json) { json["num_hidden_layers"] = 3; });
  ExpectError(absl::StatusCode::kNotFound, "", "model.layers.2.input_layernorm.weight");
}

TEST_F(SpoiledFolderTest, AnUntiedHeadIsMissed) {
  folder_.Edit("config.json", [](nlohmann::json& json) { json["tie_word_embeddings"] = false; });
  ExpectError(absl::StatusCode::kNotFound, "", "lm_head.weight");
}

TEST_F(SpoiledFolderTest, AWrongShapeIsNamed) {
  folder_.Edit("config.json", [](nlohmann::json& json) { json["intermediate_size"] = 57; });
  ExpectError(absl::StatusCode::kInvalidArgument, "model.safetensors", "mlp.gate_proj.weight has the shape [56, 64]");
}

TEST_F(SpoiledFolderTest, TruncatedWeightsAreNamed) {
  std::filesystem::resize_file(folder_.File("model.safetensors"),
                               std::filesystem::file_size(folder_.File("model.safetensors")) - 100);
  ExpectError(absl::StatusCode::kDataLoss, "model.safetensors", "download it again");
}

TEST_F(SpoiledFolderTest, AnUnknownArchitectureIsNamed) {
  folder_.Edit("config.json", [](nlohmann::json& json) { json["architectures"] = {"MambaForCausalLM"}; });
  ExpectError(absl::StatusCode::kUnimplemented, "config.json", "MambaForCausalLM");
}

TEST_F(SpoiledFolderTest, AnUnknownTokenizerPartIsNamed) {
  folder_.Edit("tokenizer.json", [](nlohmann::json& json) { json["model"]["type"] = "Unigram"; });
  ExpectError(absl::StatusCode::kUnimplemented, "tokenizer.json", "Unigram");
}

TEST_F(SpoiledFolderTest, ATokenizerBeyondTheEmbeddingsIsRefused) {
  folder_.Edit("tokenizer.json", [](nlohmann::json& json) {
    json["added_tokens"].push_back({{"id", 128}, {"content", "<more>"}, {"special", true}});
  });
  ExpectError(absl::StatusCode::kInvalidArgument, "tokenizer.json", "128");
}

TEST_F(SpoiledFolderTest, EachMissingFileIsNamed) {
  for (const char* file : {"tokenizer.json", "model.safetensors", "config.json"}) {
    std::filesystem::remove(folder_.File(file));
    ExpectError(absl::StatusCode::kNotFound, file, "");
  }
}

TEST_F(SpoiledFolderTest, FingerprintChangesWithConfigWeightsAndTokenizer) {
  const Digest base = Fingerprint();
  EXPECT_EQ(base, Fingerprint());
  const std::string config = folder_.Read("config.json");
  folder_.Edit("config.json", [](nlohmann::json& json) { json["rope_theta"] = 20000.0; });
  EXPECT_NE(base, Fingerprint());
  folder_.Write("config.json", config);
  EXPECT_EQ(base, Fingerprint());

  const std::string weights = folder_.Read("model.safetensors");
  std::string changed = weights;
  changed.back() = static_cast<char>(changed.back() ^ 1);
  folder_.Write("model.safetensors", changed);
  EXPECT_NE(base, Fingerprint());
  folder_.Write("model.safetensors", weights);

  folder_.Edit("tokenizer.json", [](nlohmann::json& json) { json["added_tokens"][0]["content"] = "<padding>"; });
  EXPECT_NE(base, Fingerprint());
}

TEST(TensorNamesTest, BiasesAndNormsAreNeededWhereTheArchitectureHasThem) {
  ModelConfig config;
  config.layers = 1;
  config.hidden = 4;
  config.intermediate = 6;
  config.q_heads = 2;
  config.kv_heads = 1;
  config.head_dim = 8;
  config.vocabulary = 10;
  EXPECT_EQ(NeededTensors(config).size(), 12u);
  config.tied_embeddings = true;
  EXPECT_EQ(NeededTensors(config).size(), 11u);
  config.qkv_bias = true;
  EXPECT_EQ(NeededTensors(config).size(), 14u);
  config.output_bias = true;
  EXPECT_EQ(NeededTensors(config).size(), 15u);
  config.qk_norm = true;
  const std::vector<TensorNeed> needs = NeededTensors(config);
  ASSERT_EQ(needs.size(), 17u);
  const auto shape = [&](const std::string& name) {
    for (const TensorNeed& need : needs) {
      if (need.name == name) return need.shape;
    }
    return std::vector<int64_t>{};
  };
  EXPECT_EQ(shape("model.layers.0.self_attn.q_proj.weight"), (std::vector<int64_t>{16, 4}));
  EXPECT_EQ(shape("model.layers.0.self_attn.o_proj.weight"), (std::vector<int64_t>{4, 16}));
  EXPECT_EQ(shape("model.layers.0.self_attn.k_proj.bias"), (std::vector<int64_t>{8}));
  EXPECT_EQ(shape("model.layers.0.self_attn.k_norm.weight"), (std::vector<int64_t>{8}));
  EXPECT_EQ(shape("model.layers.0.mlp.down_proj.weight"), (std::vector<int64_t>{4, 6}));
}

}  // namespace
}  // namespace decant
