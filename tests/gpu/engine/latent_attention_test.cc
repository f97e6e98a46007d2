// Latent attention (MLA) in its absorbed form: one kv head whose keys and values are the same latent of the token, of
// whose elements only a part is rotated by position. xKV's shared bases have to carry such a cache from prefill over
// frames to decode: no head to split, wide vectors, and a basis that works on keys before rope alone.
#include <gmock/gmock.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "common/base/random.h"
#include "common/compress/transform/low_rank_frame.h"
#include "tests/gpu/engine/decode_rig.h"
#include "tests/support/paths/paths.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

constexpr int32_t kLayers = 6;  // a group of four and one of two
constexpr int32_t kHidden = 48;
constexpr int32_t kLatent = 256;
constexpr int32_t kQueryHeads = 2;
constexpr int32_t kInner = 32;
constexpr int32_t kVocabulary = 128;

// Collects tensors into the bytes of a safetensors file.
class TensorFile {
 public:
  // Uniform around 0 with this deviation, or all ones for a deviation of 0.
  void Add(const std::string& name, int64_t rows, int64_t columns, float deviation, uint64_t seed) {
    const int64_t count = rows * columns;
    const std::string shape = rows == 1 ? absl::StrCat(columns) : absl::StrCat(rows, ",", columns);
    absl::StrAppend(&header_, header_.empty() ? "{" : ",", "\"", name, R"(":{"dtype":"F32","shape":[)", shape,
                    R"(],"data_offsets":[)", data_.size(), ",", data_.size() + 4 * static_cast<size_t>(count), "]}");
    for (int64_t i = 0; i < count; ++i) {
      const float unit = UniformFloat(seed, static_cast<uint64_t>(i)) - 0.5f;
      const float value = deviation > 0 ? deviation * std::sqrt(12.0f) * unit : 1;
      data_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    }
  }

  void Write(const std::string& path) const {
    const std::string header = header_ + "}";
    const uint64_t bytes = header.size();
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&bytes), sizeof(bytes));
    file << header << data_;
  }

 private:
  std::string header_;
  std::string data_;
};

// Keys and values of a layer come from one and the same matrix. Layers add little to the hidden states, so that those
// of a group span about kHidden directions. rope_theta leaves all but the first few of the latent's pairs where they
// are.
std::string LatentModel() {
  const std::string folder = absl::StrCat(testing::TempDir(), "/latent_", getpid());
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  std::filesystem::copy(SourceDir() + "/tests/golden/models/llama/tokenizer.json", folder + "/tokenizer.json");
  std::ofstream(folder + "/config.json")
      << R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": )" << kHidden
      << R"(, "intermediate_size": )" << kInner << R"(, "num_hidden_layers": )" << kLayers
      << R"(, "num_attention_heads": )" << kQueryHeads << R"(, "num_key_value_heads": 1, "head_dim": )" << kLatent
      << R"(, "vocab_size": )" << kVocabulary << R"(, "max_position_embeddings": 1024, "rms_norm_eps": 1e-05,)"
      << R"( "hidden_act": "silu", "tie_word_embeddings": false, "torch_dtype": "float32", "bos_token_id": 1,)"
      << R"( "eos_token_id": 2, "rope_theta": 1e30})";
  TensorFile file;
  file.Add("model.embed_tokens.weight", kVocabulary, kHidden, 1, 1);
  file.Add("lm_head.weight", kVocabulary, kHidden, 0.3f, 2);
  file.Add("model.norm.weight", 1, kHidden, 0, 0);
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    const uint64_t seed = 10 + 10 * static_cast<uint64_t>(layer);
    file.Add(prefix + "input_layernorm.weight", 1, kHidden, 0, 0);
    file.Add(prefix + "post_attention_layernorm.weight", 1, kHidden, 0, 0);
    file.Add(prefix + "self_attn.q_proj.weight", kQueryHeads * kLatent, kHidden, 0.15f, seed);
    file.Add(prefix + "self_attn.k_proj.weight", kLatent, kHidden, 0.15f, seed + 1);
    file.Add(prefix + "self_attn.v_proj.weight", kLatent, kHidden, 0.15f, seed + 1);
    file.Add(prefix + "self_attn.o_proj.weight", kHidden, kQueryHeads * kLatent, 0.002f, seed + 2);
    file.Add(prefix + "mlp.gate_proj.weight", kInner, kHidden, 0.1f, seed + 3);
    file.Add(prefix + "mlp.up_proj.weight", kInner, kHidden, 0.1f, seed + 4);
    file.Add(prefix + "mlp.down_proj.weight", kHidden, kInner, 0.002f, seed + 5);
  }
  file.Write(folder + "/model.safetensors");
  return folder;
}

