// The pool service as a value: everything `decant_pool` runs, for main.cc, the cli and tests.
#ifndef DECANT_SERVICES_POOL_APP_H_
#define DECANT_SERVICES_POOL_APP_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/pool/tiers/open_tiers.h"
#include "services/rpc/service_app.h"

namespace CLI {
class App;
}

namespace decant {

struct PoolOptions : ServiceOptions {
  std::string tables;  // folders for LoadMeasurements; empty: what is compiled in
  std::string profiles_dir;
  int64_t pool_bytes = int64_t{1} << 30;            // true bytes of stored chunks and their index
  absl::Duration lease = absl::Seconds(30);         // renewed by use
  absl::Duration publish_idle = absl::Seconds(10);  // a publish with no frame for so long is dropped
  double fetch_bits_per_s = 8e9;  // what Plan expects of pool-to-prefill transfers until it has seen some
  // Forms that cold chunks take before any is forgotten, best first; empty: none, the least recently used goes.
  std::vector<std::string> ladder = {"full", "k8v4", "k4v2"};
  // What re-encodes: a name as CreateDevice takes it, threads if it is the host, and memory taken of a GPU. A batch
  // wants about 40 MiB.
  std::string device = "auto";
  int32_t threads = 1;
  int64_t device_bytes = int64_t{256} << 20;
  std::string eviction = "ladder";               // PoolEvictionNames
  TierOptions tiers;                             // disk and remote
  absl::Duration load_limit = absl::Seconds(2);  // of one chunk from them
  std::string tenants;  // file of who may store how much (common/store/tenant_file.h); empty: all alike
};

std::vector<std::string> PoolEvictionNames();

// --eviction, --disk, --disk-bytes, --remote, --remote-password-file, --write, --write-hits and --load-seconds, which
// every program that runs a pool has. What stands in `options` is the default; it must outlive parsing.
void AddPoolFlags(CLI::App& cli, PoolOptions& options);

// INVALID_ARGUMENT for options that make no sense, NOT_FOUND for a GPU that is not there.
absl::StatusOr<std::unique_ptr<ServiceApp>> CreatePoolApp(PoolOptions options);

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_APP_H_
