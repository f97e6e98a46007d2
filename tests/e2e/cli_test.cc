// The steady interfaces of the command line, as scripts use them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/model/model_folder.h"
#include "common/policy/measurements.h"
#include "tests/e2e/cluster.h"

namespace decant {
namespace {

using ::testing::HasSubstr;

struct Outcome {
  int exit = -1;
  std::string output;

  nlohmann::json LastLine() const {
    const std::vector<std::string> lines = absl::StrSplit(output, '\n', absl::SkipEmpty());
    return lines.empty() ? nlohmann::json() : nlohmann::json::parse(lines.back(), nullptr, false);
  }
};

Outcome RunDecant(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), Binary("cli", "decant"));
  auto process = Process::Start(arguments);
  EXPECT_TRUE(process.ok()) << process.status();
  Outcome outcome;
  auto output = (*process)->ReadAll(absl::Now() + kPatience);
  EXPECT_TRUE(output.ok()) << output.status();
  if (output.ok()) outcome.output = *output;
  outcome.exit = (*process)->WaitExit(absl::Now() + kPatience).value_or(-1);
  return outcome;
}

constexpr char kPrompt[] =
    "The old lamp stood in the garden. The code of Alice is 48213. The tall ladder stood in the museum. "
    "Question: what is the code of Alice? Answer:";

void ExpectGenerateFields(const nlohmann::json& json) {
  ASSERT_TRUE(json.is_object());
  for (const char* text : {"text", "finish_reason", "profile", "reason", "request_id"}) {
    EXPECT_TRUE(json.contains(text) && json[text].is_string()) << text;
  }
  for (const char* number :
       {"prompt_tokens", "ttft_ms", "total_ms", "kv_bytes_full", "kv_bytes_wire", "kv_bytes_resident",
        "prefix_tokens_reused", "high", "low", "pruned", "demoted", "dropped"}) {
    EXPECT_TRUE(json.contains(number) && json[number].is_number()) << number;
  }
  EXPECT_TRUE(json.contains("tokens") && json["tokens"].is_array());
}

// What `generate` with these arguments prints on both streams, and its exit status.
std::pair<std::string, int> GenerateWith(const std::string& arguments) {
  const std::string decant =
      absl::StrCat(Binary("cli", "decant"), " generate --model ", TinyModel(), " ", arguments, " 2>&1");
  auto process = Process::Start({"/bin/sh", "-c", decant});
  if (!process.ok()) return {process.status().ToString(), -1};
  const auto output = (*process)->ReadAll(absl::Now() + kPatience);
  return {output.value_or("no end"), (*process)->WaitExit(absl::Now() + kPatience).value_or(-1)};
}

TEST(CliTest, GenerateRefusesWhatCannotBeInsteadOfCrashing) {
  const auto [folder, folder_exit] = GenerateWith("--prompt-file " + ::testing::TempDir());
  EXPECT_THAT(folder, HasSubstr("cannot read the prompt file"));
  EXPECT_EQ(folder_exit, 1);
  const auto [threads, threads_exit] = GenerateWith("--threads 100000 hi");
  EXPECT_THAT(threads, HasSubstr("--threads"));
  EXPECT_GT(threads_exit, 0);
  EXPECT_LT(threads_exit, 128);
  const auto [timeout, timeout_exit] = GenerateWith("--timeout -1 hi");
  EXPECT_THAT(timeout, HasSubstr("--timeout"));
  EXPECT_GT(timeout_exit, 0);
}

