#include "services/cli/faithfulness.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "common/model/log_probabilities.h"
#include "gpu/engine/decode_batch.h"
#include "gpu/engine/layer_encoder.h"
#include "gpu/engine/prefill_run.h"
#include "gpu/engine/recipe_passes.h"

namespace decant {
namespace {

// One prompt's way through a batch of candidates.
struct Lane {
  SequenceId sequence = 0;
  bool agrees = true;  // with full precision so far
  int32_t agreed = 0;
  int32_t counted = 0;
  double divergence = 0;
};

class Comparison {
 public:
  Comparison(const LoadedModel& model, const std::vector<Recipe>& recipes, int32_t answer_tokens)
      : model_(model),
        weights_(*model.weights),
        recipes_(recipes),
        answer_tokens_(answer_tokens),
        stream_(model.device->NewStream()) {}

  absl::StatusOr<std::vector<Faithfulness>> Measure(const std::vector<std::vector<int32_t>>& prompts,
                                                    const std::function<void()>& prompt_done) {
    size_t longest = 0;
    for (const auto& prompt : prompts) longest = std::max(longest, prompt.size());
    DecodeOptions batch;
    batch.max_sequences = static_cast<int32_t>(recipes_.size());
    // Room for every lane at f32, and a quarter for tail pages.
    const int64_t tokens = static_cast<int64_t>(longest) + answer_tokens_;
    batch.kv_budget_bytes = static_cast<int64_t>(recipes_.size() + 1) * tokens *
                                weights_.config().geometry().full_bytes_per_token() * 5 / 2 +
                            (int64_t{16} << 20);
    DECANT_ASSIGN_OR_RETURN(batch_, DecodeBatch::Create(weights_, *stream_, batch));
    std::vector<Faithfulness> results(recipes_.size());
    for (const auto& prompt : prompts) {
      DECANT_RETURN_IF_ERROR(Run(prompt, results));
      if (prompt_done) prompt_done();
    }
    for (Faithfulness& result : results) {
      const auto count = static_cast<double>(prompts.size());
      result.divergence /= count;
      result.agreement /= count;
      result.resident_bytes /= count;
      result.wire_bytes /= count;
      result.encode_seconds /= count;
      result.step_seconds /= count;
    }
    return results;
  }

 private:
  absl::Status Run(const std::vector<int32_t>& prompt, std::vector<Faithfulness>& results) {
    std::vector<Lane> lanes(recipes_.size());
    const auto remove = absl::MakeCleanup([&] {
      for (const Lane& lane : lanes) {
        if (lane.sequence != 0) batch_->Remove(lane.sequence);
      }
    });
    DECANT_ASSIGN_OR_RETURN(const int32_t first, Prefill(prompt, results, lanes));
    for (const Lane& lane : lanes) DECANT_RETURN_IF_ERROR(batch_->Join(lane.sequence, first));
    const auto vocabulary = static_cast<size_t>(weights_.config().vocabulary);
    std::vector<float> logits(vocabulary * lanes.size());
    for (int32_t step = 0; step < answer_tokens_; ++step) {
      const absl::Time start = absl::Now();
      DECANT_ASSIGN_OR_RETURN(const auto tokens, batch_->Step());
      for (Faithfulness& result : results) {
        result.step_seconds += absl::ToDoubleSeconds(absl::Now() - start) / answer_tokens_;
      }
      DECANT_RETURN_IF_ERROR(batch_->CopyLogits(absl::MakeSpan(logits)));
      for (size_t row = 0; row < tokens.size(); ++row) {
        LogSoftmax(absl::MakeSpan(logits).subspan(row * vocabulary, vocabulary));
      }
      Compare(tokens, logits, lanes);
    }
    for (size_t i = 0; i < lanes.size(); ++i) {
      Faithfulness& result = results[i];
      result.divergence += lanes[i].divergence / std::max(1, lanes[i].counted);
      result.agreement += static_cast<double>(lanes[i].agreed) / answer_tokens_;
      DECANT_ASSIGN_OR_RETURN(const SequenceUse use, batch_->Use(lanes[i].sequence));
      result.resident_bytes += static_cast<double>(use.resident_bytes);
    }
    return absl::OkStatus();
  }

