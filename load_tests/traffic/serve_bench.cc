// Serving under real traffic: traces replayed open loop against four processes with the bundled model.
//
// The machine is a thousand times smaller than those the traces come from, so rows keep their order, their shares and
// the shape of their arrivals, and shrink: 512-token blocks become 64-token chunks, prompts end at 25 chunks, answers
// at 32 tokens, and time runs at the rate that a step asks for. Prompts of Azure's traces, which have no blocks, share
// nothing. A request is good when its first token came within 1 s of when it was due and the others at 60 ms or less;
// every request says so (its SLO). Peak: the rate at which most requests a second are good. Overload: three times that.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/random.h"
#include "load_tests/support/report.h"
#include "load_tests/traffic/open_loop.h"
#include "load_tests/traffic/trace.h"
#include "tests/e2e/cluster.h"
#include "tests/support/mooncake_trace.h"
#include "tests/support/paths/paths.h"

namespace decant {
namespace {

constexpr int64_t kShrink = 8;  // 512-token blocks to 64-token chunks
constexpr int64_t kChunk = 64;
constexpr int64_t kMostPrompt = 25 * kChunk;
constexpr int64_t kMostAnswer = 32;
constexpr double kTtftMs = 1000;
constexpr double kTpotMs = 60;
constexpr absl::Duration kLimit = absl::Seconds(60);
// Plain words of the bundled model's vocabulary.
constexpr int32_t kFirstWord = 300;
constexpr int32_t kWords = 1200;

// Row by row the tokens of its blocks: the same block, the same tokens.
v1::GenerateRequest RequestOf(const TraceRow& row, uint64_t seed) {
  v1::GenerateRequest request;
  const int64_t tokens = std::clamp<int64_t>(row.input_tokens / kShrink, 8, kMostPrompt);
  for (int64_t i = 0; i < tokens; ++i) {
    const auto chunk = static_cast<size_t>(i / kChunk);
    const bool shared = chunk < row.blocks.size();
    const uint64_t block = shared ? static_cast<uint64_t>(row.blocks[chunk]) : MixBits(seed, 1 + chunk);
    const uint64_t bits = MixBits(block, static_cast<uint64_t>(i % kChunk));
    request.mutable_token_ids()->add_ids(kFirstWord + static_cast<int32_t>(bits % kWords));
  }
  request.set_max_tokens(static_cast<int32_t>(std::clamp<int64_t>(row.output_tokens / kShrink, 2, kMostAnswer)));
  request.mutable_slo()->set_ttft_ms(kTtftMs);
  request.mutable_slo()->set_tpot_ms(kTpotMs);
  return request;
}

// `count` rows from `first` on, which come at `rate` a second on average; rate 0: all at once.
std::vector<TimedRequest> Timed(const std::vector<TraceRow>& rows, size_t first, size_t count, double rate) {
  std::vector<TimedRequest> requests;
  const double begin = rows[first].seconds;
  const double span = rows[first + count - 1].seconds - begin;
  for (size_t i = first; i < first + count; ++i) {
    TimedRequest timed;
    timed.request = RequestOf(rows[i], i);
    if (rate > 0) timed.due = absl::Seconds((rows[i].seconds - begin) / span * static_cast<double>(count) / rate);
    requests.push_back(std::move(timed));
  }
  return requests;
}

double Percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto place = static_cast<ptrdiff_t>(share * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + place, values.end());
  return values[static_cast<size_t>(place)];
}

struct Summary {
  double goodput = 0;  // good requests a second, from the first one's due time to the last one's end
  double ttft_p50 = 0, ttft_p99 = 0, tpot_p50 = 0, tpot_p99 = 0;  // of those that were served
  double hit_share = 0;                                           // of prompt tokens of those
  double served_share = 0, refused_share = 0;
  std::map<std::string, int> faults;  // ends that are neither an answer nor a refusal, by their status
};

Summary Summarise(const std::vector<Served>& all) {
  Summary summary;
  std::vector<double> ttft, tpot;
  double good = 0, refused = 0, prompt = 0, reused = 0, end = 0;
  for (const Served& one : all) {
    end = std::max(end, one.end_s);
    if (one.status.code() == absl::StatusCode::kResourceExhausted) ++refused;
    if (!one.status.ok() && one.status.code() != absl::StatusCode::kResourceExhausted) {
      ++summary.faults[one.status.ToString()];
    }
    if (!one.status.ok()) continue;
    ttft.push_back(one.ttft_ms);
    if (one.tpot_ms > 0) tpot.push_back(one.tpot_ms);
    good += one.ttft_ms <= kTtftMs && one.tpot_ms <= kTpotMs ? 1 : 0;
    prompt += static_cast<double>(one.prompt_tokens);
    reused += static_cast<double>(one.reused_tokens);
  }
  summary.goodput = good / std::max(end, 1e-9);
  summary.ttft_p50 = Percentile(ttft, 0.5);
  summary.ttft_p99 = Percentile(ttft, 0.99);
  summary.tpot_p50 = Percentile(tpot, 0.5);
  summary.tpot_p99 = Percentile(tpot, 0.99);
  summary.hit_share = prompt > 0 ? reused / prompt : 0;
  summary.served_share = static_cast<double>(ttft.size()) / static_cast<double>(all.size());
  summary.refused_share = refused / static_cast<double>(all.size());
  return summary;
}

// Megabytes resident now, of all four processes.
double ResidentMb(const Cluster& cluster) {
  double kb = 0;
  std::vector<const Service*> services = {&cluster.router, &cluster.pool};
  for (const Service& service : cluster.prefills) services.push_back(&service);
  for (const Service& service : cluster.decodes) services.push_back(&service);
  for (const Service* service : services) {
    std::ifstream status(absl::StrCat("/proc/", service->process->pid(), "/status"));
    std::string line;
    while (std::getline(status, line)) {
      if (absl::StartsWith(line, "VmRSS:")) kb += std::strtod(line.c_str() + 6, nullptr);
    }
  }
  return kb / 1024;
}

struct Traffic {
  const char* name;
  const char* file;
  absl::StatusOr<std::vector<TraceRow>> (*read)(const std::string&);
};

constexpr Traffic kTraffic[] = {{"conversation", "mooncake_conversation_trace.jsonl", ReadMooncake},
                                {"synthetic", "mooncake_synthetic_trace.jsonl", ReadMooncake},
                                {"azure_conv", "AzureLLMInferenceTrace_conv.csv", ReadAzure},
                                {"azure_code", "AzureLLMInferenceTrace_code.csv", ReadAzure}};

class Serve {
 public:
  Serve(Report& report, bool quick) : report_(report), quick_(quick) {}

