// Measures what each profile costs and keeps on one model and writes the table that Plan reads
// (common/policy/profile_table.h).
//
// Held-out prompts are computed once; every layer is encoded by every profile, and all decode greedily. Quality is the
// mean share of the answer before the first token that differs from full precision's; ratios count true bytes; times
// are medians over the prompts.
#include <sys/utsname.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/status_macros.h"
#include "gpu/engine/decode_batch.h"
#include "gpu/engine/layer_encoder.h"
#include "gpu/engine/loaded_model.h"
#include "gpu/engine/prefill_run.h"
#include "load_tests/support/report.h"
#include "services/cli/held_out_text.h"

namespace decant {
namespace {

struct Options {
  std::string model;
  std::string out;
  std::string commit = "none";
  std::vector<std::string> profiles = {"full", "k8v4", "diffkv",
                                       "k4v2"};  // full first: it is what the others are compared with
  int32_t prompts = 12;
  int32_t prompt_tokens = 1024;
  int32_t answer_tokens = 16;
};

struct Row {
  std::string name;
  Recipe recipe;
  double agreement = 0;
  std::vector<double> wire_ratio, resident_ratio, encode_bytes_per_s, step_seconds;
};

// One profile's way through one prompt.
struct Lane {
  std::unique_ptr<LayerEncoder> encoder;
  SequenceId sequence = 0;
  double encode_seconds = 0;
  int64_t wire_bytes = 0;
  std::vector<int32_t> answer;
};

class Table {
 public:
  Table(const LoadedModel& model, const Options& options)
      : model_(model),
        options_(options),
        geometry_(model.weights->config().geometry()),
        stream_(model.device->NewStream()) {}

  absl::StatusOr<std::vector<Row>> Measure() {
    DECANT_ASSIGN_OR_RETURN(const Catalogue catalogue, Catalogue::BuiltIn());
    std::vector<Row> rows;
    for (const std::string& name : options_.profiles) {
      Row row;
      row.name = name;
      DECANT_ASSIGN_OR_RETURN(const Profile profile, catalogue.FindFor(name, model_.weights->config().name));
      DECANT_ASSIGN_OR_RETURN(row.recipe, Compile(profile, geometry_, model_.weights->run_type()));
      rows.push_back(std::move(row));
    }
    DecodeOptions batch;
    batch.max_sequences = static_cast<int32_t>(rows.size());
    const int64_t tokens = options_.prompt_tokens + options_.answer_tokens;
    batch.kv_budget_bytes =
        static_cast<int64_t>(rows.size() + 1) * tokens * geometry_.full_bytes_per_token() * 5 / 2 + (int64_t{16} << 20);
    DECANT_ASSIGN_OR_RETURN(batch_, DecodeBatch::Create(*model_.weights, *stream_, batch));
    const absl::Time start = absl::Now();
    for (int32_t prompt = 0; prompt < options_.prompts; ++prompt) {
      DECANT_RETURN_IF_ERROR(Run(static_cast<uint64_t>(prompt), rows));
      const absl::Duration left = (absl::Now() - start) / (prompt + 1) * (options_.prompts - prompt - 1);
      std::fprintf(stderr, "prompt %d of %d, about %.0f s left\n", prompt + 1, options_.prompts,
                   absl::ToDoubleSeconds(left));
    }
    for (Row& row : rows) row.agreement /= options_.prompts;
    return rows;
  }

