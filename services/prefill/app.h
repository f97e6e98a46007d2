// The prefill worker as a value: everything `decant_prefill` runs, for main.cc, the cli and tests.
#ifndef DECANT_SERVICES_PREFILL_APP_H_
#define DECANT_SERVICES_PREFILL_APP_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gpu/engine/loaded_model.h"

namespace decant {

class LayerGate;

struct PrefillAppOptions {
  std::string listen = "127.0.0.1:0";   // port 0: the system chooses
  std::string metrics = "127.0.0.1:0";  // of the HTTP endpoint /metrics; empty: none
  std::string router;                   // HOST:PORT to register with; empty: none
  int32_t waiting_limit = 16;           // prompts that may queue
  double link_bits_per_s = 0;           // of this machine's network, as told to the pool; 0 = unknown
  absl::Duration drain_limit = absl::Seconds(20);
  LayerGate* gate = nullptr;  // for tests
};

class PrefillApp {
 public:
  static absl::StatusOr<std::unique_ptr<PrefillApp>> Create(std::shared_ptr<const LoadedModel> model,
                                                            PrefillAppOptions options);
  virtual ~PrefillApp() = default;

  // Serves until Drain. UNAVAILABLE when an address cannot be bound.
  virtual absl::Status Start() = 0;
  // HOST:PORT as bound; valid after Start.
  virtual std::string address() const = 0;
  virtual std::string metrics_address() const = 0;
  // The router it registers with from now on, when the options named none. REQUIRES: started.
  virtual void RegisterWith(const std::string& router) = 0;
  // OK once the router knows this worker; at the deadline, what the router last answered. REQUIRES: a router was named.
  virtual absl::Status WaitRegistered(absl::Time deadline) = 0;
  // Refuses new prompts, lets those here end for drain_limit, then cancels them. Idempotent; the destructor drains at
  // once.
  virtual void Drain() = 0;
};

}  // namespace decant

#endif  // DECANT_SERVICES_PREFILL_APP_H_
