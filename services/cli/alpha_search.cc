#include "services/cli/alpha_search.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "gpu/engine/decode_batch.h"
#include "gpu/engine/layer_encoder.h"
#include "gpu/engine/prefill_run.h"

namespace decant {
namespace {

struct Candidate {
  AlphaScore score;
  Recipe recipe;
};

// One prompt's way through a batch of candidates.
struct Lane {
  SequenceId sequence = 0;
  bool agrees = true;  // with full precision so far
  int32_t agreed = 0;
  int32_t counted = 0;
  double divergence = 0;
};

// KL(p || q) of the distributions that two rows of logits stand for.
double Divergence(absl::Span<const float> p, absl::Span<const float> q) {
  const auto log_sum = [](absl::Span<const float> row) {
    const double top = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (const float x : row) sum += std::exp(x - top);
    return top + std::log(sum);
  };
  const double log_p = log_sum(p);
  const double log_q = log_sum(q);
  double divergence = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double log_pi = p[i] - log_p;
    divergence += std::exp(log_pi) * (log_pi - (q[i] - log_q));
  }
  return std::max(0.0, divergence);
}

class Search {
 public:
  Search(const LoadedModel& model, const AlphaSearchOptions& options)
      : model_(model), options_(options), weights_(*model.weights), stream_(model.device->NewStream()) {}

  absl::StatusOr<std::vector<AlphaScore>> Measure(const std::vector<std::vector<int32_t>>& prompts,
                                                  std::vector<Candidate> candidates) {
    size_t longest = 0;
    for (const auto& prompt : prompts) longest = std::max(longest, prompt.size());
    DecodeOptions batch;
    batch.max_sequences = static_cast<int32_t>(candidates.size());
    // Room for every candidate at f32, and a quarter for tail pages.
    const int64_t tokens = static_cast<int64_t>(longest) + options_.answer_tokens;
    batch.kv_budget_bytes = static_cast<int64_t>(candidates.size() + 1) * tokens *
                                weights_.config().geometry().full_bytes_per_token() * 5 / 2 +
                            (int64_t{16} << 20);
    DECANT_ASSIGN_OR_RETURN(batch_, DecodeBatch::Create(weights_, *stream_, batch));
    for (const auto& prompt : prompts) {
      DECANT_RETURN_IF_ERROR(Run(prompt, candidates));
      ++done_;
      if (options_.progress) options_.progress(done_, 2 * static_cast<int32_t>(prompts.size()));
    }
    std::vector<AlphaScore> scores;
    for (Candidate& candidate : candidates) {
      const auto count = static_cast<double>(prompts.size());
      candidate.score.divergence /= count;
      candidate.score.agreement /= count;
      candidate.score.resident_bytes /= count;
      scores.push_back(candidate.score);
    }
    return scores;
  }

  absl::StatusOr<Candidate> Make(absl::string_view name, const Profile& profile) const {
    Candidate candidate;
    candidate.score.name = std::string(name);
    candidate.score.alpha_high = profile.alpha_high;
    candidate.score.alpha_low = profile.alpha_low;
    DECANT_ASSIGN_OR_RETURN(candidate.recipe, Compile(profile, weights_.config().geometry(), weights_.run_type()));
    return candidate;
  }

 private:
  absl::Status Run(const std::vector<int32_t>& prompt, std::vector<Candidate>& candidates) {
    std::vector<Lane> lanes(candidates.size());
    const auto remove = absl::MakeCleanup([&] {
      for (const Lane& lane : lanes) {
        if (lane.sequence != 0) batch_->Remove(lane.sequence);
      }
    });
    DECANT_ASSIGN_OR_RETURN(const int32_t first, Prefill(prompt, candidates, lanes));
    for (const Lane& lane : lanes) DECANT_RETURN_IF_ERROR(batch_->Join(lane.sequence, first));
    const auto vocabulary = static_cast<size_t>(weights_.config().vocabulary);
    std::vector<float> logits(vocabulary * lanes.size());
    for (int32_t step = 0; step < options_.answer_tokens; ++step) {
      DECANT_ASSIGN_OR_RETURN(const auto tokens, batch_->Step());
      DECANT_RETURN_IF_ERROR(batch_->CopyLogits(absl::MakeSpan(logits)));
      Compare(tokens, logits, lanes);
    }
    for (size_t i = 0; i < lanes.size(); ++i) {
      AlphaScore& score = candidates[i].score;
      score.divergence += lanes[i].divergence / std::max(1, lanes[i].counted);
      score.agreement += static_cast<double>(lanes[i].agreed) / options_.answer_tokens;
      DECANT_ASSIGN_OR_RETURN(const SequenceUse use, batch_->Use(lanes[i].sequence));
      score.resident_bytes += static_cast<double>(use.resident_bytes);
    }
    return absl::OkStatus();
  }

