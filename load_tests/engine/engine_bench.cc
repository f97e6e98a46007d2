// Prefill and decode of a model beside transformers (PyTorch) on the same threads, and the bytes of weights that decode
// reads per second beside what memory gives. DECANT_TORCH_PYTHON names a Python with torch and transformers; without it
// the figures stand alone. DECANT_MODEL names the model folder.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "gpu/engine/prefill_run.h"
#include "load_tests/engine/bench_model.h"
#include "load_tests/engine/torch_peer.h"
#include "load_tests/support/report.h"

namespace decant {
namespace {

struct Sizes {
  int rounds = 5;
  int32_t prefill_tokens = 2048;
  int32_t context = 512;
  int32_t steps = 32;
};

int64_t ResidentBytes() {
  int64_t total = 0;
  int64_t resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

absl::StatusOr<double> PrefillRate(BenchModel& model, const Sizes& sizes) {
  const std::vector<int32_t> tokens = model.Tokens(sizes.prefill_tokens, 1);
  const double start = WallSeconds();
  DECANT_ASSIGN_OR_RETURN(const auto run,
                          PrefillRun::Create(model.weights(), model.stream(), tokens, PrefillOptions()));
  for (int32_t layer = 0; layer < model.folder().config.layers; ++layer) {
    DECANT_RETURN_IF_ERROR(run->ComputeLayer(layer).status());
  }
  DECANT_RETURN_IF_ERROR(run->SampleFirst(Sampling(), sizes.prefill_tokens).status());
  return sizes.prefill_tokens / (WallSeconds() - start);
}

// Tokens per second of `sequences` sequences that each hold `context` tokens in full pages.
absl::StatusOr<double> DecodeRate(BenchModel& model, const BenchPrompt& prompt, int32_t sequences, const Sizes& sizes) {
  DECANT_ASSIGN_OR_RETURN(const auto batch, model.NewBatch(int64_t{512} << 20, sequences));
  for (int32_t i = 0; i < sequences; ++i) {
    DECANT_RETURN_IF_ERROR(model.Start(*batch, prompt, sizes.steps + 2).status());
  }
  DECANT_RETURN_IF_ERROR(batch->Step().status());  // prepares the matrix products
  const double start = WallSeconds();
  for (int32_t step = 0; step < sizes.steps; ++step) DECANT_RETURN_IF_ERROR(batch->Step().status());
  return sequences * sizes.steps / (WallSeconds() - start);
}

// Bytes per second that all threads of the device read together.
class MemoryReader {
 public:
  explicit MemoryReader(Device& device) : device_(device), memory_(device.Allocate(kBytes).value()) {
    std::memset(memory_.As<void>(), 1, kBytes);
  }
  double Rate() {
    const int64_t words = kBytes / 8 / device_.threads();
    std::vector<uint64_t> sums(static_cast<size_t>(device_.threads()));
    const double start = WallSeconds();
    device_.ParallelFor(device_.threads(), [&](int64_t part, int) {
      const auto* at = memory_.As<uint64_t>() + part * words;
      uint64_t sum[8] = {};
      for (int64_t i = 0; i + 8 <= words; i += 8) {
        for (int lane = 0; lane < 8; ++lane) sum[lane] += at[i + lane];
      }
      for (const uint64_t s : sum) sums[static_cast<size_t>(part)] += s;
    });
    const double seconds = WallSeconds() - start;
    // What nobody uses would not be read.
    DECANT_CHECK(sums[0] != 0);
    return static_cast<double>(kBytes) / seconds;
  }

 private:
  static constexpr int64_t kBytes = int64_t{512} << 20;
  Device& device_;
  Buffer memory_;
};

double Or(const absl::StatusOr<double>& value) {
  if (!value.ok()) {
    std::fprintf(stderr, "engine_bench: %s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *value;
}

// One figure beside PyTorch, measured in turn.
std::vector<double> Compare(Report& report, absl::string_view name, int rounds, TorchPeer* torch,
                            const std::string& request, const std::function<double()>& ours) {
  std::vector<std::function<double()>> contestants = {ours};
  if (torch != nullptr) contestants.push_back([&] { return Or(torch->Measure(request)); });
  const auto rates = InterleavedRounds(rounds + 1, contestants);
  const std::vector<double> own(rates[0].begin() + 1, rates[0].end());  // the first round warms up
  if (torch == nullptr) {
    report.Add(name, Median(own), "tokens/s");
    return own;
  }
  const std::vector<double> theirs(rates[1].begin() + 1, rates[1].end());
  report.Add(name, Median(own), absl::StrCat("tokens/s_of_", torch->name()), Median(theirs), MedianRatio(own, theirs));
  return own;
}

int Main(int argc, char** argv) {
  const LoadTestFlags flags = ParseLoadTestFlags(argc, argv);
  Sizes sizes;
  if (flags.quick) sizes = Sizes{2, 512, 128, 8};
  const std::string folder = BenchModelFolder();
  const double start = WallSeconds();
  auto loaded = BenchModel::Load(folder);
  if (!loaded.ok()) {
    std::fprintf(stderr, "engine_bench: %s\n", loaded.status().ToString().c_str());
    return 1;
  }
  BenchModel& model = **loaded;
  Report report(flags);
  std::printf("model %s, %s, %d threads\n", folder.c_str(),
              model.weights().run_type() == RunType::kBf16 ? "bf16" : "f32", model.device().threads());
  report.Add("engine.load", WallSeconds() - start, "s");
  report.Add("engine.resident_after_load", static_cast<double>(ResidentBytes()), "bytes_of_weights",
             static_cast<double>(model.weights().bytes()));
  const std::unique_ptr<TorchPeer> torch = TorchPeer::Start(folder, model.device().threads());
  if (torch == nullptr) std::printf("DECANT_TORCH_PYTHON is not set or has no transformers: no baseline\n");

  Compare(report, absl::StrCat("engine.prefill_", sizes.prefill_tokens), sizes.rounds, torch.get(),
          absl::StrCat("prefill ", sizes.prefill_tokens), [&] { return Or(PrefillRate(model, sizes)); });
  const absl::StatusOr<BenchPrompt> prompt = model.Encode(sizes.context, "full", 2);
  DECANT_CHECK_MSG(prompt.ok(), "%s", prompt.status().ToString().c_str());
  MemoryReader reader(model.device());
  std::vector<double> read;
  std::vector<double> single;
  for (const int32_t batch : {1, 8}) {
    const std::vector<double> rates =
        Compare(report, absl::StrCat("engine.decode_", batch), sizes.rounds, torch.get(),
                absl::StrCat("decode ", batch, " ", sizes.context, " ", sizes.steps), [&] {
                  if (batch == 1) read.push_back(reader.Rate());
                  return Or(DecodeRate(model, *prompt, batch, sizes));
                });
    if (batch == 1) single = rates;
  }
  read.erase(read.begin());
  std::vector<double> weight_rates;
  for (const double rate : single) weight_rates.push_back(rate * static_cast<double>(model.weights().bytes()));
  report.Add("engine.decode_1_weight_bytes", Median(weight_rates) * 1e-9, "GB/s_of_memory_reads", Median(read) * 1e-9,
             MedianRatio(weight_rates, read));
  return report.Finish();
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) { return decant::Main(argc, argv); }
