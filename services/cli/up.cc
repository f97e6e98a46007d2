#include <cstdio>
#include <memory>

#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "services/cli/command.h"
#include "services/cli/stack.h"
#include "services/rpc/flag_range.h"
#include "services/rpc/service_main.h"
#include "services/rpc/stop_signal.h"

namespace decant {
namespace {

absl::Status Up(const StackOptions& options) {
  DECANT_ASSIGN_OR_RETURN(const auto stop, StopSignal::Create());
  DECANT_ASSIGN_OR_RETURN(const auto stack, Stack::Start(options));
  std::printf("ready router=%s metrics=%s\n", stack->router_address().c_str(),
              absl::StrJoin(stack->metrics_addresses(), ",").c_str());
  std::fflush(stdout);
  stop->Wait();
  stack->Drain();
  return absl::OkStatus();
}

}  // namespace

void AddUp(CLI::App& parser, CommandRun& run) {
  auto options = std::make_shared<StackOptions>();
  CLI::App* command = parser.add_subcommand("up",
                                            "Runs router, pool, prefill and decode in this process.\n"
                                            "Ready when it prints `ready router=HOST:PORT metrics=HOST:PORT,...` "
                                            "(metrics of router, pool, prefill and decode\n"
                                            "workers); ends on SIGTERM or Ctrl-C, after running requests.");
  command->add_option("--model", options->model_folder, "Hugging Face model folder")->required()->type_name("DIR");
  command->add_option("--port", options->port, "port of the router on 127.0.0.1; 0 takes a free one")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  command->add_option("--prefill", options->prefill_workers, "prefill workers")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_option("--decode", options->decode_workers, "decode workers")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_option("--kv-budget", options->kv_budget_bytes, "KV pages of every decode worker, taken at start")
      ->transform(CLI::AsSizeValue(false))
      ->check(InRange(1, kMostBytes))
      ->type_name("BYTES")
      ->default_str("256MB");
  command->add_option("--pool-bytes", options->pool_bytes, "host memory for stored chunks")
      ->transform(CLI::AsSizeValue(false))
      ->check(InRange(1, kMostBytes))
      ->type_name("BYTES")
      ->default_str("256MB");
  AddPoolFlags(*command, options->pool);
  command
      ->add_option("--tenant-secret", options->tenant_secret,
                   "file that keeps tenants apart, as decant_router takes it")
      ->type_name("FILE");
  AddTablesFlag(*command, options->tables);
  AddProfilesFlag(*command, options->profiles_dir);
  command->add_option("--dtype", options->dtype, "run type; auto is bf16 where the processor multiplies it")
      ->check(CLI::IsMember({"auto", "bf16", "f32"}))
      ->capture_default_str();
  command->add_option("--device", options->device, "what computes: host, cuda:N, or auto for the first GPU")
      ->type_name("NAME")
      ->capture_default_str();
  command->add_option("--threads", options->threads, "threads that compute; 0 for one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->callback([options, &run] { run = [options] { return Up(*options); }; });
}

}  // namespace decant
