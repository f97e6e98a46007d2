// A model, its prefill and a decode batch on one device, for tests of decoding.
#ifndef DECANT_TESTS_GPU_ENGINE_DECODE_RIG_H_
#define DECANT_TESTS_GPU_ENGINE_DECODE_RIG_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/model/model_folder.h"
#include "gpu/engine/decode_batch.h"
#include "gpu/engine/layer_encoder.h"
#include "gpu/engine/prefill_run.h"

namespace decant {

// What prefill hands to decode.
struct Poured {
  std::vector<EncodedLayer> layers;
  int32_t first_token = 0;
  std::vector<float> logits;  // of the last prompt token
};

class DecodeRig {
 public:
  // `folder` relative to the checkout, or absolute; KV pages of `budget_bytes`.
  DecodeRig(std::unique_ptr<Device> device, const std::string& folder, int64_t budget_bytes = int64_t{24} << 20,
            int32_t max_sequences = 8, RunType run_type = RunType::kF32);
  ~DecodeRig();

  Device& device() { return *device_; }
  Stream& stream() { return *stream_; }
  const Weights& weights() const { return *weights_; }
  DecodeBatch& batch() { return *batch_; }
  const ModelConfig& config() const { return folder_.config; }
  const Digest& fingerprint() const { return folder_.fingerprint; }
  const Tokenizer& tokenizer() const { return *folder_.tokenizer; }

  Recipe RecipeOf(const std::string& profile) const;
  // `count` reproducible ids of the vocabulary.
  std::vector<int32_t> Prompt(int32_t count, uint64_t seed = 1) const;
  std::vector<int32_t> Tokens(const std::string& text) const;
  std::string Text(const std::vector<int32_t>& tokens) const;
  // Logits [tokens, vocabulary] of one whole prefill.
  std::vector<float> PrefillLogits(const std::vector<int32_t>& tokens);
  // As a prefill worker does it, nothing reused.
  Poured Prefill(const std::vector<int32_t>& prompt, const Recipe& recipe);

  SequenceOptions Options(const std::vector<int32_t>& prompt, const Recipe& recipe, int32_t max_tokens) const;
  // Reserve, Import of every layer, Join.
  SequenceId Start(const std::vector<int32_t>& prompt, const std::string& profile, int32_t max_tokens,
                   const Sampling& sampling = Sampling());
  SequenceId Start(const std::vector<int32_t>& prompt, const Recipe& recipe, const Poured& poured, int32_t max_tokens,
                   const Sampling& sampling = Sampling());
  // All tokens of an answer, the first included, and the logits of every step.
  struct Answer {
    std::vector<int32_t> tokens;
    std::vector<std::vector<float>> logits;
  };
  // Runs the batch until `sequence` is finished; other running sequences advance with it.
  Answer Finish(SequenceId sequence, int32_t first_token);
  std::vector<float> StepLogits();

 private:
  std::unique_ptr<Device> device_;
  ModelFolder folder_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Weights> weights_;
  std::unique_ptr<DecodeBatch> batch_;
};

double LargestDifference(const std::vector<float>& a, const std::vector<float>& b);
double LargestMagnitude(const std::vector<float>& a);
int32_t ArgMax(const std::vector<float>& logits);

}  // namespace decant

#endif  // DECANT_TESTS_GPU_ENGINE_DECODE_RIG_H_
