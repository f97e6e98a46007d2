#include "services/prefill/app.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/kv/frame.h"
#include "services/prefill/pool_rpc.h"
#include "services/prefill/prefill.h"
#include "services/prefill/prefill_rpc.h"
#include "services/rpc/grpc_link.h"
#include "services/rpc/metrics.h"
#include "services/rpc/server.h"
#include "services/rpc/worker_rpc.h"

namespace decant {
namespace {

class App final : public PrefillApp {
 public:
  App(std::shared_ptr<const LoadedModel> model, PrefillAppOptions options)
      : model_(std::move(model)), options_(std::move(options)), link_(channels_), pool_(channels_, Served()) {}

  ~App() override {
    registration_.reset();
    if (worker_ != nullptr) worker_->Stop();
  }

  absl::Status Make() {
    PrefillCoreOptions core;
    core.model = model_->folder.fingerprint;
    core.model_name = model_->weights->config().name;
    core.sender = HostName();
    core.frame_version = kFrameVersion;
    DECANT_ASSIGN_OR_RETURN(core.catalogue, Catalogue::BuiltIn());
    core.tokenizer = model_->folder.tokenizer.get();
    core.waiting_limit = options_.waiting_limit;
    core.gate = options_.gate;
    core.metrics = PrefillMetrics::In(metrics_);
    core_ = std::make_unique<decant::Prefill>(*model_->weights, link_, pool_, pool_, std::move(core));
    service_ = std::make_unique<PrefillService>(*core_);
    worker_ = std::make_unique<WorkerService>(Description(), [this] { return Load(); });
    return absl::OkStatus();
  }

  absl::Status Start() override {
    ServerOptions server;
    server.listen = options_.listen;
    server.metrics_listen = options_.metrics;
    server.metrics = &metrics_;
    server.services = {service_.get(), worker_.get()};
    server.drain_limit = options_.drain_limit;
    server.on_drain = [this](absl::Time limit) {
      core_->Drain(limit);
      worker_->Stop();
    };
    DECANT_ASSIGN_OR_RETURN(server_, Server::Start(std::move(server)));
    if (!options_.router.empty()) RegisterWith(options_.router);
    return absl::OkStatus();
  }

  std::string address() const override { return server_->address(); }
  std::string metrics_address() const override { return server_->metrics_address(); }

  void RegisterWith(const std::string& router) override {
    registration_ = std::make_unique<Registration>(channels_, router, server_->address(), v1::WORKER_KIND_PREFILL);
  }

  absl::Status WaitRegistered(absl::Time deadline) override { return registration_->WaitRegistered(deadline); }

  void Drain() override {
    registration_.reset();
    if (server_ != nullptr) server_->Drain();
  }

 private:
  ServedModel Served() const {
    const Weights& weights = *model_->weights;
    return ServedModel{model_->folder.fingerprint, weights.config().geometry(), weights.run_type(),
                       weights.config().max_positions, weights.config().name};
  }

  v1::DescribeReply Description() const {
    v1::DescribeReply description;
    description.set_kind(v1::WORKER_KIND_PREFILL);
    *description.mutable_model() = ToProto(Served());
    description.set_device(model_->device->name());
    description.add_links(v1::LINK_KIND_GRPC);
    description.set_host(HostName());
    description.set_link_bits_per_s(options_.link_bits_per_s);
    description.set_frame_version(kFrameVersion);
    return description;
  }

  v1::Load Load() const {
    const PrefillLoad now = core_->load();
    v1::Load load;
    load.set_running(now.running);
    load.set_waiting(now.waiting);
    load.set_prefill_tokens_per_s(now.tokens_per_s);
    load.set_encode_bytes_per_s(now.encode_bytes_per_s);
    load.set_draining(now.draining);
    return load;
  }

  // Destroyed from the last to the first: the server before what it serves.
  const std::shared_ptr<const LoadedModel> model_;
  const PrefillAppOptions options_;
  Metrics metrics_;
  Channels channels_;
  GrpcLink link_;
  PoolClient pool_;
  std::unique_ptr<decant::Prefill> core_;
  std::unique_ptr<PrefillService> service_;
  std::unique_ptr<WorkerService> worker_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Registration> registration_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PrefillApp>> PrefillApp::Create(std::shared_ptr<const LoadedModel> model,
                                                               PrefillAppOptions options) {
  auto app = std::make_unique<App>(std::move(model), std::move(options));
  DECANT_RETURN_IF_ERROR(app->Make());
  return std::unique_ptr<PrefillApp>(std::move(app));
}

}  // namespace decant
