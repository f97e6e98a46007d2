#include "common/model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "common/model/safetensors.h"
#include "tests/common/model/temporary_folder.h"

namespace decant {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// A folder with a Llama config.json that `change` may spoil.
class ConfigTest : public testing::Test {
 protected:
  ConfigTest() {
    folder_.Write("config.json", R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 128,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "eos_token_id": 2})");
  }

  absl::StatusOr<ModelConfig> With(const std::function<void(nlohmann::json&)>& change) {
    folder_.Edit("config.json", change);
    return ReadModelConfig(folder_.path());
  }
  absl::StatusOr<ModelConfig> WithField(const char* name, const nlohmann::json& value) {
    return With([&](nlohmann::json& json) { json[name] = value; });
  }
  void ExpectError(const absl::StatusOr<ModelConfig>& config, absl::StatusCode code, const std::string& words) {
    ASSERT_FALSE(config.ok());
    EXPECT_EQ(config.status().code(), code) << config.status();
    EXPECT_THAT(std::string(config.status().message()),
                AllOf(HasSubstr(folder_.File("config.json")), HasSubstr(words)));
  }

  TemporaryFolder folder_;
};

TEST_F(ConfigTest, ReadsSizesAndDefaults) {
  const auto config = ReadModelConfig(folder_.path());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->architecture, Architecture::kLlama);
  EXPECT_EQ(config->geometry(), (Geometry{2, 4, 2, 16}));
  EXPECT_EQ(config->hidden, 64);
  EXPECT_EQ(config->intermediate, 96);
  EXPECT_EQ(config->vocabulary, 128);
  EXPECT_FLOAT_EQ(config->norm_epsilon, 1e-5f);
  EXPECT_FALSE(config->tied_embeddings || config->qkv_bias || config->output_bias || config->qk_norm);
  EXPECT_EQ(config->end_tokens, std::vector<int32_t>{2});
  EXPECT_TRUE(absl::EndsWith(folder_.path(), "/" + config->name));
  EXPECT_EQ(ReadModelConfig(folder_.path() + "/")->name, config->name);
}

TEST_F(ConfigTest, KvHeadsDefaultToQueryHeadsForLlamaOnly) {
  EXPECT_EQ(With([](nlohmann::json& json) { json.erase("num_key_value_heads"); })->kv_heads, 4);
  ExpectError(WithField("architectures", {"MistralForCausalLM"}), absl::StatusCode::kInvalidArgument,
              "num_key_value_heads");
}

TEST_F(ConfigTest, HeadDimIsIndependentOfTheHiddenSize) {
  EXPECT_EQ(WithField("head_dim", 48)->head_dim, 48);
  EXPECT_EQ(WithField("head_dim", nullptr)->head_dim, 16);
}

TEST_F(ConfigTest, EachArchitectureHasItsBiasesAndNorms) {
  const auto llama = WithField("attention_bias", true);
  EXPECT_TRUE(llama->qkv_bias && llama->output_bias && !llama->qk_norm);
  const auto qwen2 = WithField("architectures", {"Qwen2ForCausalLM"});
  EXPECT_TRUE(qwen2->qkv_bias && !qwen2->output_bias && !qwen2->qk_norm);
  const auto qwen3 = WithField("architectures", {"Qwen3ForCausalLM"});
  EXPECT_TRUE(qwen3->qkv_bias && qwen3->output_bias && qwen3->qk_norm);
  EXPECT_EQ(qwen3->head_dim, 128);
}

TEST_F(ConfigTest, TheModelTypeServesWhereNoArchitectureIsNamed) {
  const auto config = With([](nlohmann::json& json) {
    json.erase("architectures");
    json["model_type"] = "qwen3";
  });
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->architecture, Architecture::kQwen3);
}

TEST_F(ConfigTest, GenerationConfigNamesTheEndTokensFirst) {
  folder_.Write("generation_config.json", R"({"eos_token_id": [7, 9]})");
  EXPECT_EQ(ReadModelConfig(folder_.path())->end_tokens, (std::vector<int32_t>{7, 9}));
  folder_.Write("generation_config.json", R"({"bos_token_id": 1, "eos_token_id": null})");
  EXPECT_EQ(ReadModelConfig(folder_.path())->end_tokens, std::vector<int32_t>{2});
  folder_.Write("generation_config.json", R"({"eos_token_id": "two"})");
  EXPECT_EQ(ReadModelConfig(folder_.path()).status().code(), absl::StatusCode::kInvalidArgument);
  folder_.Write("generation_config.json", R"({"eos_token_id": )");
  EXPECT_THAT(std::string(ReadModelConfig(folder_.path()).status().message()), HasSubstr("generation_config.json"));
}

