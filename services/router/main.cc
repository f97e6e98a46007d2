#include <CLI/CLI.hpp>

#include "services/router/app.h"
#include "services/rpc/flag_range.h"
#include "services/rpc/service_main.h"

int main(int argc, char** argv) {
  decant::RouterOptions options;
  CLI::App cli(
      "The router of decant: takes prompts, chooses a prefill and a decode worker for each, streams the answer.\n"
      "Workers register themselves here (their --router). Ends on SIGTERM or Ctrl-C, after running requests.",
      "decant_router");
  cli.add_option("--model", options.model_folder, "Hugging Face folder of the model that the workers run")
      ->required()
      ->type_name("DIR");
  decant::AddServiceFlags(cli, options);
  cli.add_option(
         "--pool", options.pool,
         "address of the pool, or of its shards: several with commas between, or dns:///HOST:PORT for all that\n"
         "a name stands for; without one every prompt is computed whole")
      ->type_name("HOST:PORT");
  decant::AddProfilesFlag(cli, options.profiles_dir);
  cli.add_option("--tenant-secret", options.tenant_secret,
                 "file with 16 random bytes or more that keep tenants apart, the same for every router of a pool;\n"
                 "without one only calls that name no tenant are served")
      ->type_name("FILE");
  cli.add_option("--chunk-tokens", options.chunk_tokens, "tokens of a chunk, the unit of reuse; the same everywhere")
      ->check(decant::InRange(1, 65535))
      ->capture_default_str();
  cli.add_option("--max-running", options.max_running, "requests at once, waiting ones included; more are refused")
      ->check(decant::InRange(1, decant::kMostCount))
      ->capture_default_str();
  cli.add_option("--prefills-per-worker", options.prefills_per_worker, "prompts that a prefill worker gets at once")
      ->check(decant::InRange(1, decant::kMostCount))
      ->capture_default_str();
  decant::AddSecondsFlag(cli, "--request-seconds", options.request_limit, "how long a request may take in all");
  decant::AddSecondsFlag(cli, "--reserve-wait-seconds", options.reserve_wait,
                         "how long a request waits for pages when decode is full");
  return decant::RunService(cli, argc, argv, "router", options, [&] { return decant::CreateRouterApp(options); });
}