  // Computes the prompt once and hands every layer to every lane in its own form.
  absl::StatusOr<int32_t> Prefill(const std::vector<int32_t>& prompt, const std::vector<Candidate>& candidates,
                                  std::vector<Lane>& lanes) {
    PrefillOptions options;
    for (const Candidate& candidate : candidates) options.score = std::max(options.score, candidate.recipe.score);
    options.window = options_.profile.window;
    DECANT_ASSIGN_OR_RETURN(const auto run, PrefillRun::Create(weights_, *stream_, prompt, options));
    std::vector<std::unique_ptr<LayerEncoder>> encoders;
    for (size_t i = 0; i < candidates.size(); ++i) {
      LayerEncoderOptions encoding;
      encoding.recipe = candidates[i].recipe;
      encoding.geometry = weights_.config().geometry();
      encoding.run_type = weights_.run_type();
      encoding.prompt_tokens = static_cast<int32_t>(prompt.size());
      encoding.model = model_.folder.fingerprint;
      DECANT_ASSIGN_OR_RETURN(auto encoder, LayerEncoder::Create(*model_.device, encoding));
      encoders.push_back(std::move(encoder));
      SequenceOptions sequence;
      sequence.prompt_tokens = encoding.prompt_tokens;
      sequence.max_tokens = options_.answer_tokens + 1;
      sequence.recipe = candidates[i].recipe;
      DECANT_ASSIGN_OR_RETURN(lanes[i].sequence, batch_->Reserve(sequence));
    }
    for (int32_t layer = 0; layer < weights_.config().layers; ++layer) {
      DECANT_ASSIGN_OR_RETURN(const LayerTap tap, run->ComputeLayer(layer));
      for (size_t i = 0; i < lanes.size(); ++i) {
        DECANT_ASSIGN_OR_RETURN(const EncodedLayer encoded, encoders[i]->Encode(*stream_, tap, 0));
        DECANT_RETURN_IF_ERROR(batch_->Import(lanes[i].sequence, encoded.batch));
      }
    }
    return run->SampleFirst(Sampling(), static_cast<int64_t>(prompt.size()));
  }

  // Lane 0 is full precision. A lane that has once gone another way is compared no more.
  void Compare(absl::Span<const StepToken> tokens, absl::Span<const float> logits, std::vector<Lane>& lanes) const {
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
      lane.divergence +=
          Divergence(logits.subspan(reference * vocabulary, vocabulary), logits.subspan(row * vocabulary, vocabulary));
      lane.agrees = tokens[row].token == tokens[reference].token;
      if (lane.agrees) ++lane.agreed;
    }
  }

  const LoadedModel& model_;
  const AlphaSearchOptions& options_;
  const Weights& weights_;
  const std::unique_ptr<Stream> stream_;
  std::unique_ptr<DecodeBatch> batch_;
  int32_t done_ = 0;
};

}  // namespace

size_t ChooseAlphas(const std::vector<AlphaScore>& scores, double loss) {
  const double allowed = scores[1].divergence + loss;
  size_t best = 2;
  for (size_t i = 3; i < scores.size(); ++i) {
    const bool best_fits = scores[best].divergence <= allowed;
    const bool fits = scores[i].divergence <= allowed;
    const bool better = fits && best_fits ? scores[i].resident_bytes < scores[best].resident_bytes
                                          : fits || (!best_fits && scores[i].divergence < scores[best].divergence);
    if (better) best = i;
  }
  return best;
}

absl::StatusOr<AlphaChoice> SearchAlphas(const LoadedModel& model, const std::vector<std::vector<int32_t>>& prompts,
                                         const AlphaSearchOptions& options) {
  if (options.profile.allocate == "all_high" || options.highs.empty() || options.lows.empty() || prompts.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("nothing to search: profile ", options.profile.name, " allocates ",
                                                   options.profile.allocate, ", ", prompts.size(), " prompts"));
  }
  DECANT_ASSIGN_OR_RETURN(const Catalogue catalogue, Catalogue::BuiltIn());
  Search search(model, options);
  const auto measure =
      [&](const std::vector<std::pair<double, double>>& alphas) -> absl::StatusOr<std::vector<AlphaScore>> {
    std::vector<Candidate> candidates;
    for (const char* name : {"full", "k8v4"}) {
      DECANT_ASSIGN_OR_RETURN(const Profile profile, catalogue.Find(name));
      DECANT_ASSIGN_OR_RETURN(Candidate candidate, search.Make(name, profile));
      candidates.push_back(std::move(candidate));
    }
    for (const auto& [high, low] : alphas) {
      Profile profile = options.profile;
      profile.alpha_high = high;
      profile.alpha_low = low;
      DECANT_ASSIGN_OR_RETURN(Candidate candidate, search.Make(absl::StrCat(high, " / ", low), profile));
      candidates.push_back(std::move(candidate));
    }
    return search.Measure(prompts, std::move(candidates));
  };
  AlphaChoice choice;
  std::vector<std::pair<double, double>> alphas;
  for (const double high : options.highs) alphas.emplace_back(high, 0.0);
  DECANT_ASSIGN_OR_RETURN(choice.first, measure(alphas));
  choice.alpha_high = choice.first[ChooseAlphas(choice.first, options.loss)].alpha_high;
  alphas.clear();
  for (const double low : options.lows) alphas.emplace_back(choice.alpha_high, low);
  DECANT_ASSIGN_OR_RETURN(choice.second, measure(alphas));
  choice.alpha_low = choice.second[ChooseAlphas(choice.second, options.loss)].alpha_low;
  return choice;
}

}  // namespace decant
