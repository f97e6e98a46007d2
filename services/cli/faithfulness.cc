#include "services/cli/faithfulness.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "common/index/keys.h"
#include "common/model/log_probabilities.h"
#include "gpu/engine/decode_batch.h"
#include "gpu/engine/layer_encoder.h"
#include "gpu/engine/prefill_run.h"
#include "gpu/engine/prefix_loader.h"
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
  // With `stored` all recipes but the first get the beginning of every prompt in that form.
  Comparison(const LoadedModel& model, const std::vector<Recipe>& recipes, int32_t answer_tokens,
             const Recipe* stored = nullptr)
      : model_(model),
        weights_(*model.weights),
        recipes_(recipes),
        answer_tokens_(answer_tokens),
        stored_form_(stored),
        stream_(model.device->NewStream()) {}

  double reused_tokens() const { return reused_tokens_; }  // sums over prompts
  double prefix_wire_bytes() const { return prefix_wire_bytes_; }

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
    stored_layers_.clear();
    DECANT_ASSIGN_OR_RETURN(const int32_t first, Prefill(prompt, results, lanes));
    for (size_t i = 1; i < lanes.size() && stored_form_ != nullptr; ++i) {
      DECANT_RETURN_IF_ERROR(PourHit(prompt, recipes_[i], lanes[i].sequence));
    }
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

  absl::StatusOr<std::unique_ptr<LayerEncoder>> MakeEncoder(const Recipe& recipe, int32_t prompt_tokens,
                                                            Provenance prefix = Provenance::kExact) const {
    LayerEncoderOptions encoding;
    encoding.recipe = recipe;
    encoding.geometry = weights_.config().geometry();
    encoding.run_type = weights_.run_type();
    encoding.prompt_tokens = prompt_tokens;
    encoding.model = model_.folder.fingerprint;
    encoding.k_norm = weights_.config().qk_norm;
    encoding.prefix_provenance = prefix;
    encoding.inverse_frequencies = weights_.config().inverse_frequencies;
    encoding.rope_magnitude = weights_.config().rope_magnitude;
    return LayerEncoder::Create(*model_.device, encoding);
  }

  // Computes the prompt as often as the recipes need and hands every layer to every lane in its own form. Returns the
  // first recipe's first token, with which all lanes go on.
  absl::StatusOr<int32_t> Prefill(const std::vector<int32_t>& prompt, std::vector<Faithfulness>& results,
                                  std::vector<Lane>& lanes) {
    std::vector<std::unique_ptr<LayerEncoder>> encoders;
    for (size_t i = 0; i < recipes_.size(); ++i) {
      DECANT_ASSIGN_OR_RETURN(auto encoder, MakeEncoder(recipes_[i], static_cast<int32_t>(prompt.size())));
      encoders.push_back(std::move(encoder));
      SequenceOptions sequence;
      sequence.prompt_tokens = static_cast<int32_t>(prompt.size());
      sequence.fixed = stored_form_ == nullptr ? FormatId::kNone : recipes_[i].prefix_format();
      sequence.max_tokens = answer_tokens_ + 1;
      sequence.recipe = recipes_[i];
      DECANT_ASSIGN_OR_RETURN(lanes[i].sequence, batch_->Reserve(sequence));
    }
    // Hits are poured afterwards, from what the reference's run leaves.
    const absl::Span<const Recipe> cold = absl::MakeConstSpan(recipes_).first(stored_form_ ? 1 : recipes_.size());
    std::unique_ptr<LayerEncoder> store;
    if (stored_form_ != nullptr) {
      DECANT_ASSIGN_OR_RETURN(store, MakeEncoder(*stored_form_, static_cast<int32_t>(prompt.size())));
    }
    DECANT_ASSIGN_OR_RETURN(const std::vector<RecipePass> passes,
                            PassesFor(cold, weights_.config(), model_.folder.tokenizer.get(), prompt));
    int32_t first_token = 0;
    for (const RecipePass& pass : passes) {
      DECANT_ASSIGN_OR_RETURN(const auto run, PrefillRun::Create(weights_, *stream_, prompt, pass.made.options));
      PromptVisitor visitor;
      visitor.on_layers = [&](absl::Span<const LayerTap> layers) -> absl::Status {
        for (const RecipePass::Member& member : pass.members) {
          const SequenceId lane = lanes[member.recipe].sequence;
          DECANT_RETURN_IF_ERROR(Pour(member, layers, *encoders[member.recipe], lane, results[member.recipe]));
        }
        for (const LayerTap& tap : layers) {
          if (store == nullptr) break;
          DECANT_ASSIGN_OR_RETURN(EncodedLayer layer, store->Encode(*stream_, tap, 0));
          stored_layers_.push_back(std::move(layer));
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

  // As prefill does with a prefix from the pool.
  absl::Status PourHit(const std::vector<int32_t>& prompt, const Recipe& recipe, SequenceId lane) {
    const auto tokens = static_cast<int32_t>(prompt.size());
    const int32_t chunks = (tokens - recipe.least_computed()) / kDefaultChunkTokens;
    if (chunks < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("a prompt of ", tokens, " tokens has no chunk that ", recipe.profile, " could reuse"));
    }
    const FormatId format = stored_form_->high;
    const bool forwards = recipe.forwards_prefix() && (format == recipe.high || format == recipe.prefix_format());
    const ModelConfig& config = weights_.config();
    PrefixLoaderOptions loading;
    loading.geometry = config.geometry();
    loading.run_type = weights_.run_type();
    loading.model = model_.folder.fingerprint;
    loading.k_norm = config.qk_norm;
    DECANT_ASSIGN_OR_RETURN(const auto loader, PrefixLoader::Create(*model_.device, loading));
    const Provenance provenance = stored_form_->exact() ? Provenance::kExact : Provenance::kQuantised;
    DECANT_ASSIGN_OR_RETURN(const auto encoder, MakeEncoder(recipe, tokens, provenance));
    DECANT_ASSIGN_OR_RETURN(const RecipeSchedule made, ScheduleFor(recipe, config, model_.folder.tokenizer.get(),
                                                                   prompt, chunks * kDefaultChunkTokens));
    DECANT_ASSIGN_OR_RETURN(const auto run, PrefillRun::Create(weights_, *stream_, prompt, made.options));
    PromptVisitor visitor;
    visitor.before_layer = [&](int32_t layer) {
      return loader->Load(*stream_, layer, StoredFrames(layer, chunks), run->PrefixTarget(layer));
    };
    visitor.on_layers = [&](absl::Span<const LayerTap> layers) -> absl::Status {
      if (recipe.needs_all_layers()) DECANT_RETURN_IF_ERROR(encoder->SelectAll(*stream_, layers));
      for (const LayerTap& tap : layers) {
        DECANT_ASSIGN_OR_RETURN(const EncodedLayer encoded, encoder->Encode(*stream_, tap, forwards ? chunks : 0));
        DECANT_RETURN_IF_ERROR(batch_->Import(lane, WithPrefix(encoded, chunks, forwards)));
      }
      return absl::OkStatus();
    };
    reused_tokens_ += chunks * kDefaultChunkTokens;
    return ComputePrompt(*run, made.schedule, visitor);
  }

  std::vector<StoredFrame> StoredFrames(int32_t layer, int32_t chunks) const {
    const EncodedLayer& stored = stored_layers_[static_cast<size_t>(layer)];
    std::vector<StoredFrame> frames;
    for (int32_t i = 0; i < chunks; ++i) {
      const EncodedChunk& chunk = stored.chunks[static_cast<size_t>(i)];
      frames.emplace_back(stored.batch.data() + chunk.frame_offset, static_cast<size_t>(chunk.frame_bytes));
    }
    return frames;
  }

  // The layer as it travels: a chunk's overlay right behind its frame, whoever made the frame.
  std::vector<uint8_t> WithPrefix(const EncodedLayer& encoded, int32_t chunks, bool forwards) {
    std::vector<StoredFrame> frames;
    if (forwards) frames = StoredFrames(encoded.layer, chunks);
    std::vector<uint8_t> batch;
    const auto add = [&](int64_t offset, int64_t bytes) {
      batch.insert(batch.end(), encoded.batch.begin() + offset, encoded.batch.begin() + offset + bytes);
    };
    // Without overlays a forwarded chunk is not among the encoded ones.
    size_t next = 0;
    for (int32_t index = 0; next < encoded.chunks.size(); ++index) {
      const auto place = static_cast<size_t>(index);
      if (place < frames.size()) batch.insert(batch.end(), frames[place].begin(), frames[place].end());
      const EncodedChunk& chunk = encoded.chunks[next];
      if (chunk.first_token == index * kDefaultChunkTokens) {
        add(chunk.frame_offset, chunk.frame_bytes);
        add(chunk.overlay_offset, chunk.overlay_bytes);
        ++next;
      }
      if (index + 1 == chunks) prefix_wire_bytes_ += static_cast<double>(batch.size());
    }
    return batch;
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
  const Recipe* const stored_form_;
  const std::unique_ptr<Stream> stream_;
  std::vector<EncodedLayer> stored_layers_;  // of the prompt under way
  double reused_tokens_ = 0;
  double prefix_wire_bytes_ = 0;
  std::unique_ptr<DecodeBatch> batch_;
};

}  // namespace

absl::StatusOr<std::vector<Faithfulness>> MeasureFaithfulness(const LoadedModel& model,
                                                              const std::vector<std::vector<int32_t>>& prompts,
                                                              const std::vector<Recipe>& recipes, int32_t answer_tokens,
                                                              const std::function<void()>& prompt_done) {
  return Comparison(model, recipes, answer_tokens).Measure(prompts, prompt_done);
}

absl::StatusOr<HitFaithfulness> MeasureHit(const LoadedModel& model, const std::vector<std::vector<int32_t>>& prompts,
                                           const Recipe& full, const Recipe& recipe, const Recipe& stored,
                                           int32_t answer_tokens) {
  const std::vector<Recipe> recipes = {full, recipe};
  Comparison comparison(model, recipes, answer_tokens, &stored);
  DECANT_ASSIGN_OR_RETURN(const std::vector<Faithfulness> measured, comparison.Measure(prompts, nullptr));
  const auto count = static_cast<double>(prompts.size());
  HitFaithfulness hit;
  hit.agreement = measured[1].agreement;
  hit.resident_bytes = measured[1].resident_bytes;
  hit.reused_tokens = comparison.reused_tokens() / count;
  hit.prefix_wire_bytes = comparison.prefix_wire_bytes() / count;
  return hit;
}

}  // namespace decant