// Refused while parsing, before anything is loaded.
TEST(CliTest, NumbersThatCannotBeAreRefusedWithWhatIsAllowed) {
  const std::string service = " --model " + TinyModel();
  const std::pair<std::string, std::vector<std::string>> commands[] = {
      {Binary("cli", "decant") + " generate hi" + service,
       {"--seed -1", "--floor -0.1", "--floor 1.5", "--floor nan", "--max-tokens -1", "--temperature -1",
        "--temperature inf", "--top-k -2", "--top-p 1.1", "--ttft-ms -1", "--tpot-ms nan", "--link-bps -1",
        "--kv-budget -5MB", "--kv-budget 0", "--timeout inf", "--timeout nan"}},
      {Binary("cli", "decant") + " up" + service, {"--port -1", "--prefill 0", "--decode -1", "--pool-bytes -1"}},
      {Binary("cli", "decant") + " calibrate" + service,
       {"--seed -1", "--loss -1", "--alpha-high -1", "--alpha-low nan", "--prompts 0", "--prompt-tokens -1"}},
      {Binary("router", "decant_router") + service,
       {"--chunk-tokens 0", "--chunk-tokens 70000", "--max-running 0", "--prefills-per-worker -1",
        "--request-seconds -1", "--reserve-wait-seconds nan", "--drain-seconds inf"}},
      {Binary("pool", "decant_pool"),
       {"--pool-bytes -1", "--fetch-bits-per-s 0", "--lease-seconds -1", "--threads -1"}},
      {Binary("prefill", "decant_prefill") + service, {"--waiting-limit -1", "--link-bps nan", "--threads -1"}},
      {Binary("decode", "decant_decode") + service,
       {"--kv-budget -1", "--max-sequences 0", "--waiting-limit -1", "--open-limit -1"}},
  };
  for (const auto& [command, flags] : commands) {
    for (const std::string& flag : flags) {
      auto process = Process::Start({"/bin/sh", "-c", absl::StrCat(command, " ", flag, " 2>&1")});
      ASSERT_TRUE(process.ok()) << process.status();
      EXPECT_THAT((*process)->ReadAll(absl::Now() + kPatience).value_or("no end"),
                  HasSubstr(flag.substr(0, flag.find(' '))));
      const int exit = (*process)->WaitExit(absl::Now() + kPatience).value_or(-1);
      EXPECT_GT(exit, 1) << command << " " << flag;  // 1 is what fails later
      EXPECT_LT(exit, 128) << command << " " << flag;
    }
  }
}

TEST(CliTest, GenerateRefusesAPromptFileThatIsNotUtf8) {
  const std::string file = ::testing::TempDir() + "/not_utf8.txt";
  std::ofstream(file, std::ios::binary) << "The old lamp \xff\xfe stood";
  const std::string decant = absl::StrCat(Binary("cli", "decant"), " generate --model ", TinyModel(), " --prompt-file ",
                                          file, " --max-tokens 1 2>&1");
  auto process = Process::Start({"/bin/sh", "-c", decant});
  ASSERT_TRUE(process.ok()) << process.status();
  const auto output = (*process)->ReadAll(absl::Now() + kPatience);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_THAT(*output, HasSubstr("not UTF-8 at byte 13"));
  EXPECT_EQ((*process)->WaitExit(absl::Now() + kPatience).value_or(-1), 1);
}

TEST(CliTest, GenerateBringsTheServicesUpForOneCall) {
  const Outcome outcome = RunDecant({"generate", "--model", TinyModel(), "--profile", "full", "--max-tokens", "8",
                                     "--dtype", "f32", "--json", kPrompt});
  EXPECT_EQ(outcome.exit, 0);
  const nlohmann::json json = outcome.LastLine();
  ExpectGenerateFields(json);
  EXPECT_THAT(json.value("text", ""), HasSubstr("48213"));
  EXPECT_EQ(json["tokens"].size(), 8u);
  EXPECT_EQ(json.value("finish_reason", ""), "length");
  EXPECT_EQ(json.value("profile", ""), "full");
}

// A model that nobody measured (its config says fewer positions) and an empty folder for what is measured of it.
class CalibrateTest : public testing::Test {
 protected:
  CalibrateTest() : root_(testing::TempDir() + "/decant_calibrate_XXXXXX") {
    EXPECT_NE(mkdtemp(root_.data()), nullptr);
    model_ = root_ + "/model";
    tables_ = root_ + "/tables";
    std::filesystem::copy(TinyModel(), model_);
    std::filesystem::create_directory(tables_);
    nlohmann::json config = nlohmann::json::parse(std::ifstream(TinyModel() + "/config.json"));
    config["max_position_embeddings"] = 2048;
    std::ofstream(model_ + "/config.json") << config;
  }
  ~CalibrateTest() override { std::filesystem::remove_all(root_); }