 private:
  absl::Status Run(uint64_t prompt, std::vector<Row>& rows) {
    DECANT_ASSIGN_OR_RETURN(std::vector<int32_t> ids,
                            model_.folder.tokenizer->Encode(HeldOutText(70'000 + prompt, options_.prompt_tokens)));
    const auto want = static_cast<size_t>(options_.prompt_tokens);
    // Cut at the beginning, so that the question stays at the end.
    if (ids.size() > want) ids.erase(ids.begin() + 1, ids.end() - static_cast<std::ptrdiff_t>(want - 1));
    std::vector<Lane> lanes(rows.size());
    DECANT_ASSIGN_OR_RETURN(const int32_t first, Prefill(ids, rows, lanes));
    const double full_bytes = static_cast<double>(ids.size()) * static_cast<double>(geometry_.full_bytes_per_token());
    for (size_t i = 0; i < rows.size(); ++i) {
      DECANT_RETURN_IF_ERROR(Answer(first, rows[i], lanes[i]));
      DECANT_ASSIGN_OR_RETURN(const SequenceUse use, batch_->Use(lanes[i].sequence));
      const double held =
          full_bytes / static_cast<double>(ids.size()) * static_cast<double>(ids.size() + lanes[i].answer.size());
      rows[i].resident_ratio.push_back(held / static_cast<double>(use.resident_bytes));
      rows[i].wire_ratio.push_back(full_bytes / static_cast<double>(lanes[i].wire_bytes));
      rows[i].encode_bytes_per_s.push_back(full_bytes / lanes[i].encode_seconds);
      const auto [differs, unused] =
          std::mismatch(lanes[0].answer.begin(), lanes[0].answer.end(), lanes[i].answer.begin());
      rows[i].agreement +=
          static_cast<double>(differs - lanes[0].answer.begin()) / static_cast<double>(lanes[0].answer.size());
    }
    for (const Lane& lane : lanes) batch_->Remove(lane.sequence);
    return absl::OkStatus();
  }

  absl::StatusOr<int32_t> Prefill(const std::vector<int32_t>& ids, const std::vector<Row>& rows,
                                  std::vector<Lane>& lanes) {
    PrefillOptions options;
    for (const Row& row : rows) options.score = std::max(options.score, row.recipe.score);
    DECANT_ASSIGN_OR_RETURN(const auto run, PrefillRun::Create(*model_.weights, *stream_, ids, options));
    for (size_t i = 0; i < rows.size(); ++i) {
      LayerEncoderOptions encoding;
      encoding.recipe = rows[i].recipe;
      encoding.geometry = geometry_;
      encoding.run_type = model_.weights->run_type();
      encoding.prompt_tokens = static_cast<int32_t>(ids.size());
      encoding.model = model_.folder.fingerprint;
      DECANT_ASSIGN_OR_RETURN(lanes[i].encoder, LayerEncoder::Create(*model_.device, encoding));
      SequenceOptions sequence;
      sequence.prompt_tokens = encoding.prompt_tokens;
      sequence.max_tokens = options_.answer_tokens + 1;
      sequence.recipe = rows[i].recipe;
      DECANT_ASSIGN_OR_RETURN(lanes[i].sequence, batch_->Reserve(sequence));
    }
    for (int32_t layer = 0; layer < geometry_.layers; ++layer) {
      DECANT_ASSIGN_OR_RETURN(const LayerTap tap, run->ComputeLayer(layer));
      for (Lane& lane : lanes) {
        const double start = WallSeconds();
        DECANT_ASSIGN_OR_RETURN(const EncodedLayer encoded, lane.encoder->Encode(*stream_, tap, 0));
        lane.encode_seconds += WallSeconds() - start;
        lane.wire_bytes += static_cast<int64_t>(encoded.batch.size());
        DECANT_RETURN_IF_ERROR(batch_->Import(lane.sequence, encoded.batch));
      }
    }
    return run->SampleFirst(Sampling(), static_cast<int64_t>(ids.size()));
  }

  // One profile at a time, so that a step's time is its own.
  absl::Status Answer(int32_t first, Row& row, Lane& lane) {
    DECANT_RETURN_IF_ERROR(batch_->Join(lane.sequence, first));
    for (int32_t step = 0; step < options_.answer_tokens; ++step) {
      const double start = WallSeconds();
      DECANT_ASSIGN_OR_RETURN(const auto tokens, batch_->Step());
      row.step_seconds.push_back(WallSeconds() - start);
      for (const StepToken& token : tokens) {
        if (token.sequence == lane.sequence) lane.answer.push_back(token.token);
      }
    }
    return absl::OkStatus();
  }

  const LoadedModel& model_;
  const Options& options_;
  const Geometry geometry_;
  const std::unique_ptr<Stream> stream_;
  std::unique_ptr<DecodeBatch> batch_;
};

std::string MachineName() {
  std::ifstream cpu("/proc/cpuinfo");
  for (std::string line; std::getline(cpu, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  utsname name{};
  uname(&name);
  return name.machine;
}

double Rounded(double value, double unit) { return std::round(value / unit) * unit; }

absl::Status Write(const Options& options, const LoadedModel& model, const std::vector<Row>& rows) {
  nlohmann::ordered_json table;
  table["format"] = "decant profile table v1";
  table["model"] = model.weights->config().name;
  table["measured"] = {{"command", absl::StrCat("load_tests/quality/measure.sh --prompts ", options.prompts,
                                                " --prompt-tokens ", options.prompt_tokens)},
                       {"machine", absl::StrCat(MachineName(), ", ", model.device->threads(), " threads")},
                       {"commit", options.commit},
                       {"date", absl::FormatTime("%Y-%m-%d", absl::Now(), absl::UTCTimeZone())}};
  const double full_step = Median(rows[0].step_seconds);
  for (const Row& row : rows) {
    table["profiles"].push_back({{"name", row.name},
                                 {"quality", Rounded(row.agreement, 1e-4)},
                                 {"wire_ratio", Rounded(Median(row.wire_ratio), 1e-3)},
                                 {"resident_ratio", Rounded(Median(row.resident_ratio), 1e-3)},
                                 {"encode_bytes_per_s", Rounded(Median(row.encode_bytes_per_s), 1e6)},
                                 {"tpot_ratio", Rounded(Median(row.step_seconds) / full_step, 1e-3)}});
  }
  std::printf("%s\n", table.dump(1).c_str());
  if (options.out.empty()) return absl::OkStatus();
  std::ofstream file(options.out);
  file << table.dump(1) << "\n";
  return file.flush() ? absl::OkStatus() : absl::UnavailableError(absl::StrCat("cannot write ", options.out));
}

absl::Status Main(const Options& options) {
  DECANT_ASSIGN_OR_RETURN(const auto model, LoadedModel::Load(options.model, "auto", 0));
  Table table(*model, options);
  DECANT_ASSIGN_OR_RETURN(const std::vector<Row> rows, table.Measure());
  return Write(options, *model, rows);
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) {
  decant::Options options;
  CLI::App parser("Measures quality and cost of every profile on a model and writes the table that Plan reads.");
  parser.add_option("--model", options.model, "Hugging Face model folder")->required();
  parser.add_option("--out", options.out, "JSON file to write, beside standard output");
  parser.add_option("--commit", options.commit, "what the table says it was measured at");
  parser.add_option("--prompts", options.prompts, "held-out prompts")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  parser.add_option("--prompt-tokens", options.prompt_tokens, "tokens of each")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  CLI11_PARSE(parser, argc, argv);
  const absl::Status status = decant::Main(options);
  if (!status.ok()) std::fprintf(stderr, "profile_table: %s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
