// What prefill and decode workers have in common around their own service: the server, what they say of themselves and
// their place at the router.
#ifndef DECANT_SERVICES_RPC_WORKER_APP_H_
#define DECANT_SERVICES_RPC_WORKER_APP_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/rpc/server.h"
#include "services/rpc/service_app.h"
#include "services/rpc/worker_rpc.h"

namespace decant {

struct WorkerOptions : ServiceOptions {
  std::string router;  // HOST:PORT to register with; empty: none
  std::string tables;  // folders for LoadMeasurements; empty: what is compiled in
  std::string profiles_dir;
  double link_bits_per_s = 0;  // of this machine's network, as told to the pool; 0 = unknown
};

// What one kind of worker is. Outlives the server that serves it.
class WorkerRole {
 public:
  virtual ~WorkerRole() = default;
  virtual Metrics& metrics() = 0;
  virtual grpc::Service* service() = 0;
  // Kind, model, device, pages, links: all but host, link rate and frame version, which WorkerApp adds. Called once.
  virtual v1::DescribeReply Describe() const = 0;
  // Asked several times a second, from any thread.
  virtual v1::Load Load() const = 0;
  // Before the first call.
  virtual void Start() {}
  // Takes no new work and returns when what runs has ended, cancelled at `limit`.
  virtual void Drain(absl::Time limit) = 0;
};

class WorkerApp final : public ServiceApp {
 public:
  WorkerApp(WorkerOptions options, std::unique_ptr<WorkerRole> role);
  ~WorkerApp() override;

  absl::Status Start() override;
  std::string address() const override;
  std::string metrics_address() const override;
  void Drain() override;

  // The router it registers with from now on, when the options named none. REQUIRES: started.
  void RegisterWith(const std::string& router);
  // OK once the router knows this worker; at the deadline, what the router last answered. REQUIRES: a router was named.
  absl::Status WaitRegistered(absl::Time deadline);

 private:
  v1::DescribeReply Describe() const;

  // Destroyed from the last to the first: the server before what it serves.
  const WorkerOptions options_;
  const std::unique_ptr<WorkerRole> role_;
  const v1::DescribeReply description_;
  Channels channels_;
  WorkerService worker_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Registration> registration_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_WORKER_APP_H_
