// The router service as a value: everything `decant_router` runs, for main.cc, the cli and tests.
#ifndef DECANT_SERVICES_ROUTER_APP_H_
#define DECANT_SERVICES_ROUTER_APP_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace decant {

struct RouterOptions {
  std::string listen = "127.0.0.1:0";   // port 0: the system chooses
  std::string metrics = "127.0.0.1:0";  // of the HTTP endpoint /metrics; empty: none
  std::string model_folder;             // for its tokenizer, limits and fingerprint; weights are not loaded
  std::string pool;                     // HOST:PORT; empty: no pool, everything is recomputed
  int32_t chunk_tokens = 64;
  int32_t max_running = 256;                          // requests at once, waiting ones included; more are refused
  int32_t prefills_per_worker = 2;                    // poured at once; further requests wait in the router
  absl::Duration request_limit = absl::Seconds(300);  // of one request, from its arrival
  absl::Duration reserve_wait = absl::Seconds(10);    // for pages, when every decode worker is full
  absl::Duration drain_limit = absl::Seconds(20);     // of the drain that the destructor does not do
};

class RouterApp {
 public:
  // Opens the model folder. INVALID_ARGUMENT for options that make no sense; the folder's own errors otherwise.
  static absl::StatusOr<std::unique_ptr<RouterApp>> Create(RouterOptions options);
  virtual ~RouterApp() = default;

  // Serves until Drain. UNAVAILABLE when an address cannot be bound.
  virtual absl::Status Start() = 0;
  // HOST:PORT as bound; valid after Start.
  virtual std::string address() const = 0;
  virtual std::string metrics_address() const = 0;
  // Refuses new requests with UNAVAILABLE, lets running ones end for RouterOptions.drain_limit, then cancels them.
  // Idempotent; the destructor drains at once.
  virtual void Drain() = 0;
};

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_APP_H_
