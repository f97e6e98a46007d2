#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "services/cli/client.h"
#include "services/cli/command.h"
#include "services/cli/stack.h"
#include "services/rpc/flag_range.h"
#include "services/rpc/service_main.h"

namespace decant {
namespace {

struct GenerateOptions {
  std::string router;
  std::string tenant;
  StackOptions stack;
  std::string text;
  std::string prompt_file;
  v1::GenerateRequest request;
  double timeout_s = 300;
  bool json = false;
};

absl::StatusOr<std::string> Prompt(const GenerateOptions& options) {
  if (options.prompt_file.empty()) return options.text;
  std::ifstream file(options.prompt_file, std::ios::binary);
  if (!file || std::filesystem::is_directory(options.prompt_file)) {
    return absl::NotFoundError(
        absl::StrCat("cannot read the prompt file ", options.prompt_file, "; name a file that holds text"));
  }
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string ToJson(const Generated& generated) {
  const v1::Finished& end = generated.finished;
  nlohmann::ordered_json json;
  json["text"] = generated.text;
  json["tokens"] = generated.tokens;
  json["prompt_tokens"] = end.prompt_tokens();
  json["finish_reason"] = end.finish_reason();
  json["profile"] = end.profile();
  json["reason"] = end.reason();
  json["ttft_ms"] = end.ttft_ms();
  json["total_ms"] = end.total_ms();
  json["kv_bytes_full"] = end.kv().full();
  json["kv_bytes_wire"] = end.kv().wire();
  json["kv_bytes_resident"] = end.kv().resident();
  json["prefix_tokens_reused"] = end.prefix_tokens_reused();
  json["request_id"] = generated.request_id;
  json["high"] = end.tiers().high();
  json["low"] = end.tiers().low();
  json["pruned"] = end.tiers().pruned();
  json["demoted"] = end.tiers().demoted();
  json["dropped"] = end.tiers().dropped();
  // The model may emit bytes that are no text; one odd character must not cost the whole answer.
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

absl::Status Generate(GenerateOptions& options) {
  DECANT_ASSIGN_OR_RETURN(const std::string prompt, Prompt(options));
  options.request.set_text(prompt);
  std::unique_ptr<Stack> stack;
  std::string router = options.router;
  if (router.empty()) {
    options.stack.metrics = false;
    DECANT_ASSIGN_OR_RETURN(stack, Stack::Start(options.stack));
    router = stack->router_address();
  }
  const auto print = [](absl::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  };
  const auto generated = GenerateOnce(router, options.request, absl::Seconds(options.timeout_s), print, options.tenant);
  std::printf("\n");
  if (!generated.ok()) return generated.status();
  if (options.json) std::printf("%s\n", ToJson(*generated).c_str());
  std::fflush(stdout);
  return absl::OkStatus();
}

}  // namespace

void AddGenerate(CLI::App& parser, CommandRun& run) {
  auto options = std::make_shared<GenerateOptions>();
  struct Wishes {
    double temperature = 0;
    int32_t top_k = 0;
    double top_p = 0;
    uint64_t seed = 0;
    int32_t max_tokens = 256;
    double floor = 0;
    double ttft_ms = 0;
    double tpot_ms = 0;
    double link_bps = 0;
    std::string profile;
    std::string request_id;
    std::vector<std::string> stop;
    bool no_publish = false;
  };
  auto wishes = std::make_shared<Wishes>();
  CLI::App* command =
      parser.add_subcommand("generate",
                            "Sends one prompt and streams the answer to stdout. The text is taken verbatim: chat "
                            "templates are yours to write.\n"
                            "With --model the four services come up in this process for this one call.");
  auto* to = command->add_option_group("server", "one of");
  to->add_option("--router", options->router, "address of a running router")->type_name("HOST:PORT");
  to->add_option("--model", options->stack.model_folder, "Hugging Face model folder")->type_name("DIR");
  to->require_option(1);
  AddTenantFlag(*command, options->tenant);
  auto* prompt = command->add_option_group("prompt", "one of");
  prompt->add_option("--prompt-file", options->prompt_file, "file with the prompt")->type_name("FILE");
  prompt->add_option("text", options->text, "the prompt")->type_name("TEXT");
  prompt->require_option(1);
  command->add_option("--profile", wishes->profile, "full, k8v4, k4v2, diffkv, ...; left out, the pool chooses")
      ->type_name("NAME");
  command->add_option("--floor", wishes->floor, "least fidelity: 0 accepts anything, 1 is full precision")
      ->check(InRange(0, 1))
      ->capture_default_str();
  command->add_option("--max-tokens", wishes->max_tokens, "tokens to generate at most; 0 for 256")
      ->check(InRange(0, kMostTokens))
      ->capture_default_str();
  command->add_option("--temperature", wishes->temperature, "0 is greedy")
      ->check(InRange(0, 100))
      ->capture_default_str();
  command->add_option("--top-k", wishes->top_k, "sample from the k likeliest tokens; 0 from all")
      ->check(InRange(0, kMostTokens))
      ->capture_default_str();
  command->add_option("--top-p", wishes->top_p, "sample from the likeliest tokens of this mass; 0 from all")
      ->check(InRange(0, 1))
      ->capture_default_str();
  command->add_option("--seed", wishes->seed, "of sampling")->check(InRange(0, kMostSeed))->capture_default_str();
  command->add_option("--stop", wishes->stop, "text that ends the answer; may be repeated")->type_name("TEXT");
  command->add_option("--ttft-ms", wishes->ttft_ms, "wanted time to the first token; 0 for none")
      ->check(InRange(0, 1000 * kMostSeconds))
      ->capture_default_str();
  command->add_option("--tpot-ms", wishes->tpot_ms, "wanted time per further token; 0 for none")
      ->check(InRange(0, 1000 * kMostSeconds))
      ->capture_default_str();
  command
      ->add_option("--link-bps", wishes->link_bps,
                   "bits/s of the link from prefill to decode; 0 for what the workers say")
      ->check(InRange(0, kMostBitsPerS))
      ->capture_default_str();
  command->add_flag("--no-publish", wishes->no_publish, "keep this prompt's KV out of the pool");
  command->add_option("--request-id", wishes->request_id, "name of the request, for explain; made up when left out");
  command->add_option("--dtype", options->stack.dtype, "run type, with --model")
      ->check(CLI::IsMember({"auto", "bf16", "f32"}))
      ->capture_default_str();
  command->add_option("--kv-budget", options->stack.kv_budget_bytes, "KV pages of decode, with --model")
      ->transform(CLI::AsSizeValue(false))
      ->check(InRange(1, kMostBytes))
      ->type_name("BYTES")
      ->default_str("256MB");
  AddTablesFlag(*command, options->stack.tables);
  AddProfilesFlag(*command, options->stack.profiles_dir);
  command->add_option("--threads", options->stack.threads, "threads that compute, with --model; 0 for one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_option("--timeout", options->timeout_s, "seconds after which the request is given up")
      ->check(InRange(0.001, kMostSeconds))
      ->capture_default_str();
  command->add_flag("--json", options->json, "print one JSON object on the last line");
  command->callback([options, wishes, &run] {
    v1::GenerateRequest& request = options->request;
    request.mutable_sampling()->set_temperature(wishes->temperature);
    request.mutable_sampling()->set_top_k(wishes->top_k);
    request.mutable_sampling()->set_top_p(wishes->top_p);
    request.mutable_sampling()->set_seed(wishes->seed);
    request.set_max_tokens(wishes->max_tokens);
    for (const std::string& stop : wishes->stop) request.add_stop(stop);
    request.mutable_slo()->set_ttft_ms(wishes->ttft_ms);
    request.mutable_slo()->set_tpot_ms(wishes->tpot_ms);
    request.set_fidelity_floor(wishes->floor);
    request.set_profile(wishes->profile);
    request.set_link_bits_per_s(wishes->link_bps);
    request.set_no_publish(wishes->no_publish);
    request.set_request_id(wishes->request_id);
    run = [options] { return Generate(*options); };
  });
}

}  // namespace decant
