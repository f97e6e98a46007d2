// The decode worker as a value: everything `decant_decode` runs, for main.cc, the cli and tests.
#ifndef DECANT_SERVICES_DECODE_APP_H_
#define DECANT_SERVICES_DECODE_APP_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gpu/engine/loaded_model.h"

namespace decant {

struct DecodeAppOptions {
  std::string listen = "127.0.0.1:0";            // port 0: the system chooses
  std::string metrics = "127.0.0.1:0";           // of the HTTP endpoint /metrics; empty: none
  std::string router;                            // HOST:PORT to register with; empty: none
  int64_t kv_budget_bytes = int64_t{256} << 20;  // pages, taken at start
  int32_t max_sequences = 64;                    // that run at once
  int32_t waiting_limit = 64;                    // reservations that may queue for pages
  double link_bits_per_s = 0;                    // of this machine's network, as told to the pool; 0 = unknown
  absl::Duration open_limit = absl::Seconds(60);
  absl::Duration progress_limit = absl::Seconds(5);
  absl::Duration drain_limit = absl::Seconds(20);
};

class DecodeApp {
 public:
  // RESOURCE_EXHAUSTED when the device has no room for the pages, INVALID_ARGUMENT for options that make no sense.
  static absl::StatusOr<std::unique_ptr<DecodeApp>> Create(std::shared_ptr<const LoadedModel> model,
                                                           DecodeAppOptions options);
  virtual ~DecodeApp() = default;

  // Serves until Drain. UNAVAILABLE when an address cannot be bound.
  virtual absl::Status Start() = 0;
  // HOST:PORT as bound; valid after Start.
  virtual std::string address() const = 0;
  virtual std::string metrics_address() const = 0;
  // The router it registers with from now on, when the options named none. REQUIRES: started.
  virtual void RegisterWith(const std::string& router) = 0;
  // OK once the router knows this worker; at the deadline, what the router last answered. REQUIRES: a router was named.
  virtual absl::Status WaitRegistered(absl::Time deadline) = 0;
  // Refuses new reservations, lets running sequences end for drain_limit, then cancels them. Idempotent; the destructor
  // drains at once.
  virtual void Drain() = 0;
};

}  // namespace decant

#endif  // DECANT_SERVICES_DECODE_APP_H_