  // Computes the prompt as often as the recipes need and hands every layer to every lane in its own form. Returns the
  // first recipe's first token, with which all lanes go on.
  absl::StatusOr<int32_t> Prefill(const std::vector<int32_t>& prompt, std::vector<Faithfulness>& results,
                                  std::vector<Lane>& lanes) {
    std::vector<std::unique_ptr<LayerEncoder>> encoders;
    for (size_t i = 0; i < recipes_.size(); ++i) {
      LayerEncoderOptions encoding;
      encoding.recipe = recipes_[i];
      encoding.geometry = weights_.config().geometry();
      encoding.run_type = weights_.run_type();
      encoding.prompt_tokens = static_cast<int32_t>(prompt.size());
      encoding.model = model_.folder.fingerprint;
      encoding.k_norm = weights_.config().qk_norm;
      encoding.inverse_frequencies = weights_.config().inverse_frequencies;
      encoding.rope_magnitude = weights_.config().rope_magnitude;
      DECANT_ASSIGN_OR_RETURN(auto encoder, LayerEncoder::Create(*model_.device, encoding));
      encoders.push_back(std::move(encoder));
      SequenceOptions sequence;
      sequence.prompt_tokens = encoding.prompt_tokens;
      sequence.max_tokens = answer_tokens_ + 1;
      sequence.recipe = recipes_[i];
      DECANT_ASSIGN_OR_RETURN(lanes[i].sequence, batch_->Reserve(sequence));
    }
    DECANT_ASSIGN_OR_RETURN(const std::vector<RecipePass> passes,
                            PassesFor(recipes_, weights_.config(), model_.folder.tokenizer.get(), prompt));
    int32_t first_token = 0;
    for (const RecipePass& pass : passes) {
      DECANT_ASSIGN_OR_RETURN(const auto run, PrefillRun::Create(weights_, *stream_, prompt, pass.made.options));
      PromptVisitor visitor;
      visitor.on_layers = [&](absl::Span<const LayerTap> layers) -> absl::Status {
        for (const RecipePass::Member& member : pass.members) {
          const SequenceId lane = lanes[member.recipe].sequence;
          DECANT_RETURN_IF_ERROR(Pour(member, layers, *encoders[member.recipe], lane, results[member.recipe]));
        }
        return absl::OkStatus();
      };
      DECANT_RETURN_IF_ERROR(ComputePrompt(*run, pass.made.schedule, visitor));
      if (pass.members.front().recipe != 0) continue;
      DECANT_ASSIGN_OR_RETURN(first_token, run->SampleFirst(Sampling(), static_cast<int64_t>(prompt.size())));
    }
    return first_token;
  }

  absl::Status Pour(const RecipePass::Member& member, absl::Span<const LayerTap> layers, LayerEncoder& encoder,
                    SequenceId lane, Faithfulness& result) {
    std::vector<LayerTap> taps;
    for (const LayerTap& tap : layers) taps.push_back(RecipePass::TapFor(member, tap));
    absl::Time start = absl::Now();
    if (recipes_[member.recipe].needs_all_layers()) DECANT_RETURN_IF_ERROR(encoder.SelectAll(*stream_, taps));
    for (const LayerTap& tap : taps) {
      DECANT_ASSIGN_OR_RETURN(const EncodedLayer encoded, encoder.Encode(*stream_, tap, 0));
      result.encode_seconds += absl::ToDoubleSeconds(absl::Now() - start);
      result.wire_bytes += static_cast<double>(encoded.batch.size());
      DECANT_RETURN_IF_ERROR(batch_->Import(lane, encoded.batch));
      start = absl::Now();
    }
    return absl::OkStatus();
  }

  // Lane 0 is full precision. A lane that has once gone another way is compared no more.
  void Compare(absl::Span<const StepToken> tokens, absl::Span<const float> log_probabilities,
               std::vector<Lane>& lanes) const {
    const auto vocabulary = static_cast<size_t>(weights_.config().vocabulary);
    const auto place = [&](const Lane& lane) {
      return static_cast<size_t>(std::find_if(tokens.begin(), tokens.end(),
                                              [&](const StepToken& token) { return token.sequence == lane.sequence; }) -
                                 tokens.begin());
    };
    const size_t reference = place(lanes[0]);
    if (reference == tokens.size()) return;
    for (Lane& lane : lanes) {
      const size_t row = place(lane);
      if (!lane.agrees || row == tokens.size()) continue;
      ++lane.counted;
      lane.divergence += Divergence(log_probabilities.subspan(reference * vocabulary, vocabulary),
                                    log_probabilities.subspan(row * vocabulary, vocabulary));
      lane.agrees = tokens[row].token == tokens[reference].token;
      if (lane.agrees) ++lane.agreed;
    }
  }

  const LoadedModel& model_;
  const Weights& weights_;
  const std::vector<Recipe>& recipes_;
  const int32_t answer_tokens_;
  const std::unique_ptr<Stream> stream_;
  std::unique_ptr<DecodeBatch> batch_;
};

}  // namespace

absl::StatusOr<std::vector<Faithfulness>> MeasureFaithfulness(const LoadedModel& model,
                                                              const std::vector<std::vector<int32_t>>& prompts,
                                                              const std::vector<Recipe>& recipes, int32_t answer_tokens,
                                                              const std::function<void()>& prompt_done) {
  return Comparison(model, recipes, answer_tokens).Measure(prompts, prompt_done);
}

}  // namespace decant
