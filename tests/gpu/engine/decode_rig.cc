#include "tests/gpu/engine/decode_rig.h"

#include <algorithm>
#include <cmath>

#include "common/base/check.h"
#include "common/base/random.h"
#include "gpu/engine/recipe_schedule.h"
#include "tests/support/paths/paths.h"

namespace decant {
namespace {

template <typename T>
T Must(absl::StatusOr<T> value) {
  DECANT_CHECK_MSG(value.ok(), "%s", value.status().ToString().c_str());
  return std::move(value).value();
}

void Must(const absl::Status& status) { DECANT_CHECK_MSG(status.ok(), "%s", status.ToString().c_str()); }

}  // namespace

DecodeRig::DecodeRig(std::unique_ptr<Device> device, const std::string& folder, int64_t budget_bytes,
                     int32_t max_sequences, RunType run_type)
    : device_(std::move(device)),
      folder_(Must(OpenModelFolder(folder[0] == '/' ? folder : SourceDir() + "/" + folder))),
      stream_(device_->NewStream()),
      weights_(Must(Weights::Load(*device_, folder_, run_type))) {
  DecodeOptions options;
  options.kv_budget_bytes = budget_bytes;
  options.max_sequences = max_sequences;
  options.model = folder_.fingerprint;
  batch_ = Must(DecodeBatch::Create(*weights_, *stream_, options));
}

DecodeRig::~DecodeRig() = default;

Recipe DecodeRig::RecipeOf(const std::string& profile) const {
  return Must(Compile(Must(Must(Catalogue::BuiltIn()).Find(profile)), folder_.config.geometry(), weights_->run_type()));
}

std::vector<int32_t> DecodeRig::Prompt(int32_t count, uint64_t seed) const {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<int32_t>(MixBits(seed, i) % static_cast<uint64_t>(config().vocabulary));
  }
  return tokens;
}

std::vector<int32_t> DecodeRig::Tokens(const std::string& text) const { return Must(folder_.tokenizer->Encode(text)); }

std::string DecodeRig::Text(const std::vector<int32_t>& tokens) const {
  return Must(folder_.tokenizer->Decode(tokens, true));
}

std::vector<float> DecodeRig::PrefillLogits(const std::vector<int32_t>& tokens) {
  auto run = Must(PrefillRun::Create(*weights_, *stream_, tokens, PrefillOptions()));
  for (int32_t layer = 0; layer < config().layers; ++layer) Must(run->ComputeLayer(layer).status());
  std::vector<float> logits(tokens.size() * static_cast<size_t>(config().vocabulary));
  Must(run->CopyLogits(absl::MakeSpan(logits)));
  return logits;
}

Poured DecodeRig::Prefill(const std::vector<int32_t>& prompt, const Recipe& recipe) {
  RecipeSchedule made = Must(ScheduleFor(recipe, config(), folder_.tokenizer.get(), prompt, 0));
  made.options.tile = 48;  // no divisor of a chunk
  auto run = Must(PrefillRun::Create(*weights_, *stream_, prompt, made.options));
  LayerEncoderOptions encode;
  encode.recipe = recipe;
  encode.geometry = config().geometry();
  encode.run_type = weights_->run_type();
  encode.prompt_tokens = static_cast<int32_t>(prompt.size());
  encode.model = folder_.fingerprint;
  encode.k_norm = config().qk_norm;
  encode.inverse_frequencies = config().inverse_frequencies;
  encode.rope_magnitude = config().rope_magnitude;
  const auto encoder = Must(LayerEncoder::Create(*device_, encode));
  Poured poured;
  PromptVisitor visitor;
  visitor.on_layers = [&](absl::Span<const LayerTap> layers) {
    if (recipe.needs_all_layers()) Must(encoder->SelectAll(*stream_, layers));
    for (const LayerTap& tap : layers) poured.layers.push_back(Must(encoder->Encode(*stream_, tap, 0)));
    return absl::OkStatus();
  };
  Must(ComputePrompt(*run, made.schedule, visitor));
  poured.first_token = Must(run->SampleFirst(Sampling(), static_cast<int64_t>(prompt.size())));
  const auto vocabulary = static_cast<size_t>(config().vocabulary);
  std::vector<float> logits(static_cast<size_t>(run->rows()) * vocabulary);
  Must(run->CopyLogits(absl::MakeSpan(logits)));
  poured.logits.assign(logits.end() - static_cast<std::ptrdiff_t>(vocabulary), logits.end());
  return poured;
}

SequenceOptions DecodeRig::Options(const std::vector<int32_t>& prompt, const Recipe& recipe, int32_t max_tokens) const {
  SequenceOptions options;
  options.prompt_tokens = static_cast<int32_t>(prompt.size());
  options.max_tokens = max_tokens;
  options.recipe = recipe;
  return options;
}

SequenceId DecodeRig::Start(const std::vector<int32_t>& prompt, const std::string& profile, int32_t max_tokens,
                            const Sampling& sampling) {
  const Recipe recipe = RecipeOf(profile);
  return Start(prompt, recipe, Prefill(prompt, recipe), max_tokens, sampling);
}

SequenceId DecodeRig::Start(const std::vector<int32_t>& prompt, const Recipe& recipe, const Poured& poured,
                            int32_t max_tokens, const Sampling& sampling) {
  SequenceOptions options = Options(prompt, recipe, max_tokens);
  options.sampling = sampling;
  const SequenceId id = Must(batch_->Reserve(options));
  for (const EncodedLayer& layer : poured.layers) Must(batch_->Import(id, layer.batch));
  Must(batch_->Join(id, poured.first_token));
  return id;
}

DecodeRig::Answer DecodeRig::Finish(SequenceId sequence, int32_t first_token) {
  Answer answer;
  answer.tokens.push_back(first_token);
  for (bool finished = false; !finished;) {
    const absl::Span<const StepToken> step = Must(batch_->Step());
    DECANT_CHECK(!step.empty());
    const std::vector<float> logits = StepLogits();
    for (size_t row = 0; row < step.size(); ++row) {
      if (step[row].sequence != sequence) continue;
      answer.tokens.push_back(step[row].token);
      const auto first = logits.begin() + static_cast<std::ptrdiff_t>(row) * config().vocabulary;
      answer.logits.emplace_back(first, first + config().vocabulary);
      finished = step[row].finished;
    }
  }
  return answer;
}

std::vector<float> DecodeRig::StepLogits() {
  // The rows of the last step are not exposed otherwise: the size that is accepted tells them.
  for (size_t rows = 1;; ++rows) {
    std::vector<float> logits(rows * static_cast<size_t>(config().vocabulary));
    if (batch_->CopyLogits(absl::MakeSpan(logits)).ok()) return logits;
    DECANT_CHECK(rows < 1000);
  }
}

double LargestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
    if (!(difference <= largest)) largest = std::isnan(difference) ? INFINITY : difference;
  }
  return largest;
}

double LargestMagnitude(const std::vector<float>& a) { return LargestDifference(a, std::vector<float>(a.size())); }

int32_t ArgMax(const std::vector<float>& logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace decant
