// What main.cc, the cli and tests do with any of the four services.
#ifndef DECANT_SERVICES_RPC_SERVICE_APP_H_
#define DECANT_SERVICES_RPC_SERVICE_APP_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace decant {

struct ServiceOptions {
  std::string listen = "127.0.0.1:0";   // port 0: the system chooses
  std::string metrics = "127.0.0.1:0";  // of the HTTP endpoint /metrics; empty: none
  absl::Duration drain_limit = absl::Seconds(20);
  std::string log_level = "info";  // of the lines on stderr, see LogLevelNames
};

class ServiceApp {
 public:
  virtual ~ServiceApp() = default;

  // Serves until Drain. UNAVAILABLE when an address cannot be bound.
  virtual absl::Status Start() = 0;
  // HOST:PORT as bound; valid after Start.
  virtual std::string address() const = 0;
  virtual std::string metrics_address() const = 0;
  // Refuses new work with UNAVAILABLE, lets what runs end for drain_limit, then cancels it. Idempotent; the destructor
  // drains at once.
  virtual void Drain() = 0;
};

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_SERVICE_APP_H_