  std::string root_, model_, tables_;
};

TEST_F(CalibrateTest, WhatItWritesIsWhatTheServicesTake) {
  const auto folder = OpenModelFolder(model_);
  ASSERT_TRUE(folder.ok()) << folder.status();
  ASSERT_FALSE(LoadMeasurements("")->catalogue.IsCalibrated(folder->fingerprint));
  const Outcome calibrate = RunDecant(
      {"calibrate", "--model", model_, "--dtype", "f32", "--prompts", "1", "--prompt-tokens", "140", "--answer-tokens",
       "2", "--alpha-high", "2", "--alpha-low", "0.1", "--out", tables_ + "/a.json", "--table", tables_ + "/b.json"});
  ASSERT_EQ(calibrate.exit, 0) << calibrate.output;
  const auto measurements = LoadMeasurements(tables_);
  ASSERT_TRUE(measurements.ok()) << measurements.status();
  EXPECT_EQ(MissingMeasurements(*measurements, folder->fingerprint, "any", "any", "any"), "");
  const ProfileTable* const table = measurements->tables.For(folder->fingerprint);
  ASSERT_NE(table, nullptr);
  for (const char* profile : {"diffkv", "diffkv-release", "k4v2", "k8v4"}) {
    const ProfileCost* const cost = table->Find(profile);
    ASSERT_TRUE(cost != nullptr && cost->hit.has_value()) << profile;
    EXPECT_GT(cost->hit->wire_ratio, 2) << profile;
  }
  EXPECT_EQ(RunDecant({"generate", "--model", model_, "--tables", tables_ + "/none", kPrompt}).exit, 1);
  EXPECT_EQ(RunDecant({"generate", "--model", model_, "--tables", tables_, "--dtype", "f32", "--floor", "0.01",
                       "--max-tokens", "2", kPrompt})
                .exit,
            0);
}

TEST(CliTest, ProfilesAreListedAndShown) {
  const Outcome list = RunDecant({"profile", "list"});
  EXPECT_EQ(list.exit, 0);
  for (const char* part : {"snapkv", "SnapKV:", "kivi2", "xkv"}) EXPECT_THAT(list.output, HasSubstr(part));
  const Outcome show = RunDecant({"profile", "show", "snapkv", "--model", TinyModel()});
  EXPECT_EQ(show.exit, 0);
  for (const char* part : {"digest", "\"pool_width\":7", "stored as    full", "max of 7 tokens", "20.0 %"}) {
    EXPECT_THAT(show.output, HasSubstr(part));
  }
  EXPECT_EQ(RunDecant({"profile", "show", "kivi4", "--json"}).LastLine().value("online", ""), "freeze");
  EXPECT_EQ(RunDecant({"profile", "show", "snapvk"}).exit, 1);
  EXPECT_NE(RunDecant({"profile"}).exit, 0);
  EXPECT_EQ(RunDecant({"profile", "show", "--help"}).exit, 0);
}

TEST(CliTest, AUsersOwnProfileServesAndABrokenOneIsRefused) {
  std::string folder = testing::TempDir() + "/decant_profiles_XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  std::ofstream(folder + "/mine.json") << R"({"name": "mine", "high": "k8v4", "window": 63})";
  const Outcome shown = RunDecant({"profile", "show", "mine", "--profiles-dir", folder, "--json"});
  EXPECT_EQ(shown.LastLine().value("high", ""), "k8v4");
  const Outcome outcome = RunDecant({"generate", "--model", TinyModel(), "--profiles-dir", folder, "--profile", "mine",
                                     "--dtype", "f32", "--max-tokens", "2", "--json", kPrompt});
  EXPECT_EQ(outcome.exit, 0) << outcome.output;
  EXPECT_EQ(outcome.LastLine().value("profile", ""), "mine");
  std::ofstream(folder + "/typo.json") << "{\"name\": \"x\",\n\"hihg\": \"k8v4\"}";
  EXPECT_EQ(RunDecant({"profile", "list", "--profiles-dir", folder}).exit, 1);
  EXPECT_EQ(RunDecant({"generate", "--model", TinyModel(), "--profiles-dir", folder, kPrompt}).exit, 1);
  std::filesystem::remove_all(folder);
}

