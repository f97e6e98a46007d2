#include "services/rpc/worker_app.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/kv/frame.h"

namespace decant {

WorkerApp::WorkerApp(WorkerOptions options, std::unique_ptr<WorkerRole> role)
    : options_(std::move(options)),
      role_(std::move(role)),
      description_(Describe()),
      worker_(description_, [this] { return role_->Load(); }) {}

WorkerApp::~WorkerApp() {
  registration_.reset();
  worker_.Stop();
}

absl::Status WorkerApp::Start() {
  if (server_ != nullptr) return absl::FailedPreconditionError("this worker has been started already");
  role_->Start();
  ServerOptions server;
  server.listen = options_.listen;
  server.metrics_listen = options_.metrics;
  server.metrics = &role_->metrics();
  server.services = {role_->service(), &worker_};
  server.drain_limit = options_.drain_limit;
  server.on_drain = [this](absl::Time limit) {
    role_->Drain(limit);
    worker_.Stop();
  };
  DECANT_ASSIGN_OR_RETURN(server_, Server::Start(std::move(server)));
  if (!options_.router.empty()) RegisterWith(options_.router);
  return absl::OkStatus();
}

std::string WorkerApp::address() const { return server_ == nullptr ? "" : server_->address(); }
std::string WorkerApp::metrics_address() const { return server_ == nullptr ? "" : server_->metrics_address(); }

void WorkerApp::Drain() {
  registration_.reset();
  if (server_ != nullptr) server_->Drain();
}

void WorkerApp::RegisterWith(const std::string& router) {
  registration_ = std::make_unique<Registration>(channels_, router, server_->address(), description_.kind());
}

absl::Status WorkerApp::WaitRegistered(absl::Time deadline) { return registration_->WaitRegistered(deadline); }

v1::DescribeReply WorkerApp::Describe() const {
  v1::DescribeReply description = role_->Describe();
  description.set_host(HostName());
  description.set_link_bits_per_s(options_.link_bits_per_s);
  description.set_frame_version(kFrameVersion);
  return description;
}

}  // namespace decant
