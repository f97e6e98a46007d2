// decant_pool: keeps chunks of KV that may be used again and says how each request should get its KV.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "services/pool/app.h"
#include "services/rpc/exit_limit.h"
#include "services/rpc/log.h"
#include "services/rpc/stop_signal.h"

namespace decant {
namespace {

absl::Status Run(const PoolOptions& options, const std::string& log_level) {
  if (absl::Status log = StartLog("decant_pool", log_level); !log.ok()) return log;
  auto stop = StopSignal::Create();
  if (!stop.ok()) return stop.status();
  auto app = PoolApp::Create(options);
  if (!app.ok()) return app.status();
  if (const absl::Status started = (*app)->Start(); !started.ok()) return started;
  std::printf("ready pool=%s metrics=%s\n", (*app)->address().c_str(), (*app)->metrics_address().c_str());
  std::fflush(stdout);
  (*stop)->Wait();
  const ExitLimit limit(options.drain_limit + kExitGrace);
  (*app)->Drain();
  app->reset();
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  PoolOptions options;
  std::string log_level = "info";
  double lease_s = absl::ToDoubleSeconds(options.lease);
  double publish_idle_s = absl::ToDoubleSeconds(options.publish_idle);
  double drain_s = absl::ToDoubleSeconds(options.drain_limit);
  CLI::App cli(
      "The pool of decant: holds chunks of KV in memory, plans where each prompt's KV comes from and with which\n"
      "profile it travels. Routers name it with --pool. Ends on SIGTERM or Ctrl-C, after running calls.",
      "decant_pool");
  cli.add_option("--listen", options.listen, "address to serve on; port 0 takes a free one")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  cli.add_option("--metrics", options.metrics, "address of /metrics for Prometheus; empty for none")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  cli.add_option("--pool-bytes", options.pool_bytes,
                 "memory for stored chunks, their index included; units as in 512MB or 4GiB (both of 1024)")
      ->transform(CLI::AsSizeValue(false))
      ->type_name("BYTES")
      ->capture_default_str();
  cli.add_option("--lease-seconds", lease_s, "how long planned chunks are kept for their reader; every read renews it")
      ->capture_default_str();
  cli.add_option("--publish-idle-seconds", publish_idle_s, "a publish that brings no frame for so long is dropped")
      ->capture_default_str();
  cli.add_option("--fetch-bits-per-s", options.fetch_bits_per_s, "what to expect of the network to prefill workers")
      ->capture_default_str();
  cli.add_option("--drain-seconds", drain_s, "how long running calls may take to end on SIGTERM")
      ->capture_default_str();
  cli.add_option("--log-level", log_level, "least level of the lines on stderr")
      ->check(CLI::IsMember(LogLevelNames()))
      ->capture_default_str();
  CLI11_PARSE(cli, argc, argv);
  options.lease = absl::Seconds(lease_s);
  options.publish_idle = absl::Seconds(publish_idle_s);
  options.drain_limit = absl::Seconds(drain_s);
  const absl::Status status = Run(options, log_level);
  if (status.ok()) return 0;
  std::fprintf(stderr, "decant_pool: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) { return decant::Main(argc, argv); }
