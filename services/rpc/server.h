// The life of one gRPC server: start, port, health, reflection, metrics, drain, stop.
#ifndef DECANT_SERVICES_RPC_SERVER_H_
#define DECANT_SERVICES_RPC_SERVER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace grpc {
class Service;
}

namespace decant {

class Metrics;

struct ServerOptions {
  std::string listen = "127.0.0.1:0";          // port 0 = any free one
  std::string metrics_listen = "127.0.0.1:0";  // empty = no /metrics
  Metrics* metrics = nullptr;                  // null = no /metrics and no counting of calls
  std::vector<grpc::Service*> services;        // not owned; must outlive the server
  int64_t max_message_bytes = int64_t{64} << 20;
  // Called once at the start of a drain, on the thread that drains: stop taking work and return when what runs has
  // ended, at the latest at the given time. May be empty.
  std::function<void(absl::Time)> on_drain;
  absl::Duration drain_limit =
      absl::Seconds(20);  // from the start of the drain until calls still running are cancelled
};

// Thread-safe.
class Server {
 public:
  // FAILED_PRECONDITION for an address that is not loopback (there is no TLS yet), INVALID_ARGUMENT for one that can't
  // be read, UNAVAILABLE when it is taken.
  static absl::StatusOr<std::unique_ptr<Server>> Start(ServerOptions options);
  // Drains with no time left: calls still running are cancelled.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  const std::string& address() const { return address_; }                  // "127.0.0.1:41234"
  const std::string& metrics_address() const { return metrics_address_; }  // empty = none

  // NOT_SERVING in gRPC's health service, on_drain, then no new calls; calls still running at the limit are cancelled.
  // Returns when the last one has ended. A second call waits for the first.
  void Drain();
  bool draining() const;

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);
  void DrainUntil(absl::Time limit);

  std::unique_ptr<Parts> parts_;
  std::string address_;
  std::string metrics_address_;
};

// Sets glibc's allocator so that message buffers are kept instead of given back to the kernel after every message,
// which is what costs most in large transfers, and switches off the search for lock cycles that a debug build of absl
// (Debian's) makes at every lock. Server::Start and Channels call it; once per process counts.
void TuneProcess();

// OK for "127.x.y.z:port", "[::1]:port" and "localhost:port".
absl::Status CheckLoopback(const std::string& address);

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_SERVER_H_
