#include <CLI/CLI.hpp>

#include "common/base/status_macros.h"
#include "services/prefill/app.h"
#include "services/rpc/flag_range.h"
#include "services/rpc/service_main.h"

int main(int argc, char** argv) {
  decant::PrefillAppOptions options;
  decant::ModelFlags model;
  CLI::App cli(
      "The prefill worker of decant: computes prompts and pours their compressed KV into decode workers.\n"
      "Ready when it prints `ready prefill=HOST:PORT metrics=HOST:PORT`. Ends on SIGTERM or Ctrl-C, after running\n"
      "prompts.",
      "decant_prefill");
  decant::AddWorkerFlags(cli, options, model);
  cli.add_option("--waiting-limit", options.waiting_limit, "prompts that may queue")
      ->check(decant::InRange(0, decant::kMostCount))
      ->capture_default_str();
  cli.add_option("--publish-bytes", options.publish_bytes,
                 "memory for computed chunks on their way to the pool; of a longer prompt the first chunks are stored")
      ->transform(CLI::AsSizeValue(false))
      ->check(decant::InRange(0, decant::kMostBytes))
      ->type_name("BYTES")
      ->default_str("64MiB");
  return decant::RunService(
      cli, argc, argv, "prefill", options, [&]() -> absl::StatusOr<std::unique_ptr<decant::ServiceApp>> {
        DECANT_ASSIGN_OR_RETURN(auto loaded, decant::LoadedModel::Load(model.folder, model.dtype, model.device,
                                                                       {model.threads, model.device_bytes}));
        DECANT_RETURN_IF_ERROR(decant::TellMissingMeasurements(options.tables, loaded->folder));
        return decant::CreatePrefillApp(std::move(loaded), options);
      });
}
