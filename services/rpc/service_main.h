// What the main of every service does beside naming its own flags.
#ifndef DECANT_SERVICES_RPC_SERVICE_MAIN_H_
#define DECANT_SERVICES_RPC_SERVICE_MAIN_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/rpc/service_app.h"
#include "services/rpc/worker_app.h"

namespace CLI {
class App;
}

namespace decant {

struct ModelFolder;

// Where a worker finds its model and how it runs it.
struct ModelFlags {
  std::string folder;
  std::string dtype = "auto";
  std::string device = "auto";  // as CreateDevice takes it
  int threads = 0;
  int64_t device_bytes = 0;  // of a GPU's memory; 0: nine tenths of what is free
};

// What is bound here is written by parsing and must outlive it; what stands in it before is the default.

// --listen, --metrics, --drain-seconds and --log-level.
void AddServiceFlags(CLI::App& cli, ServiceOptions& options);
// Those, and --model, --dtype, --device, --device-memory, --threads, --router, --tables, --profiles-dir and --link-bps.
void AddWorkerFlags(CLI::App& cli, WorkerOptions& options, ModelFlags& model);
// --device and --device-memory.
void AddDeviceFlags(CLI::App& cli, std::string& device, int64_t& bytes);
// --tables.
void AddTablesFlag(CLI::App& cli, std::string& tables);
// --profiles-dir.
void AddProfilesFlag(CLI::App& cli, std::string& folder);
// Says on stderr what nobody measured of a model, when anything is missing; errors of LoadMeasurements.
absl::Status TellMissingMeasurements(const std::string& tables, const ModelFolder& model);
// `flag` in seconds.
void AddSecondsFlag(CLI::App& cli, const std::string& flag, absl::Duration& value, const std::string& description);

// Parses, creates, starts, prints `ready <name>=HOST:PORT metrics=HOST:PORT`, and drains on SIGTERM or Ctrl-C. Returns
// the exit status of the process; an error stands on stderr.
int RunService(CLI::App& cli, int argc, char** argv, absl::string_view name, const ServiceOptions& options,
               const std::function<absl::StatusOr<std::unique_ptr<ServiceApp>>()>& create);

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_SERVICE_MAIN_H_