TEST_F(ConfigTest, RefusesAnUnknownArchitecture) {
  ExpectError(WithField("architectures", {"GPT2LMHeadModel"}), absl::StatusCode::kUnimplemented, "LlamaForCausalLM");
}

TEST_F(ConfigTest, RefusesAFolderWithoutConfig) {
  const auto config = ReadModelConfig(folder_.path() + "/nothing");
  EXPECT_EQ(config.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(config.status().message()), HasSubstr("nothing/config.json"));
}

TEST_F(ConfigTest, RefusesACutOffFile) {
  folder_.Write("config.json", folder_.Read("config.json").substr(0, 100));
  ExpectError(ReadModelConfig(folder_.path()), absl::StatusCode::kInvalidArgument, "download it again");
}

TEST_F(ConfigTest, RefusesFieldsThatAreMissingOrImpossible) {
  for (const char* name : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
                           "max_position_embeddings"}) {
    const std::string before = folder_.Read("config.json");
    for (const nlohmann::json& value : {nlohmann::json(nullptr), nlohmann::json(0), nlohmann::json(-3),
                                        nlohmann::json("64"), nlohmann::json(1.5), nlohmann::json(1ull << 63)}) {
      ExpectError(WithField(name, value), absl::StatusCode::kInvalidArgument, name);
    }
    folder_.Write("config.json", before);
  }
  ExpectError(WithField("num_key_value_heads", 3), absl::StatusCode::kInvalidArgument, "multiple");
}

TEST_F(ConfigTest, RefusesAnOddHeadDim) {
  ExpectError(WithField("head_dim", 33), absl::StatusCode::kInvalidArgument, "even");
}

