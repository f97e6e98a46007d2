#include "services/rpc/service_main.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/model_folder.h"
#include "common/policy/measurements.h"
#include "services/rpc/exit_limit.h"
#include "services/rpc/flag_range.h"
#include "services/rpc/log.h"
#include "services/rpc/stop_signal.h"

namespace decant {
namespace {

absl::Status Serve(absl::string_view name, const ServiceOptions& options,
                   const std::function<absl::StatusOr<std::unique_ptr<ServiceApp>>()>& create) {
  DECANT_RETURN_IF_ERROR(StartLog(absl::StrCat("decant_", name), options.log_level));
  // First of all, so that a signal during a long start is not lost.
  DECANT_ASSIGN_OR_RETURN(const auto stop, StopSignal::Create());
  DECANT_ASSIGN_OR_RETURN(auto app, create());
  DECANT_RETURN_IF_ERROR(app->Start());
  std::printf("ready %s=%s metrics=%s\n", std::string(name).c_str(), app->address().c_str(),
              app->metrics_address().c_str());
  std::fflush(stdout);
  stop->Wait();
  const ExitLimit limit(options.drain_limit + kExitGrace);
  app->Drain();
  app.reset();
  return absl::OkStatus();
}

}  // namespace

void AddServiceFlags(CLI::App& cli, ServiceOptions& options) {
  cli.add_option("--listen", options.listen, "address to serve on; port 0 takes a free one")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  cli.add_option("--metrics", options.metrics, "address of /metrics for Prometheus; empty for none")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  AddSecondsFlag(cli, "--drain-seconds", options.drain_limit, "how long running work may take to end on SIGTERM");
  cli.add_option("--log-level", options.log_level, "least level of the lines on stderr")
      ->check(CLI::IsMember(LogLevelNames()))
      ->capture_default_str();
}

void AddWorkerFlags(CLI::App& cli, WorkerOptions& options, ModelFlags& model) {
  cli.add_option("--model", model.folder, "Hugging Face model folder")->required()->type_name("DIR");
  cli.add_option("--dtype", model.dtype, "run type; auto is bf16 where the processor multiplies it")
      ->check(CLI::IsMember({"auto", "bf16", "f32"}))
      ->capture_default_str();
  AddDeviceFlags(cli, model.device, model.device_bytes);
  cli.add_option("--threads", model.threads, "threads that compute; 0 for one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  cli.add_option("--router", options.router, "router to register with")->type_name("HOST:PORT");
  AddTablesFlag(cli, options.tables);
  AddProfilesFlag(cli, options.profiles_dir);
  cli.add_option("--link-bps", options.link_bits_per_s, "bits/s of this machine's network; 0 for unknown")
      ->check(InRange(0, kMostBitsPerS))
      ->capture_default_str();
  AddServiceFlags(cli, options);
}

void AddDeviceFlags(CLI::App& cli, std::string& device, int64_t& bytes) {
  cli.add_option("--device", device, "what computes: host, cuda:N, or auto for the first GPU where there is one")
      ->type_name("NAME")
      ->capture_default_str();
  cli.add_option("--device-memory", bytes,
                 "memory of a GPU, taken at start; units as in 512MB or 4GiB; 0 for nine tenths of what is free")
      ->transform(CLI::AsSizeValue(false))
      ->check(InRange(0, kMostBytes))
      ->type_name("BYTES")
      ->capture_default_str();
}

void AddTablesFlag(CLI::App& cli, std::string& tables) {
  cli.add_option("--tables", tables,
                 "folder of your own measurements, *.json as `decant calibrate` writes them; the same everywhere")
      ->type_name("DIR");
}

void AddProfilesFlag(CLI::App& cli, std::string& folder) {
  cli.add_option("--profiles-dir", folder,
                 "folder of your own profiles, *.json as `decant profile show` prints them; the same everywhere")
      ->type_name("DIR");
}

absl::Status TellMissingMeasurements(const std::string& tables, const ModelFolder& model) {
  DECANT_ASSIGN_OR_RETURN(const Measurements measurements, LoadMeasurements(tables));
  const std::string missing =
      MissingMeasurements(measurements, model.fingerprint, model.config.name, model.path, tables);
  if (!missing.empty()) std::fprintf(stderr, "%s\n", missing.c_str());
  return absl::OkStatus();
}

void AddSecondsFlag(CLI::App& cli, const std::string& flag, absl::Duration& value, const std::string& description) {
  cli.add_option_function<double>(
         flag, [&value](double seconds) { value = absl::Seconds(seconds); }, description)
      ->check(InRange(0, kMostSeconds))
      ->type_name("SECONDS")
      ->default_str(absl::StrCat(absl::ToDoubleSeconds(value)));
}

int RunService(CLI::App& cli, int argc, char** argv, absl::string_view name, const ServiceOptions& options,
               const std::function<absl::StatusOr<std::unique_ptr<ServiceApp>>()>& create) {
  CLI11_PARSE(cli, argc, argv);
  const absl::Status status = Serve(name, options, create);
  if (status.ok()) return 0;
  std::fprintf(stderr, "decant_%s: %s\n", std::string(name).c_str(), std::string(status.message()).c_str());
  return 1;
}

}  // namespace decant
