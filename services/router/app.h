// The router service as a value: everything `decant_router` runs, for main.cc, the cli and tests.
#ifndef DECANT_SERVICES_ROUTER_APP_H_
#define DECANT_SERVICES_ROUTER_APP_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/rpc/service_app.h"

namespace decant {

struct RouterOptions : ServiceOptions {
  std::string model_folder;  // for its tokenizer, limits and fingerprint; weights are not loaded
  // HOST:PORT of the pool, several of its shards with commas between, or dns:///HOST:PORT for all addresses of a name;
  // empty: no pool, everything is recomputed.
  std::string pool;
  std::string profiles_dir;  // folder of the user's profiles; empty: none
  // File with the secret that tenants' namespaces are derived from, the same for all routers of a pool; empty: only the
  // default tenant is served.
  std::string tenant_secret;
  int32_t chunk_tokens = 64;
  int32_t max_running = 256;                          // requests at once, waiting ones included; more are refused
  int32_t prefills_per_worker = 2;                    // poured at once; further requests wait in the router
  absl::Duration request_limit = absl::Seconds(300);  // of one request, from its arrival
  absl::Duration reserve_wait = absl::Seconds(10);    // for pages, when every decode worker is full
};

// Opens the model folder. INVALID_ARGUMENT for options that make no sense; the folder's own errors otherwise.
absl::StatusOr<std::unique_ptr<ServiceApp>> CreateRouterApp(RouterOptions options);

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_APP_H_
