// Finds the thresholds alpha_h and alpha_l of a model (reference: the DiffKV paper, section 7.2: first alpha_h
// over 1..5 with alpha_l = 0, then alpha_l over 0, 0.02 .. 0.1; finer steps below 0.02 are ours).
//
// The measure: a prompt is computed once; its layers are encoded in full precision, as k8v4 and with every candidate,
// and all of them decode greedily in one batch. As long as a candidate has produced the same tokens as full precision,
// the divergence KL(full || candidate) of its next-token distribution counts; the share of tokens before the first
// different one is its agreement. k8v4 is what a candidate can be at best. Of the candidates whose mean divergence is
// at most k8v4's plus `loss`, the one with the fewest resident bytes wins; when none is, the most faithful one.
#ifndef DECANT_SERVICES_CLI_ALPHA_SEARCH_H_
#define DECANT_SERVICES_CLI_ALPHA_SEARCH_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/compress/profile.h"
#include "gpu/engine/loaded_model.h"

namespace decant {

struct AlphaSearchOptions {
  Profile profile;  // whose alphas are searched: its allocation is by threshold
  int32_t answer_tokens = 24;
  double loss = 0.05;  // nats per token that may be lost beside k8v4
  // Small models need more tokens in the high tier than the paper's 1..5 leave there.
  std::vector<double> highs = {0.05, 0.1, 0.2, 0.4, 0.8, 1, 1.5, 2, 3, 4, 5};
  // Small models lose facts that only one later question reads long before the paper's first step.
  std::vector<double> lows = {0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1};
  // Called after every prompt with prompts done and to do.
  std::function<void(int32_t done, int32_t all)> progress;
};

struct AlphaScore {
  std::string name;  // "full", "k8v4" or the alphas
  double alpha_high = 0;
  double alpha_low = 0;
  double divergence = 0;      // nats per token, mean over prompts
  double agreement = 0;       // share of the greedy answer before the first different token
  double resident_bytes = 0;  // mean per prompt
};

struct AlphaChoice {
  double alpha_high = 0;
  double alpha_low = 0;
  std::vector<AlphaScore> first;   // full, k8v4, then alpha_h swept
  std::vector<AlphaScore> second;  // full, k8v4, then alpha_l swept
};

// INVALID_ARGUMENT for a profile without thresholds, or without prompts.
absl::StatusOr<AlphaChoice> SearchAlphas(const LoadedModel& model, const std::vector<std::vector<int32_t>>& prompts,
                                         const AlphaSearchOptions& options);

// The index in `scores` of the winner by the rule above; the first two entries are full and k8v4.
size_t ChooseAlphas(const std::vector<AlphaScore>& scores, double loss);

}  // namespace decant

#endif  // DECANT_SERVICES_CLI_ALPHA_SEARCH_H_
