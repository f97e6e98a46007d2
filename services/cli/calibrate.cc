#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "gpu/engine/layer_shares.h"
#include "services/cli/alpha_search.h"
#include "services/cli/command.h"
#include "services/cli/held_out_text.h"
#include "services/cli/measure_profiles.h"
#include "services/rpc/flag_range.h"

namespace decant {
namespace {

struct CalibrateOptions {
  std::string folder;
  std::string text_file;
  std::string out;
  std::string table;
  std::string commit = "unknown";
  std::vector<std::string> profiles = {"diffkv"};
  std::string dtype = "auto";
  int threads = 0;
  int32_t prompts = 8;
  int32_t prompt_tokens = 1024;
  int32_t answer_tokens = 24;
  double loss = 0.05;
  std::vector<double> highs = AlphaSearchOptions().highs;
  std::vector<double> lows = AlphaSearchOptions().lows;
  uint64_t seed = 20240;  // of the held-out text; training and demo draw others
};

// Windows of the user's text, evenly spread; or generated text, cut at its beginning so that the question stays.
absl::StatusOr<std::vector<std::vector<int32_t>>> Prompts(const CalibrateOptions& options, const Tokenizer& tokenizer) {
  std::vector<std::vector<int32_t>> prompts;
  const auto want = static_cast<size_t>(options.prompt_tokens);
  if (options.text_file.empty()) {
    for (int32_t i = 0; i < options.prompts; ++i) {
      DECANT_ASSIGN_OR_RETURN(
          std::vector<int32_t> ids,
          tokenizer.Encode(HeldOutText(options.seed + static_cast<uint64_t>(i), options.prompt_tokens)));
      if (ids.size() > want) ids.erase(ids.begin() + 1, ids.end() - static_cast<std::ptrdiff_t>(want - 1));
      prompts.push_back(std::move(ids));
    }
    return prompts;
  }
  std::ifstream file(options.text_file, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read the text ", options.text_file));
  const std::string text(std::istreambuf_iterator<char>(file), {});
  DECANT_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer.Encode(text));
  const auto count = static_cast<size_t>(options.prompts);
  if (ids.size() < want * count) {
    return absl::InvalidArgumentError(absl::StrCat("the text has ", ids.size(), " tokens, ", count, " prompts of ",
                                                   want, " need ", want * count, "; give more text or ask for fewer"));
  }
  const size_t stride = count > 1 ? (ids.size() - want) / (count - 1) : 0;
  for (size_t i = 0; i < count; ++i) {
    const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(i * stride);
    prompts.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(want));
  }
  return prompts;
}

void PrintSweep(absl::string_view title, const std::vector<AlphaScore>& scores, size_t chosen) {
  std::printf("%s\n%-12s %14s %10s %14s %8s\n", std::string(title).c_str(), "alphas", "nats/token", "agreement",
              "resident bytes", "ratio");
  for (size_t i = 0; i < scores.size(); ++i) {
    const AlphaScore& score = scores[i];
    std::printf("%-12s %14.5f %10.3f %14.0f %8.2f%s\n", score.name.c_str(), score.divergence, score.agreement,
                score.resident_bytes, scores[0].resident_bytes / score.resident_bytes, i == chosen ? "  <-" : "");
  }
}

nlohmann::ordered_json ToJson(const std::vector<AlphaScore>& scores) {
  auto json = nlohmann::ordered_json::array();
  for (const AlphaScore& score : scores) {
    json.push_back({{"alphas", score.name},
                    {"nats_per_token", score.divergence},
                    {"agreement", score.agreement},
                    {"resident_bytes", score.resident_bytes}});
  }
  return json;
}

absl::Status WriteFile(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text << "\n";
  if (file.flush()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot write ", path));
}

// The model name in /proc/cpuinfo and the cores.
std::string Machine() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) == 0) {
      return absl::StrCat(line.substr(line.find(':') + 2), ", ", std::thread::hardware_concurrency(), " cores");
    }
  }
  return absl::StrCat("unknown, ", std::thread::hardware_concurrency(), " cores");
}

