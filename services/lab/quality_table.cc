#include "services/lab/quality_table.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "gpu/engine/decode_batch.h"
#include "services/lab/shared_prefill.h"

namespace decant {
namespace {

constexpr int kRounds = 3;
constexpr int32_t kCopies = 4;
constexpr int32_t kSteps = 8;

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Speed {
  double encode_seconds = 0;
  double step_seconds = 0;
};

absl::StatusOr<Speed> TimeAlone(const LoadedModel& model, Stream& stream, DecodeBatch& batch, const Recipe& recipe,
                                const std::vector<int32_t>& prompt) {
  DECANT_ASSIGN_OR_RETURN(const std::vector<PromptFrames> frames, PrefillShared(model, stream, prompt, {recipe}));
  std::vector<SequenceId> sequences;
  SequenceOptions options;
  options.prompt_tokens = static_cast<int32_t>(prompt.size());
  options.max_tokens = kSteps + 2;
  options.recipe = recipe;
  for (int32_t copy = 0; copy < kCopies; ++copy) {
    DECANT_ASSIGN_OR_RETURN(const SequenceId id, batch.Reserve(options));
    sequences.push_back(id);
    for (const std::vector<uint8_t>& layer : frames[0].layers) DECANT_RETURN_IF_ERROR(batch.Import(id, layer));
    DECANT_RETURN_IF_ERROR(batch.Join(id, prompt.back()));
  }
  const absl::Time start = absl::Now();
  for (int32_t step = 0; step < kSteps; ++step) DECANT_RETURN_IF_ERROR(batch.Step().status());
  const Speed speed{frames[0].encode_seconds, absl::ToDoubleSeconds(absl::Now() - start) / kSteps};
  for (const SequenceId id : sequences) batch.Remove(id);
  return speed;
}

}  // namespace

std::vector<ProfileCost> QualityOf(const std::vector<LabPoint>& points, const std::vector<LabRow>& summary,
                                   const std::vector<PointResult>& totals, int64_t full_bytes_per_token) {
  std::vector<double> credit(points.size());
  for (const LabRow& row : summary) {
    credit[row.point] += row.estimate.accuracy.mean * static_cast<double>(row.samples);
  }
  std::vector<ProfileCost> costs;
  for (size_t point = 0; point < points.size(); ++point) {
    if (points[point].budget > 0) continue;
    const PointResult& total = totals[point];
    const auto full_bytes = [&](int64_t tokens) {
      return static_cast<double>(tokens) * static_cast<double>(full_bytes_per_token);
    };
    ProfileCost cost;
    cost.name = points[point].profile;
    cost.quality = credit[0] > 0 ? std::min(1.0, credit[point] / credit[0]) : 1;
    cost.wire_ratio = full_bytes(total.prompt_tokens) / static_cast<double>(std::max<int64_t>(1, total.frame_bytes));
    cost.resident_ratio =
        full_bytes(total.resident_tokens) / static_cast<double>(std::max<int64_t>(1, total.resident_bytes));
    costs.push_back(std::move(cost));
  }
  return costs;
}

absl::Status MeasureSpeed(const LoadedModel& model, const std::vector<LabPoint>& points,
                          const std::vector<int32_t>& prompt, std::vector<ProfileCost>& costs) {
  const Geometry geometry = model.weights->config().geometry();
  const auto stream = model.device->NewStream();
  const double full_bytes = static_cast<double>(prompt.size()) * static_cast<double>(geometry.full_bytes_per_token());
  DecodeOptions options;
  options.max_sequences = kCopies;
  options.model = model.folder.fingerprint;
  options.formats = FormatsOf(points);
  // Room for every copy at f32, and half as much again for tail pages.
  options.kv_budget_bytes =
      kCopies * 3 * (static_cast<int64_t>(full_bytes) + kSteps * geometry.full_bytes_per_token()) + (int64_t{16} << 20);
  DECANT_ASSIGN_OR_RETURN(const auto batch, DecodeBatch::Create(*model.weights, *stream, options));
  std::vector<std::vector<double>> encode(costs.size()), steps(costs.size());
  for (int round = 0; round < kRounds; ++round) {
    double full_step = 0;
    for (size_t i = 0; i < costs.size(); ++i) {
      const auto point = std::find_if(points.begin(), points.end(), [&](const LabPoint& candidate) {
        return candidate.profile == costs[i].name && candidate.budget == 0;
      });
      DECANT_ASSIGN_OR_RETURN(const Speed speed, TimeAlone(model, *stream, *batch, point->recipe, prompt));
      if (i == 0) full_step = speed.step_seconds;
      encode[i].push_back(full_bytes / speed.encode_seconds);
      steps[i].push_back(speed.step_seconds / full_step);
    }
  }
  for (size_t i = 0; i < costs.size(); ++i) {
    costs[i].encode_bytes_per_s = Median(encode[i]);
    costs[i].tpot_ratio = i == 0 ? 1 : Median(steps[i]);
  }
  return absl::OkStatus();
}

std::string QualityJson(const QualitySource& source, const std::vector<ProfileCost>& costs) {
  nlohmann::ordered_json table;
  table["format"] = "decant profile table v1";
  table["model"] = source.model;
  table["fingerprint"] = source.fingerprint.Hex();
  table["measured"] = {
      {"command", source.command}, {"machine", source.machine}, {"commit", source.commit}, {"date", source.date}};
  for (const ProfileCost& cost : costs) {
    table["profiles"].push_back({{"name", cost.name},
                                 {"quality", cost.quality},
                                 {"wire_ratio", cost.wire_ratio},
                                 {"resident_ratio", cost.resident_ratio},
                                 {"encode_bytes_per_s", cost.encode_bytes_per_s},
                                 {"tpot_ratio", cost.tpot_ratio}});
  }
  return table.dump(2) + "\n";
}

std::string MachineName() {
  std::string name = "unknown processor";
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    name = line.substr(line.find(':') + 2);
    break;
  }
  return absl::StrCat(name, ", ", std::thread::hardware_concurrency(), " cores");
}

}  // namespace decant
