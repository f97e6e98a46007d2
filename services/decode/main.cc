#include <CLI/CLI.hpp>

#include "common/base/status_macros.h"
#include "services/decode/app.h"
#include "services/rpc/flag_range.h"
#include "services/rpc/service_main.h"

int main(int argc, char** argv) {
  decant::DecodeAppOptions options;
  decant::ModelFlags model;
  CLI::App cli(
      "The decode worker of decant: takes in the compressed KV of prompts and generates over it.\n"
      "Ready when it prints `ready decode=HOST:PORT metrics=HOST:PORT`. Ends on SIGTERM or Ctrl-C, after running\n"
      "sequences.",
      "decant_decode");
  decant::AddWorkerFlags(cli, options, model);
  cli.add_option("--kv-budget", options.kv_budget_bytes, "KV pages, taken at start; units as in 512MB or 4GiB")
      ->transform(CLI::AsSizeValue(false))
      ->check(decant::InRange(1, decant::kMostBytes))
      ->type_name("BYTES")
      ->default_str("256MiB");
  cli.add_option("--max-sequences", options.max_sequences, "sequences that run at once")
      ->check(decant::InRange(1, decant::kMostCount))
      ->capture_default_str();
  cli.add_option("--waiting-limit", options.waiting_limit, "reservations that may queue for pages")
      ->check(decant::InRange(0, decant::kMostCount))
      ->capture_default_str();
  decant::AddSecondsFlag(cli, "--open-limit", options.open_limit, "how long a reservation waits for its transfer");
  return decant::RunService(
      cli, argc, argv, "decode", options, [&]() -> absl::StatusOr<std::unique_ptr<decant::ServiceApp>> {
        DECANT_ASSIGN_OR_RETURN(auto loaded, decant::LoadedModel::Load(model.folder, model.dtype, model.device,
                                                                       {model.threads, model.device_bytes}));
        DECANT_RETURN_IF_ERROR(decant::TellMissingMeasurements(options.tables, loaded->folder));
        return decant::CreateDecodeApp(std::move(loaded), options);
      });
}
