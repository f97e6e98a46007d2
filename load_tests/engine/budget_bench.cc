// How many sequences of one size run at once under a fixed budget of page bytes, and how fast, per profile. The bound
// is budget / true bytes of a sequence: what its pages hold at the end, whole pages counted.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "load_tests/engine/bench_model.h"
#include "load_tests/support/report.h"

namespace decant {
namespace {

struct Sizes {
  int64_t budget_bytes = int64_t{128} << 20;
  int32_t prompt_tokens = 1024;
  int32_t max_tokens = 33;
  int rounds = 5;
};
constexpr int32_t kMostSequences = 64;

struct Outcome {
  int32_t sequences = 0;
  double tokens_per_second = 0;
  double bytes_per_sequence = 0;  // at the end
};

// Frozen groups of 32 tokens want pages of their own size; the others share those of a worker for the common formats.
std::vector<FormatId> FormatsOfSplit(const Recipe& recipe) {
  if (!recipe.split()) return {};
  return {recipe.high, recipe.low, recipe.window_keys, recipe.window_values};
}

// Admits sequences until the pages are promised, then runs all to their end.
absl::StatusOr<Outcome> Run(BenchModel& model, const BenchPrompt& prompt, const Sizes& sizes) {
  DECANT_ASSIGN_OR_RETURN(const auto batch,
                          model.NewBatch(sizes.budget_bytes, kMostSequences, FormatsOfSplit(prompt.recipe)));
  std::vector<SequenceId> ids;
  while (static_cast<int32_t>(ids.size()) < kMostSequences) {
    const absl::StatusOr<SequenceId> id = model.Start(*batch, prompt, sizes.max_tokens);
    if (id.status().code() == absl::StatusCode::kResourceExhausted) break;
    DECANT_RETURN_IF_ERROR(id.status());
    ids.push_back(*id);
  }
  Outcome outcome;
  outcome.sequences = static_cast<int32_t>(ids.size());
  DECANT_RETURN_IF_ERROR(batch->Step().status());  // prepares the matrix products
  int64_t tokens = 0;
  const double start = WallSeconds();
  while (batch->running() > 0) {
    DECANT_ASSIGN_OR_RETURN(const absl::Span<const StepToken> step, batch->Step());
    tokens += static_cast<int64_t>(step.size());
  }
  outcome.tokens_per_second = static_cast<double>(tokens) / (WallSeconds() - start);
  for (const SequenceId id : ids) {
    DECANT_ASSIGN_OR_RETURN(const SequenceUse use, batch->Use(id));
    outcome.bytes_per_sequence += static_cast<double>(use.resident_bytes) / static_cast<double>(ids.size());
  }
  return outcome;
}

absl::Status Measure(BenchModel& model, const Sizes& sizes, Report& report) {
  const std::vector<std::string> profiles = {"full", "k8v4", "diffkv", "kivi4", "kivi2", "decant"};
  std::vector<BenchPrompt> prompts;
  for (const std::string& profile : profiles) {
    DECANT_ASSIGN_OR_RETURN(BenchPrompt prompt, model.Encode(sizes.prompt_tokens, profile, 3));
    prompts.push_back(std::move(prompt));
  }
  std::vector<Outcome> last(profiles.size());
  std::vector<std::vector<double>> rates(profiles.size());
  for (int round = 0; round < sizes.rounds; ++round) {
    for (size_t i = 0; i < profiles.size(); ++i) {
      DECANT_ASSIGN_OR_RETURN(last[i], Run(model, prompts[i], sizes));
      rates[i].push_back(last[i].tokens_per_second);
    }
  }
  for (size_t i = 0; i < profiles.size(); ++i) {
    const double bound = static_cast<double>(sizes.budget_bytes) / last[i].bytes_per_sequence;
    report.Add(absl::StrCat("budget.sequences_", profiles[i]), last[i].sequences, "sequences_of_bound",
               std::min<double>(bound, kMostSequences));
    report.Add(absl::StrCat("budget.bytes_", profiles[i]), last[i].bytes_per_sequence, "bytes_per_sequence_of_full",
               last[0].bytes_per_sequence);
    report.Add(absl::StrCat("budget.rate_", profiles[i]), Median(rates[i]), "tokens/s_of_full", Median(rates[0]),
               MedianRatio(rates[i], rates[0]));
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  const LoadTestFlags flags = ParseLoadTestFlags(argc, argv);
  Sizes sizes;
  const std::string folder = BenchModelFolder();
  auto model = BenchModel::Load(folder);
  if (!model.ok()) {
    std::fprintf(stderr, "budget_bench: %s\n", model.status().ToString().c_str());
    return 1;
  }
  if (flags.quick) sizes = Sizes{int64_t{48} << 20, 384, 9, 2};
  std::printf("model %s, budget %lld bytes, prompts of %d and answers of %d tokens\n", folder.c_str(),
              static_cast<long long>(sizes.budget_bytes), sizes.prompt_tokens, sizes.max_tokens);
  Report report(flags);
  if (const absl::Status status = Measure(**model, sizes, report); !status.ok()) {
    std::fprintf(stderr, "budget_bench: %s\n", status.ToString().c_str());
    return 1;
  }
  return report.Finish();
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) { return decant::Main(argc, argv); }