TEST_F(ConfigTest, RefusesWhatIsNotComputed) {
  const std::string good = folder_.Read("config.json");
  const std::vector<std::pair<const char*, nlohmann::json>> fields = {
      {"hidden_act", "gelu"},
      {"mlp_bias", true},
      {"quantization_config", {{"bits", 4}}},
      {"partial_rotary_factor", 0.5},
      {"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}},
      {"rope_scaling", {{"rope_type", "longrope"}, {"factor", 2.0}}},
      {"rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}},
  };
  for (const auto& [name, value] : fields) {
    ExpectError(WithField(name, value), absl::StatusCode::kUnimplemented, "");
    folder_.Write("config.json", good);
  }
}

TEST_F(ConfigTest, RefusesAnActiveSlidingWindowOnly) {
  const auto mistral = [this](const nlohmann::json& window) {
    return With([&](nlohmann::json& json) {
      json["architectures"] = {"MistralForCausalLM"};
      json["sliding_window"] = window;
    });
  };
  EXPECT_TRUE(mistral(nullptr).ok());
  EXPECT_TRUE(mistral(64).ok());
  ExpectError(mistral(63), absl::StatusCode::kUnimplemented, "sliding_window to null");
  // Absent means 4096 to the reference.
  EXPECT_TRUE(With([](nlohmann::json& json) { json.erase("sliding_window"); }).ok());
  ExpectError(WithField("max_position_embeddings", 8192), absl::StatusCode::kUnimplemented, "4096");

  const auto qwen = [this](bool used, int full_layers) {
    return With([&](nlohmann::json& json) {
      json["architectures"] = {"Qwen2ForCausalLM"};
      json["sliding_window"] = 16;
      json["use_sliding_window"] = used;
      json["max_window_layers"] = full_layers;
    });
  };
  EXPECT_TRUE(qwen(false, 0).ok());
  EXPECT_TRUE(qwen(true, 2).ok());
  ExpectError(qwen(true, 1), absl::StatusCode::kUnimplemented, "sliding_window");
  EXPECT_TRUE(qwen(false, 0).ok());
  ExpectError(WithField("layer_types", {"full_attention", "sliding_attention"}), absl::StatusCode::kUnimplemented,
              "layer_types");
}

TEST_F(ConfigTest, RefusesRopeSettingsThatMakeNoSense) {
  const std::string good = folder_.Read("config.json");
  const nlohmann::json llama3 = {
      {"rope_type", "llama3"}, {"factor", 8.0}, {"low_freq_factor", 4.0}, {"high_freq_factor", 4.0}};
  const std::vector<std::pair<const char*, nlohmann::json>> fields = {
      {"rope_theta", 0},
      {"rope_theta", 1},
      {"rope_theta", "10000"},
      {"rope_scaling", {{"type", "linear"}}},
      {"rope_scaling", {{"type", "linear"}, {"factor", 0}}},
      {"rope_scaling", {{"type", "yarn"}, {"factor", -1}}},
      {"rope_scaling", {{"type", "yarn"}, {"factor", 2}, {"original_max_position_embeddings", 0}}},
      {"rope_scaling", {{"type", "yarn"}, {"factor", 2}, {"beta_fast", -1}}},
      {"rope_scaling", {{"type", 3}}},
      {"rope_scaling", "linear"},
      {"rope_scaling", llama3},
  };
  for (const auto& [name, value] : fields) {
    ExpectError(WithField(name, value), absl::StatusCode::kInvalidArgument, "");
    folder_.Write("config.json", good);
  }
}

TEST_F(ConfigTest, YarnWithoutFactorStretchesToTheLastPosition) {
  const auto stated =
      WithField("rope_scaling", {{"type", "yarn"}, {"factor", 4}, {"original_max_position_embeddings", 16}});
  const auto derived = WithField("rope_scaling", {{"type", "yarn"}, {"original_max_position_embeddings", 16}});
  ASSERT_TRUE(stated.ok() && derived.ok()) << stated.status() << derived.status();
  EXPECT_EQ(stated->inverse_frequencies, derived->inverse_frequencies);
  EXPECT_EQ(stated->rope_magnitude, derived->rope_magnitude);
  // 0.1 ln 4 + 1
  EXPECT_NEAR(stated->rope_magnitude, 1.13862944f, 1e-6f);
}

// The settings of Qwen2.5 for long texts, whose ramp begins and ends inside the head; values of the reference.
TEST_F(ConfigTest, YarnBlendsBetweenWholeDimensions) {
  const auto config = With([](nlohmann::json& json) {
    json["head_dim"] = 128;
    json["max_position_embeddings"] = 131072;
    json["rope_theta"] = 1e6;
    json["rope_scaling"] = {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32768}};
  });
  ASSERT_TRUE(config.ok()) << config.status();
  const std::vector<std::pair<size_t, float>> expected = {{0, 1.0f},
                                                          {22, 0.00865964312f},
                                                          {23, 0.00697830599f},
                                                          {24, 0.00537532149f},
                                                          {31, 0.000802959781f},
                                                          {39, 6.4903943e-05f},
                                                          {40, 4.44569851e-05f},
                                                          {63, 3.10234441e-07f}};
  for (const auto& [i, value] : expected) EXPECT_NEAR(config->inverse_frequencies[i], value, 4e-7f * value) << i;
}

class GoldenRopeTest : public testing::TestWithParam<const char*> {};

TEST_P(GoldenRopeTest, AnglesAndMagnitudeAreTheReferences) {
  const std::string folder = GoldenModels() + "/" + GetParam();
  const auto config = ReadModelConfig(folder);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto golden = Safetensors::Open(folder + "/golden");
  ASSERT_TRUE(golden.ok()) << golden.status();
  const auto view = (*golden)->Find("inverse_frequencies", {config->head_dim / 2});
  ASSERT_TRUE(view.ok()) << view.status();
  std::vector<float> expected(static_cast<size_t>(view->elements));
  CopyAsFloat(*view, expected.data());
  ASSERT_EQ(config->inverse_frequencies.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(config->inverse_frequencies[i], expected[i], 4e-7f * expected[i]) << i;
  }
  float magnitude = 0;
  CopyAsFloat(*(*golden)->Find("rope_magnitude", {1}), &magnitude);
  EXPECT_FLOAT_EQ(config->rope_magnitude, magnitude);
}

INSTANTIATE_TEST_SUITE_P(Variants, GoldenRopeTest,
                         testing::Values("llama", "llama_llama3", "llama_linear", "mistral", "qwen2", "qwen2_yarn",
                                         "qwen3", "qwen3_yarn"),
                         [](const auto& variant) { return std::string(variant.param); });

}  // namespace
}  // namespace decant