absl::Status WriteTable(const CalibrateOptions& options, const LoadedModel& model,
                        const std::vector<std::vector<int32_t>>& prompts, const Calibration& calibration) {
  const auto progress = [](absl::string_view profile) {
    std::fprintf(stderr, "table: measured %s\n", std::string(profile).c_str());
  };
  DECANT_ASSIGN_OR_RETURN(const auto profiles,
                          MeasureProfiles(model, prompts, calibration, options.answer_tokens, progress));
  nlohmann::ordered_json table;
  table["format"] = "decant profile table v1";
  table["model"] = model.weights->config().name;
  table["fingerprint"] = model.folder.fingerprint.Hex();
  table["measured"] = {{"command", absl::StrCat("decant calibrate --prompts ", options.prompts, " --prompt-tokens ",
                                                options.prompt_tokens, " --answer-tokens ", options.answer_tokens,
                                                options.text_file.empty() ? "" : " --text", " --table: quality is the ",
                                                "share of the greedy answer before it leaves that of full")},
                       {"machine", Machine()},
                       {"commit", options.commit},
                       {"date", absl::FormatTime("%Y-%m-%d", absl::Now(), absl::UTCTimeZone())}};
  for (const ProfileCost& profile : profiles) {
    table["profiles"].push_back({{"name", profile.name},
                                 {"quality", profile.quality},
                                 {"wire_ratio", profile.wire_ratio},
                                 {"resident_ratio", profile.resident_ratio},
                                 {"encode_bytes_per_s", profile.encode_bytes_per_s},
                                 {"tpot_ratio", profile.tpot_ratio}});
    std::printf("%-16s quality %.3f, wire 1/%.2f, resident 1/%.2f, encodes %.2f GB/s, time per token %.2f of full\n",
                profile.name.c_str(), profile.quality, profile.wire_ratio, profile.resident_ratio,
                profile.encode_bytes_per_s / 1e9, profile.tpot_ratio);
    if (!profile.hit.has_value()) continue;
    table["profiles"].back()["hit"] = {{"quality", profile.hit->quality},
                                       {"wire_ratio", profile.hit->wire_ratio},
                                       {"resident_ratio", profile.hit->resident_ratio}};
    std::printf("%-16s   behind a reused prefix: quality %.3f, wire 1/%.2f, resident 1/%.2f\n", "",
                profile.hit->quality, profile.hit->wire_ratio, profile.hit->resident_ratio);
  }
  return WriteFile(options.table, table.dump(2));
}

