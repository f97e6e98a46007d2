// Whether time tells a tenant what another has asked: through the four processes, first tokens of prompts that another
// tenant asked just before against those that nobody has, told apart by nothing but how long they took.
//
//   tenant_timing_auc   how often the shorter time is the other's prompt: 0.5 is chance; of an area A below 0.5, 1 - A
//   own_timing_auc      the same for prompts the tenant asked itself, which reuse makes quick: that the instrument sees
//
// Every prompt is new, has as many words, and is preceded by the same work of another tenant: the same prompt, or one
// of the same length. Which of the two comes is drawn by a seeded coin.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/base/random.h"
#include "common/metrics/names.h"
#include "load_tests/support/report.h"
#include "tests/e2e/cluster.h"

namespace decant {
namespace {

constexpr int32_t kWords = 150;

class Bench {
 public:
  Bench() {
    const std::string secret = absl::StrCat("/tmp/decant_tenants_bench_", absl::GetCurrentTimeNanos());
    std::ofstream(secret) << "a secret of this bench";
    ClusterOptions options;
    options.pool_flags = {"--pool-bytes", "128MB"};
    options.router_flags = {"--tenant-secret", secret};
    auto cluster = Cluster::Start(options);
    DECANT_CHECK_MSG(cluster.ok(), "%s", cluster.status().ToString().c_str());
    cluster_ = *std::move(cluster);
    std::remove(secret.c_str());
  }

  // Milliseconds until the first token, as the client sees it; waits until the prompt has been offered to the pool.
  double Ask(const std::string& tenant, uint64_t document) {
    const double before = Published();
    const v1::GenerateRequest request = decant::Request(Document(document, kWords), "full", 1);
    const double start = WallSeconds();
    double first = 0;
    const auto answer = GenerateOnce(
        cluster_->router.address, request, kPatience,
        [&](absl::string_view) {
          if (first == 0) first = WallSeconds();
        },
        tenant);
    DECANT_CHECK_MSG(answer.ok(), "%s", answer.status().ToString().c_str());
    if (first == 0) first = WallSeconds();
    const bool published = answer->finished.prefix_tokens_reused() + 64 < answer->finished.prompt_tokens();
    if (published) {
      DECANT_CHECK(WaitUntil([&] { return Published() > before; }).ok());
    }
    return (first - start) * 1000;
  }

 private:
  double Published() const { return MetricSum(cluster_->pool.metrics, metric::kPoolPublished); }
  std::unique_ptr<Cluster> cluster_;
};

// The chance that a time of `a` is below one of `b`; equal ones count half.
double Auc(const std::vector<double>& a, std::vector<double> b) {
  std::sort(b.begin(), b.end());
  double below = 0;
  for (const double time : a) {
    const auto [first, last] = std::equal_range(b.begin(), b.end(), time);
    below += static_cast<double>(b.end() - last) + static_cast<double>(last - first) / 2;
  }
  return below / (static_cast<double>(a.size()) * static_cast<double>(b.size()));
}

// The distinguisher's area for prompts that `holder` asked before against new ones.
double Distinguish(Bench& bench, const std::string& holder, const std::string& asker, int trials, uint64_t seed) {
  std::vector<double> held;
  std::vector<double> fresh;
  for (int i = 0; i < trials; ++i) {
    const uint64_t prompt = seed + 2 * static_cast<uint64_t>(i);
    const bool same = MixBits(seed, static_cast<uint64_t>(i)) % 2 == 0;
    bench.Ask(holder, same ? prompt : prompt + 1);
    (same ? held : fresh).push_back(bench.Ask(asker, prompt));
  }
  return Auc(held, fresh);
}

int Main(int argc, char** argv) {
  const LoadTestFlags flags = ParseLoadTestFlags(argc, argv);
  Report report(flags);
  Bench bench;
  for (uint64_t warm = 0; warm < 10; ++warm) bench.Ask("warm", 1'000'000 + warm);
  const double other = Distinguish(bench, "amber", "basil", flags.quick ? 60 : 1000, 2'000'000);
  report.Add("tenant_timing_auc", std::max(other, 1 - other), "", 0.55);
  const double own = Distinguish(bench, "basil", "basil", flags.quick ? 20 : 100, 3'000'000);
  report.Add("own_timing_auc", std::max(own, 1 - own), "");
  return report.Finish();
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) { return decant::Main(argc, argv); }