  // 1 when a request ended without a status that a client can act on.
  int Replay(const Traffic& traffic, const std::vector<TraceRow>& rows) {
    ClusterOptions options;
    options.kv_budget = "128MB";
    const auto cluster = Cluster::Start(options);
    DECANT_CHECK_MSG(cluster.ok(), "%s", cluster.status().ToString().c_str());
    cluster_ = cluster->get();
    name_ = traffic.name;
    const size_t count = quick_ ? 40 : 200;
    const auto warm = RunClosedLoop(cluster_->router.address, Timed(rows, 0, count, 0), 4, kLimit);
    double end = 0;
    for (const Served& one : warm) end = std::max(end, one.end_s);
    const double speed = static_cast<double>(count) / end;

    size_t first = count;
    Summary peak;
    double peak_rate = 0;
    for (const double load : quick_ ? std::vector<double>{0.8} : std::vector<double>{0.4, 0.6, 0.8, 1.0, 1.2}) {
      const Summary summary = Step(rows, first, count, load * speed, absl::StrCat("load ", load));
      first += count;
      if (summary.goodput <= peak.goodput) continue;
      peak = summary;
      peak_rate = load * speed;
    }
    const double before = ResidentMb(*cluster_);
    const Summary overload = Step(rows, first, 3 * count, 3 * peak_rate, "overload");
    const double after = ResidentMb(*cluster_);
    Tell(peak, overload, before, after);
    return static_cast<int>(peak.faults.size() + overload.faults.size());
  }

 private:
  Summary Step(const std::vector<TraceRow>& rows, size_t first, size_t count, double rate, const std::string& what) {
    const Summary summary = Summarise(RunOpenLoop(cluster_->router.address, Timed(rows, first, count, rate), kLimit));
    std::fprintf(stderr,
                 "serve %s, %s: %.1f requests/s came, %.1f/s good, %.0f %% served, %.0f %% refused, ttft p50 %.0f ms\n",
                 name_.c_str(), what.c_str(), rate, summary.goodput, 100 * summary.served_share,
                 100 * summary.refused_share, summary.ttft_p50);
    for (const auto& [status, times] : summary.faults) {
      std::fprintf(stderr, "serve %s, %s: %d times: %s\n", name_.c_str(), what.c_str(), times, status.c_str());
    }
    return summary;
  }

  void Tell(const Summary& peak, const Summary& overload, double before, double after) {
    const auto add = [&](const char* what, double value, const char* unit) {
      report_.Add(absl::StrCat("serve_", name_, "_", what), value, unit);
    };
    add("goodput", peak.goodput, "requests/s");
    add("ttft_p50", peak.ttft_p50, "ms");
    add("ttft_p99", peak.ttft_p99, "ms");
    add("tpot_p50", peak.tpot_p50, "ms");
    add("tpot_p99", peak.tpot_p99, "ms");
    add("hit_share", 100 * peak.hit_share, "% of prompt tokens");
    report_.Add(absl::StrCat("serve_", name_, "_overload_goodput"), overload.goodput, "requests/s", peak.goodput);
    add("overload_refused", 100 * overload.refused_share, "%");
    add("overload_ttft_p99", overload.ttft_p99, "ms");
    report_.Add(absl::StrCat("serve_", name_, "_overload_resident"), after, "MB", before);
    int faults = 0;
    for (const auto& [status, times] : overload.faults) faults += times;
    for (const auto& [status, times] : peak.faults) faults += times;
    add("faults", faults, "requests");
  }

  Report& report_;
  const bool quick_;
  Cluster* cluster_ = nullptr;
  std::string name_;
};

int Main(int argc, char** argv) {
  const LoadTestFlags flags = ParseLoadTestFlags(argc, argv);
  Report report(flags);
  const std::string folder = TraceFolder(SourceDir());
  if (folder.empty()) {
    std::printf("serve: skipped: no folder `traces` beside or above the checkout; DECANT_TRACES names another\n");
    return report.Finish();
  }
  int faults = 0;
  for (const Traffic& traffic : kTraffic) {
    const auto rows = traffic.read(absl::StrCat(folder, "/", traffic.file));
    if (!rows.ok()) {
      std::printf("serve: %s skipped: %s\n", traffic.name, std::string(rows.status().message()).c_str());
      continue;
    }
    faults += Serve(report, flags.quick).Replay(traffic, *rows);
    if (flags.quick) break;
  }
  return faults > 0 ? 1 : report.Finish();
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) { return decant::Main(argc, argv); }