absl::Status Calibrate(const CalibrateOptions& options) {
  DECANT_ASSIGN_OR_RETURN(const auto model, LoadedModel::Load(options.folder, options.dtype, options.threads));
  const ModelConfig& config = model->weights->config();
  if (options.prompt_tokens > config.max_positions - options.answer_tokens - 1) {
    return absl::InvalidArgumentError(absl::StrCat("prompts of ", options.prompt_tokens, " tokens do not fit the ",
                                                   config.max_positions, " positions of ", config.name,
                                                   "; give a smaller --prompt-tokens"));
  }
  DECANT_ASSIGN_OR_RETURN(const auto prompts, Prompts(options, *model->folder.tokenizer));
  DECANT_ASSIGN_OR_RETURN(const Catalogue catalogue, Catalogue::BuiltIn());
  nlohmann::ordered_json calibration;
  calibration["format"] = "decant calibration v1";
  calibration["model"] = config.name;
  calibration["fingerprint"] = model->folder.fingerprint.Hex();
  for (const std::string& name : options.profiles) {
    AlphaSearchOptions search;
    DECANT_ASSIGN_OR_RETURN(search.profile, catalogue.Find(name));
    if (search.profile.allocate == "layer_shares") {
      DECANT_ASSIGN_OR_RETURN(const Recipe recipe,
                              Compile(search.profile, config.geometry(), model->weights->run_type()));
      const auto stream = model->device->NewStream();
      DECANT_ASSIGN_OR_RETURN(const auto shares, MeasureLayerShares(*model->weights, *stream, recipe, prompts));
      std::printf("%s on %s: layers keep %s of the mean\n", config.name.c_str(), name.c_str(),
                  absl::StrJoin(shares, ", ").c_str());
      calibration["profiles"][name] = {{"layer_shares", shares}};
      continue;
    }
    search.answer_tokens = options.answer_tokens;
    search.loss = options.loss;
    search.highs = options.highs;
    search.lows = options.lows;
    const absl::Time start = absl::Now();
    search.progress = [&](int32_t done, int32_t all) {
      const absl::Duration left = (absl::Now() - start) / done * (all - done);
      std::fprintf(stderr, "%s: %d of %d prompts, about %s left\n", name.c_str(), done, all,
                   absl::FormatDuration(absl::Trunc(left, absl::Seconds(1))).c_str());
    };
    DECANT_ASSIGN_OR_RETURN(const AlphaChoice choice, SearchAlphas(*model, prompts, search));
    PrintSweep(absl::StrCat(name, ": alpha_h, with alpha_l = 0"), choice.first,
               ChooseAlphas(choice.first, options.loss));
    PrintSweep(absl::StrCat(name, ": alpha_l, with alpha_h = ", choice.alpha_high), choice.second,
               ChooseAlphas(choice.second, options.loss));
    std::printf("%s on %s: alpha_h %g, alpha_l %g\n", config.name.c_str(), name.c_str(), choice.alpha_high,
                choice.alpha_low);
    calibration["profiles"][name] = {{"alpha_high", choice.alpha_high}, {"alpha_low", choice.alpha_low}};
    calibration["measured"][name] = {{"alpha_high", ToJson(choice.first)}, {"alpha_low", ToJson(choice.second)}};
  }
  calibration["measured"]["prompts"] = options.prompts;
  calibration["measured"]["prompt_tokens"] = options.prompt_tokens;
  calibration["measured"]["answer_tokens"] = options.answer_tokens;
  calibration["measured"]["loss_nats"] = options.loss;
  calibration["measured"]["run_type"] = model->weights->run_type() == RunType::kF32 ? "f32" : "bf16";
  if (!options.out.empty()) DECANT_RETURN_IF_ERROR(WriteFile(options.out, calibration.dump(2)));
  if (options.table.empty()) return absl::OkStatus();
  DECANT_ASSIGN_OR_RETURN(const Calibration chosen, ParseCalibration(calibration.dump()));
  return WriteTable(options, *model, prompts, chosen);
}

}  // namespace

void AddCalibrate(CLI::App& parser, CommandRun& run) {
  auto options = std::make_shared<CalibrateOptions>();
  CLI::App* command =
      parser.add_subcommand("calibrate",
                            "Finds the thresholds alpha_h and alpha_l of a model on held-out text, or how its layers "
                            "share a budget: the cheapest alphas "
                            "whose greedy answers lose\n"
                            "at most --loss nats per token beside k8v4 (services/cli/alpha_search.h has the measure).");
  command->add_option("--model", options->folder, "Hugging Face model folder")->required()->type_name("DIR");
  command->add_option("--text", options->text_file, "held-out text; left out, some is made")->type_name("FILE");
  command
      ->add_option("--out", options->out,
                   "where to write the calibration: a .json file in the folder that services take as --tables")
      ->type_name("FILE");
  command
      ->add_option("--table", options->table,
                   "also measure every profile's quality and cost with these alphas; a .json file in the same folder")
      ->type_name("FILE");
  command->add_option("--commit", options->commit, "what the table says it was measured with")->capture_default_str();
  command->add_option("--profile", options->profiles, "profiles to calibrate")->capture_default_str();
  command->add_option("--loss", options->loss, "nats per token that may be lost beside k8v4")
      ->check(InRange(0, 1000))
      ->capture_default_str();
  command->add_option("--alpha-high", options->highs, "values of alpha_h to try")
      ->check(InRange(0, kMostCount))
      ->capture_default_str();
  command->add_option("--alpha-low", options->lows, "values of alpha_l to try")
      ->check(InRange(0, kMostCount))
      ->capture_default_str();
  command->add_option("--prompts", options->prompts, "prompts to measure on")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  command->add_option("--prompt-tokens", options->prompt_tokens, "tokens of each")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command->add_option("--answer-tokens", options->answer_tokens, "tokens to generate after each")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  command->add_option("--seed", options->seed, "of the text that is made")
      ->check(InRange(0, kMostSeed))
      ->capture_default_str();
  command->add_option("--dtype", options->dtype, "run type")
      ->check(CLI::IsMember({"auto", "bf16", "f32"}))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "threads that compute; 0 for one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->callback([options, &run] { run = [options] { return Calibrate(*options); }; });
}

}  // namespace decant