class LatentAttentionTest : public testing::Test {
 protected:
  LatentAttentionTest() : rig_(CreateTestDevice(2), LatentModel()) {}
  ~LatentAttentionTest() override {
    std::filesystem::remove_all(absl::StrCat(testing::TempDir(), "/latent_", getpid()));
  }

  DecodeRig::Answer AnswerOf(const std::vector<int32_t>& prompt, const Recipe& recipe, const Poured& poured) {
    const SequenceId id = rig_.Start(prompt, recipe, poured, 8);
    DecodeRig::Answer answer = rig_.Finish(id, poured.first_token);
    rig_.batch().Remove(id);
    return answer;
  }

  DecodeRig rig_;
};

TEST_F(LatentAttentionTest, SharedBasesOfOneWideHeadPourAndAnswerLikeFull) {
  const std::vector<int32_t> prompt = rig_.Prompt(330);
  const Recipe recipe = rig_.RecipeOf("xkv");
  const Poured poured = rig_.Prefill(prompt, recipe);
  ASSERT_EQ(poured.layers.size(), static_cast<size_t>(kLayers));
  int64_t bytes = 0;
  for (const size_t last : {3, 5}) {
    const std::vector<uint8_t>& batch = poured.layers[last].batch;
    bytes += static_cast<int64_t>(batch.size());
    const auto frame = ParseLowRankFrame(absl::string_view(reinterpret_cast<const char*>(batch.data()), batch.size()));
    ASSERT_TRUE(frame.ok()) << frame.status();
    const LowRankHeader& header = frame->header;
    EXPECT_EQ(header.heads, 1);
    EXPECT_EQ(header.head_dim, kLatent);
    EXPECT_EQ(header.key_rank, header.width() / 8);
    EXPECT_EQ(header.value_rank, header.width() * 3 / 16);
    // The same latents, but keys in their own basis: were they not unrotated, their energy and rank would be others.
    EXPECT_NEAR(header.key_error.squared_norm, header.value_error.squared_norm, 1e-4 * header.value_error.squared_norm);
    EXPECT_LT(header.key_error.squared_difference, 2e-4 * header.key_error.squared_norm);
    EXPECT_LT(header.value_error.squared_difference, 2e-4 * header.value_error.squared_norm);
  }
  const int64_t full_bytes = 330 * rig_.config().geometry().full_bytes_per_token();
  EXPECT_LT(static_cast<double>(bytes), 0.7 * static_cast<double>(full_bytes)) << "bases counted";

  const Recipe full = rig_.RecipeOf("full");
  const DecodeRig::Answer expected = AnswerOf(prompt, full, rig_.Prefill(prompt, full));
  const DecodeRig::Answer answer = AnswerOf(prompt, recipe, poured);
  EXPECT_EQ(answer.tokens, expected.tokens);
  for (size_t step = 0; step < expected.logits.size(); ++step) {
    EXPECT_LT(LargestDifference(answer.logits[step], expected.logits[step]),
              0.01 * LargestMagnitude(expected.logits[step]));
  }
}

// The other profiles that a latent can take: one vector per token, no pairs of heads.
TEST_F(LatentAttentionTest, OtherProfilesHoldALatentToo) {
  const std::vector<int32_t> prompt = rig_.Prompt(130);
  const Recipe full = rig_.RecipeOf("full");
  const DecodeRig::Answer expected = AnswerOf(prompt, full, rig_.Prefill(prompt, full));
  for (const char* profile : {"k8v4", "decant-shared", "full-lossless", "saw-int4"}) {
    const Recipe recipe = rig_.RecipeOf(profile);
    const DecodeRig::Answer answer = AnswerOf(prompt, recipe, rig_.Prefill(prompt, recipe));
    EXPECT_LT(LargestDifference(answer.logits[0], expected.logits[0]), 0.1 * LargestMagnitude(expected.logits[0]))
        << profile;
  }
}

}  // namespace
}  // namespace decant
