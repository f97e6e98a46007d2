#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "services/pool/app.h"
#include "services/rpc/flag_range.h"
#include "services/rpc/service_main.h"

int main(int argc, char** argv) {
  decant::PoolOptions options;
  CLI::App cli(
      "The pool of decant: holds chunks of KV in memory, plans where each prompt's KV comes from and with which\n"
      "profile it travels. Routers name it with --pool. Ends on SIGTERM or Ctrl-C, after running calls.",
      "decant_pool");
  decant::AddServiceFlags(cli, options);
  decant::AddTablesFlag(cli, options.tables);
  decant::AddProfilesFlag(cli, options.profiles_dir);
  cli.add_option("--pool-bytes", options.pool_bytes,
                 "memory for stored chunks, their index included; units as in 512MB or 4GiB (both of 1024)")
      ->transform(CLI::AsSizeValue(false))
      ->check(decant::InRange(1, decant::kMostBytes))
      ->type_name("BYTES")
      ->capture_default_str();
  decant::AddSecondsFlag(cli, "--lease-seconds", options.lease,
                         "how long planned chunks are kept for their reader; every read renews it");
  decant::AddSecondsFlag(cli, "--publish-idle-seconds", options.publish_idle,
                         "a publish that brings no frame for so long is dropped");
  cli.add_option("--fetch-bits-per-s", options.fetch_bits_per_s, "what to expect of the network to prefill workers")
      ->check(decant::InRange(1, decant::kMostBitsPerS))
      ->capture_default_str();
  cli.add_option("--ladder", options.ladder,
                 "profiles that cold chunks are re-encoded to when memory is short, best first; '' for none: then the\n"
                 "least recently used chunk goes")
      ->delimiter(',')
      ->expected(0, -1)
      ->type_name("A,B,...")
      ->capture_default_str();
  decant::AddPoolFlags(cli, options);
  decant::AddDeviceFlags(cli, options.device, options.device_bytes);
  cli.add_option("--threads", options.threads, "of a host device that re-encodes; 0: one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  return decant::RunService(cli, argc, argv, "pool", options, [&] {
    std::erase(options.ladder, "");  // what '' leaves
    return decant::CreatePoolApp(options);
  });
}
