// Prefill of one long prompt, as prefill workers run it: prints one JSON line with the rate of every round, the time to
// load the weights and the process's resident memory after loading.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "common/base/status_macros.h"
#include "gpu/engine/prefill_run.h"

namespace decant {
namespace {

struct Options {
  std::string model;
  int threads = 2;
  int tokens = 2048;
  int rounds = 5;
  std::string dtype = "auto";
  std::string score = "none";
};

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

int64_t ResidentBytes() {
  int64_t total = 0;
  int64_t resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

absl::StatusOr<double> OneRound(const Weights& weights, Stream& stream, const std::vector<int32_t>& tokens,
                                ScoreSource score) {
  PrefillOptions options;
  options.score = score;
  const double begin = Seconds();
  DECANT_ASSIGN_OR_RETURN(const auto run, PrefillRun::Create(weights, stream, tokens, options));
  for (int32_t layer = 0; layer < weights.config().layers; ++layer) {
    DECANT_RETURN_IF_ERROR(run->ComputeLayer(layer).status());
  }
  DECANT_RETURN_IF_ERROR(run->SampleFirst(Sampling(), static_cast<int64_t>(tokens.size())).status());
  return static_cast<double>(tokens.size()) / (Seconds() - begin);
}

absl::Status Measure(const Options& options) {
  const auto device = CreateHostDevice(options.threads);
  const auto stream = device->NewStream();
  const double begin = Seconds();
  DECANT_ASSIGN_OR_RETURN(const ModelFolder folder, OpenModelFolder(options.model));
  const double opened = Seconds();
  const RunType type = options.dtype == "f32"    ? RunType::kF32
                       : options.dtype == "bf16" ? RunType::kBf16
                                                 : PreferredRunType(*device);
  DECANT_ASSIGN_OR_RETURN(const auto weights, Weights::Load(*device, folder, type));
  const double loaded = Seconds();
  const int64_t resident = ResidentBytes();
  const ScoreSource score = options.score == "all"      ? ScoreSource::kAllLaterQueries
                            : options.score == "window" ? ScoreSource::kLastWindow
                                                        : ScoreSource::kNone;
  std::vector<int32_t> tokens(static_cast<size_t>(options.tokens));
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<int32_t>(MixBits(1, i) % static_cast<uint64_t>(folder.config.vocabulary));
  }
  std::string rates;
  for (int round = 0; round <= options.rounds; ++round) {
    DECANT_ASSIGN_OR_RETURN(const double rate, OneRound(*weights, *stream, tokens, score));
    // The first round compiles kernels.
    if (round > 0) rates += (round > 1 ? ", " : "") + std::to_string(rate);
  }
  std::printf(
      "{\"what\": \"prefill\", \"dtype\": \"%s\", \"score\": \"%s\", \"threads\": %d, \"tokens\": %d, "
      "\"tokens_per_second\": [%s], \"open_seconds\": %.3f, \"load_seconds\": %.3f, \"weight_bytes\": %lld, "
      "\"resident_bytes\": %lld}\n",
      type == RunType::kBf16 ? "bf16" : "f32", options.score.c_str(), options.threads, options.tokens, rates.c_str(),
      opened - begin, loaded - opened, static_cast<long long>(weights->bytes()), static_cast<long long>(resident));
  return absl::OkStatus();
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) {
  decant::Options options;
  CLI::App app("Prefill rate of a model folder on the host device");
  app.add_option("--model", options.model, "Hugging Face folder")->required();
  app.add_option("--threads", options.threads, "threads of the device");
  app.add_option("--tokens", options.tokens, "length of the prompt");
  app.add_option("--rounds", options.rounds, "timed rounds");
  app.add_option("--dtype", options.dtype, "auto, bf16 or f32")->check(CLI::IsMember({"auto", "bf16", "f32"}));
  app.add_option("--score", options.score, "sums for the score stage: none, all or window")
      ->check(CLI::IsMember({"none", "all", "window"}));
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = decant::Measure(options);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
