#include <CLI/CLI.hpp>

#include "services/pool/app.h"
#include "services/pool/tiers/disk_tier.h"
#include "services/rpc/flag_range.h"
#include "services/rpc/service_main.h"

namespace decant {

void AddPoolFlags(CLI::App& cli, PoolOptions& options) {
  cli.add_option("--eviction", options.eviction,
                 "what goes first when host memory is short: 'lru' the least recently used chunk, 's3fifo' what came\n"
                 "once and was not asked for again, 'ste' what the workflows of agents need latest, 'ladder' what is\n"
                 "worth least per byte, re-encoded as --ladder says before it goes; the others re-encode nothing")
      ->check(CLI::IsMember(PoolEvictionNames()))
      ->capture_default_str();
  cli.add_option("--tenants", options.tenants,
                 "JSON file of who may store how much: {\"tenants\": {\"NAME\": {\"quota_bytes\": N, \"weight\": W,\n"
                 "\"retention_bytes\": N}}, \"default\": {...}}")
      ->type_name("FILE");
  cli.add_option(
         "--disk", options.tiers.disk,
         "folder of a disk tier, made when missing, for one pool at a time: chunks that host memory forgets stay\n"
         "there, and are found again after a restart; each takes some 400 bytes of memory beside --pool-bytes")
      ->type_name("DIR");
  cli.add_option("--disk-bytes", options.tiers.disk_bytes, "what the disk tier may occupy, everything included")
      ->transform(CLI::AsSizeValue(false))
      ->check(InRange(kLeastDiskBytes, kMostBytes))
      ->type_name("BYTES")
      ->default_str("16GiB");
  cli.add_option("--remote", options.tiers.remote,
                 "a Redis or Valkey server behind the disk tier, or the path of its socket; it bounds what it keeps")
      ->type_name("HOST:PORT");
  cli.add_option("--remote-password-file", options.tiers.remote_password_file, "its password: the file's first line")
      ->type_name("FILE");
  cli.add_option(
         "--write", options.tiers.write,
         "when chunks are written to lower tiers: 'through' as soon as they are stored, 'selective' when they were\n"
         "used --write-hits times, 'back' when host memory forgets them or the pool ends")
      ->check(CLI::IsMember({"through", "selective", "back"}))
      ->capture_default_str();
  cli.add_option("--write-hits", options.tiers.write_hits, "uses that make --write selective write a chunk")
      ->check(CLI::Range(1, 255))
      ->capture_default_str();
  AddSecondsFlag(cli, "--load-seconds", options.load_limit,
                 "how long a chunk may take from a lower tier; then it is computed instead");
}

}  // namespace decant
