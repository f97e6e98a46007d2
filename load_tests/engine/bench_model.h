// The model that the engine's load tests run, its prompts and its sequences.
#ifndef DECANT_LOAD_TESTS_ENGINE_BENCH_MODEL_H_
#define DECANT_LOAD_TESTS_ENGINE_BENCH_MODEL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/model/model_folder.h"
#include "gpu/engine/decode_batch.h"
#include "gpu/engine/layer_encoder.h"
#include "gpu/engine/weights.h"

namespace decant {

// DECANT_MODEL, else the SmolLM2 folder where make_smollm2.sh puts it, else the bundled decant-tiny.
std::string BenchModelFolder();
// DECANT_MODEL, else the bundled decant-tiny: for what is measured of every profile, some of them slow.
std::string SmallModelFolder();

// Everything decode needs of one prompt: encoded once, imported as often as wanted.
struct BenchPrompt {
  std::vector<EncodedLayer> layers;
  int32_t tokens = 0;
  int32_t first_token = 0;
  Recipe recipe;
};

class BenchModel {
 public:
  static absl::StatusOr<std::unique_ptr<BenchModel>> Load(const std::string& folder);

  const ModelFolder& folder() const { return folder_; }
  const Weights& weights() const { return *weights_; }
  Device& device() { return *device_; }
  Stream& stream() { return *stream_; }

  std::vector<int32_t> Tokens(int32_t count, uint64_t seed) const;
  absl::StatusOr<Recipe> RecipeOf(const std::string& profile) const;
  absl::StatusOr<std::unique_ptr<LayerEncoder>> NewEncoder(const Recipe& recipe, int32_t tokens);
  // Gets the taps of all layers at once, valid during the call.
  using LayersVisitor = std::function<absl::Status(absl::Span<const LayerTap> taps)>;
  // Computes the prompt as the recipe wants it (replay, selection, sums) and returns the first token.
  absl::StatusOr<int32_t> Prefill(const std::vector<int32_t>& ids, const Recipe& recipe,
                                  const LayersVisitor& on_layers);
  absl::StatusOr<std::vector<EncodedLayer>> EncodeLayers(LayerEncoder& encoder, const Recipe& recipe,
                                                         absl::Span<const LayerTap> taps);
  absl::StatusOr<BenchPrompt> Encode(int32_t tokens, const std::string& profile, uint64_t seed);
  // `formats` as in DecodeOptions.
  absl::StatusOr<std::unique_ptr<DecodeBatch>> NewBatch(int64_t budget_bytes, int32_t max_sequences,
                                                        const std::vector<FormatId>& formats = {});
  // Reserve and import.
  absl::StatusOr<SequenceId> Import(DecodeBatch& batch, const BenchPrompt& prompt, int32_t max_tokens);
  // The same, and join.
  absl::StatusOr<SequenceId> Start(DecodeBatch& batch, const BenchPrompt& prompt, int32_t max_tokens);

 private:
  explicit BenchModel(ModelFolder folder) : folder_(std::move(folder)) {}

  ModelFolder folder_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Weights> weights_;
};

}  // namespace decant

#endif  // DECANT_LOAD_TESTS_ENGINE_BENCH_MODEL_H_