TEST(CliTest, UpServesGenerateAndExplain) {
  auto up = Process::Start({Binary("cli", "decant"), "up", "--model", TinyModel(), "--prefill", "2", "--decode", "2",
                            "--kv-budget", "32MB", "--pool-bytes", "32MB", "--dtype", "f32"});
  ASSERT_TRUE(up.ok());
  const auto ready = (*up)->WaitLine("ready router=", absl::Now() + kPatience);
  ASSERT_TRUE(ready.ok()) << ready.status();
  const std::vector<std::string> words = absl::StrSplit(*ready, ' ');
  ASSERT_EQ(words.size(), 3u);
  const std::string router = words[1].substr(std::string("router=").size());
  const std::vector<std::string> metrics = absl::StrSplit(words[2].substr(std::string("metrics=").size()), ',');
  EXPECT_EQ(metrics.size(), 6u);
  for (const std::string& address : metrics) EXPECT_TRUE(ReadMetrics(address).ok()) << address;

  const std::string file = absl::StrCat(::testing::TempDir(), "/prompt.txt");
  std::ofstream(file) << kPrompt;
  const Outcome generated =
      RunDecant({"generate", "--router", router, "--prompt-file", file, "--max-tokens", "6", "--json"});
  EXPECT_EQ(generated.exit, 0);
  const nlohmann::json json = generated.LastLine();
  ExpectGenerateFields(json);
  const std::string id = json.value("request_id", "");

  const Outcome explained = RunDecant({"explain", "--router", router, id, "--json"});
  EXPECT_EQ(explained.exit, 0);
  EXPECT_EQ(explained.LastLine().value("request_id", ""), id);
  EXPECT_THAT(RunDecant({"explain", "--router", router, id}).output, HasSubstr("first token"));
  EXPECT_EQ(RunDecant({"explain", "--router", router, "nobody"}).exit, 1);

  (*up)->Signal(SIGTERM);
  EXPECT_EQ((*up)->WaitExit(absl::Now() + kPatience).value_or(-1), 0);
}

TEST(CliTest, InspectSaysWhatAModelIs) {
  const Outcome table = RunDecant({"inspect", TinyModel()});
  EXPECT_EQ(table.exit, 0);
  for (const char* part : {"llama", "6 layers", "8 query and 2 kv heads of 64", "5.6 M", "byte-level BPE", "k8v4"}) {
    EXPECT_THAT(table.output, HasSubstr(part));
  }
  EXPECT_EQ(RunDecant({"inspect", TinyModel(), "--json"}).LastLine().value("kv_bytes_per_token_full", 0), 3072);
}

TEST(CliTest, MistakesExitWithAnError) {
  EXPECT_NE(RunDecant({}).exit, 0);
  EXPECT_NE(RunDecant({"generate", "text"}).exit, 0);                     // neither router nor model
  EXPECT_NE(RunDecant({"generate", "--router", "127.0.0.1:1"}).exit, 0);  // no prompt
  EXPECT_EQ(RunDecant({"generate", "--router", "127.0.0.1:1", "--timeout", "5", "x"}).exit, 1);  // nobody there
  EXPECT_EQ(RunDecant({"generate", "--model", "/nowhere", "x"}).exit, 1);
  EXPECT_EQ(RunDecant({"inspect", "/nowhere"}).exit, 1);
  EXPECT_EQ(RunDecant({"--help"}).exit, 0);
  for (const char* command : {"up", "generate", "explain", "inspect", "calibrate", "profile"}) {
    EXPECT_EQ(RunDecant({command, "--help"}).exit, 0) << command;
  }
}

}  // namespace
}  // namespace decant
