// decant_router: what clients talk to. Sends every request through pool, prefill and decode.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "services/router/app.h"
#include "services/rpc/exit_limit.h"
#include "services/rpc/log.h"
#include "services/rpc/stop_signal.h"

namespace decant {
namespace {

absl::Status Run(const RouterOptions& options, const std::string& log_level) {
  if (absl::Status log = StartLog("decant_router", log_level); !log.ok()) return log;
  auto stop = StopSignal::Create();
  if (!stop.ok()) return stop.status();
  auto app = RouterApp::Create(options);
  if (!app.ok()) return app.status();
  if (const absl::Status started = (*app)->Start(); !started.ok()) return started;
  std::printf("ready router=%s metrics=%s\n", (*app)->address().c_str(), (*app)->metrics_address().c_str());
  std::fflush(stdout);
  (*stop)->Wait();
  const ExitLimit limit(options.drain_limit + kExitGrace);
  (*app)->Drain();
  app->reset();
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  RouterOptions options;
  std::string log_level = "info";
  double request_s = absl::ToDoubleSeconds(options.request_limit);
  double reserve_wait_s = absl::ToDoubleSeconds(options.reserve_wait);
  double drain_s = absl::ToDoubleSeconds(options.drain_limit);
  CLI::App cli(
      "The router of decant: takes prompts, chooses a prefill and a decode worker for each, streams the answer.\n"
      "Workers register themselves here (their --router). Ends on SIGTERM or Ctrl-C, after running requests.",
      "decant_router");
  cli.add_option("--model", options.model_folder, "Hugging Face folder of the model that the workers run")
      ->required()
      ->type_name("DIR");
  cli.add_option("--listen", options.listen, "address to serve on; port 0 takes a free one")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  cli.add_option("--metrics", options.metrics, "address of /metrics for Prometheus; empty for none")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  cli.add_option("--pool", options.pool, "address of the pool; without one every prompt is computed whole")
      ->type_name("HOST:PORT");
  cli.add_option("--chunk-tokens", options.chunk_tokens, "tokens of a chunk, the unit of reuse; the same everywhere")
      ->capture_default_str();
  cli.add_option("--max-running", options.max_running, "requests at once, waiting ones included; more are refused")
      ->capture_default_str();
  cli.add_option("--prefills-per-worker", options.prefills_per_worker, "prompts that a prefill worker gets at once")
      ->capture_default_str();
  cli.add_option("--request-seconds", request_s, "how long a request may take in all")->capture_default_str();
  cli.add_option("--reserve-wait-seconds", reserve_wait_s, "how long a request waits for pages when decode is full")
      ->capture_default_str();
  cli.add_option("--drain-seconds", drain_s, "how long running requests may take to end on SIGTERM")
      ->capture_default_str();
  cli.add_option("--log-level", log_level, "least level of the lines on stderr")
      ->check(CLI::IsMember(LogLevelNames()))
      ->capture_default_str();
  CLI11_PARSE(cli, argc, argv);
  options.request_limit = absl::Seconds(request_s);
  options.reserve_wait = absl::Seconds(reserve_wait_s);
  options.drain_limit = absl::Seconds(drain_s);
  const absl::Status status = Run(options, log_level);
  if (status.ok()) return 0;
  std::fprintf(stderr, "decant_router: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) { return decant::Main(argc, argv); }
