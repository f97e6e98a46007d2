// What a pool of the same bytes hits on the public Mooncake traces: LRU at every static form, S3-FIFO, and the ladder.
//
// The bytes are those of 10,000 blocks in full precision, where the published oracle of LRU says 60,921 (conversation)
// and 51,614 (synthetic) hits: a replay that differs by one fails. Requests carry floors, drawn with a seed by the
// third block of the prompt (the conversation): half accept nothing below k8v4, 30 % nothing below k4v2, 20 % anything;
// a block is a hit only when its form meets the floor. Nobody knows a floor before a request states it. Traces carry no
// text, so that qualities only order the forms here: they are the shares of full precision's next-token accuracy that
// load_tests/baselines/lab/smollm2/text has; k4v1, which it lacks, is below all others wherever it was measured.
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "common/base/check.h"
#include "common/base/random.h"
#include "load_tests/support/report.h"
#include "load_tests/traffic/pool_replay.h"
#include "tests/support/paths/paths.h"

namespace decant {
namespace {

constexpr int64_t kCapacityBlocks = 10000;
constexpr uint64_t kFloorSeed = 7;
constexpr double kK8V4 = 0.987, kInt4 = 0.969, kK4V8 = 0.965, kK4V2 = 0.863, kK4V1 = 0.8;
const std::map<std::string, int64_t> kOracle = {{"conversation", 60921}, {"synthetic", 51614}};

// Uniform draws by conversation.
double FloorOf(const TraceRequest& request, uint64_t seed) {
  const uint32_t conversation = request.blocks[std::min<size_t>(2, request.blocks.size() - 1)];
  const float draw = UniformFloat(seed, conversation);
  return draw < 0.5F ? kK8V4 : (draw < 0.8F ? kK4V2 : 0);
}

class Traffic {
 public:
  explicit Traffic(const LoadTestFlags& flags) : report_(flags), quick_(flags.quick) {
    const auto catalogue = Catalogue::BuiltIn();
    DECANT_CHECK(catalogue.ok());
    for (const auto& [name, quality] : std::vector<std::pair<std::string, double>>{
             {"full", 1}, {"k8v4", kK8V4}, {"k4v8", kK4V8}, {"int4", kInt4}, {"k4v2", kK4V2}, {"k4v1", kK4V1}}) {
      forms_.push_back(FormOf(*catalogue, name, quality));
    }
  }

  int Run() {
    const std::string folder = TraceFolder(SourceDir());
    for (const auto& [name, hits] : kOracle) {
      const auto trace = LoadMooncakeTrace(folder, name);
      if (!trace.ok()) {
        std::printf("traffic: %s\n", std::string(trace.status().message()).c_str());
        continue;
      }
      ReplayAll(*trace);
    }
    return report_.Finish();
  }

 private:
  ReplayResult Once(const MooncakeTrace& trace, std::vector<StoredForm> forms, ReplayOptions::Policy policy,
                    bool block_by_block, uint64_t seed = kFloorSeed) {
    ReplayOptions options;
    options.capacity_bytes = kCapacityBlocks * forms_[0].charge;
    options.forms = std::move(forms);
    options.policy = policy;
    options.block_by_block = block_by_block;
    options.floor = [seed](const TraceRequest& request) { return FloorOf(request, seed); };
    const ReplayResult result = Replay(trace, options);
    DECANT_CHECK(result.peak_bytes <= options.capacity_bytes);
    return result;
  }

  const StoredForm& Form(const std::string& name) const {
    for (const StoredForm& form : forms_) {
      if (form.name == name) return form;
    }
    DECANT_CHECK(false);
    return forms_[0];
  }

  void ReplayAll(const MooncakeTrace& trace) {
    using Policy = ReplayOptions::Policy;
    const std::string hit = "hit_" + trace.name + "_";
    double full = 0;
    double best_static = 0;
    for (const StoredForm& form : forms_) {
      const ReplayResult result = Once(trace, {form}, Policy::kLru, true);
      if (form.name == "full") {
        full = result.percent();
        DECANT_CHECK_MSG(result.hits == kOracle.at(trace.name), "lru_full hits %lld blocks, the oracle %lld",
                         static_cast<long long>(result.hits), static_cast<long long>(kOracle.at(trace.name)));
      }
      best_static = std::max(best_static, result.percent());
      report_.Add(hit + "lru_" + form.name, result.percent(), "%", full);
    }
    report_.Add(hit + "s3fifo", Once(trace, {forms_[0]}, Policy::kS3Fifo, false).percent(), "%", full);
    report_.Add(hit + "s3fifo_k8v4", Once(trace, {Form("k8v4")}, Policy::kS3Fifo, false).percent(), "%", full);
    const std::vector<StoredForm> rungs = {Form("full"), Form("k8v4"), Form("k4v2")};
    const ReplayResult ladder = Once(trace, rungs, Policy::kLadder, false);
    report_.Add(hit + "ladder", ladder.percent(), "%", best_static);
    const auto per_request = [&](int64_t count) {
      return static_cast<double>(count) / static_cast<double>(trace.requests.size());
    };
    report_.Add("ladder_" + trace.name + "_reencoded", per_request(ladder.reencoded), "blocks/request");
    report_.Add("ladder_" + trace.name + "_evicted", per_request(ladder.evicted), "blocks/request");
    // The draw of floors is chance: the least of other draws, ladder against the best static form under the same draw.
    double least_lead = 100;
    for (uint64_t seed = 1; seed <= (quick_ ? 1u : 5u); ++seed) {
      const double other = Once(trace, rungs, Policy::kLadder, false, seed).percent();
      const double fixed = Once(trace, {Form("k8v4")}, Policy::kLru, true, seed).percent();
      least_lead = std::min(least_lead, other - fixed);
    }
    report_.Add("ladder_" + trace.name + "_least_lead", least_lead, "points over k8v4");
  }

  Report report_;
  const bool quick_;
  std::vector<StoredForm> forms_;
};

}  // namespace
}  // namespace decant

int main(int argc, char** argv) { return decant::Traffic(decant::ParseLoadTestFlags(argc, argv)).Run(); }
