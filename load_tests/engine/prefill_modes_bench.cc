// What the modes of prefill cost beside the plain one, in turn: signals, the replay pass (KVzip), tokens left behind
// (FastKV). DECANT_MODEL names the model folder.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "gpu/engine/prompt_schedule.h"
#include "load_tests/engine/bench_model.h"
#include "load_tests/support/report.h"

namespace decant {
namespace {

constexpr int32_t kSinks = 4;

absl::StatusOr<double> Seconds(BenchModel& model, int32_t tokens, const PromptSchedule& schedule,
                               const PrefillOptions& options) {
  const double start = WallSeconds();
  DECANT_ASSIGN_OR_RETURN(const auto run, PrefillRun::Create(model.weights(), model.stream(), model.Tokens(tokens, 1),
                                                             OptionsFor(schedule, options)));
  PromptVisitor visitor;
  visitor.on_layers = [](absl::Span<const LayerTap>) { return absl::OkStatus(); };
  DECANT_RETURN_IF_ERROR(ComputePrompt(*run, schedule, visitor));
  DECANT_RETURN_IF_ERROR(run->SampleFirst(Sampling(), tokens).status());
  return WallSeconds() - start;
}

struct Mode {
  const char* name;
  PromptSchedule schedule;
  PrefillOptions options;
};

std::vector<Mode> ModesOf(const BenchModel& model, int32_t tokens) {
  std::vector<Mode> modes(5);
  modes[0].name = "plain";
  modes[1].name = "window_sums";
  modes[1].options.score = ScoreSource::kLastWindow;
  modes[2].name = "all_signals";
  modes[2].options.score = ScoreSource::kAllLaterQueries;
  modes[2].options.more_scores = {
      {ScoreSource::kLastWindow, 8}, {ScoreSource::kLastWindow, 32}, {ScoreSource::kLastWindow, 64}};
  modes[2].options.pre_rope_keys = true;
  modes[2].options.channel_peaks = true;
  modes[2].schedule.group = kAllLayers;
  modes[3].name = "with_replay";
  modes[3].schedule.group = kAllLayers;
  // A wording of the usual length.
  const std::vector<int32_t> words = model.Tokens(12, 2);
  modes[3].schedule.replay = RepeatPrompts(model.Tokens(tokens, 1), kSinks, tokens, RepeatWording{words, words, {}});
  modes[3].schedule.sinks = kSinks;
  modes[4].name = "fifth_of_tokens";
  modes[4].schedule.select_after = model.folder().config.layers / 2 - 1;
  modes[4].schedule.selection = TokenSelection{tokens / 5, 8, 7, false};
  return modes;
}

void Measure(Report& report, BenchModel& model, int32_t tokens, int rounds) {
  const std::vector<Mode> modes = ModesOf(model, tokens);
  std::vector<std::function<double()>> contestants;
  for (const Mode& mode : modes) {
    contestants.push_back([&] {
      const absl::StatusOr<double> seconds = Seconds(model, tokens, mode.schedule, mode.options);
      if (seconds.ok()) return *seconds;
      std::fprintf(stderr, "prefill_modes_bench: %s\n", seconds.status().ToString().c_str());
      std::exit(1);
    });
  }
  auto seconds = InterleavedRounds(rounds + 1, contestants);
  for (std::vector<double>& rounds_of : seconds) rounds_of.erase(rounds_of.begin());  // the first one warms up
  report.Add(absl::StrCat("prefill_", tokens, ".plain"), Median(seconds[0]), "s");
  for (size_t i = 1; i < modes.size(); ++i) {
    report.Add(absl::StrCat("prefill_", tokens, ".", modes[i].name), Median(seconds[i]), "s_of_plain",
               Median(seconds[0]), MedianRatio(seconds[i], seconds[0]));
  }
}

int Main(int argc, char** argv) {
  const LoadTestFlags flags = ParseLoadTestFlags(argc, argv);
  const std::string folder = BenchModelFolder();
  auto model = BenchModel::Load(folder);
  if (!model.ok()) {
    std::fprintf(stderr, "prefill_modes_bench: %s\n", model.status().ToString().c_str());
    return 1;
  }
  Report report(flags);
  std::printf("model %s, %d threads\n", folder.c_str(), (*model)->device().threads());
  for (const int32_t tokens : flags.quick ? std::vector<int32_t>{256} : std::vector<int32_t>{1024, 1920}) {
    Measure(report, **model, tokens, flags.quick ? 2 : 5);
  }
  return report.Finish();
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) { return decant::Main(argc, argv); }
