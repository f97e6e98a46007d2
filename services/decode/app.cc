#include "services/decode/app.h"

#include <random>
#include <utility>

#include "common/base/status_macros.h"
#include "common/kv/frame.h"
#include "services/decode/decode.h"
#include "services/decode/decode_rpc.h"
#include "services/rpc/grpc_link.h"
#include "services/rpc/metrics.h"
#include "services/rpc/server.h"
#include "services/rpc/worker_rpc.h"

namespace decant {
namespace {

uint64_t RandomSeed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

class App final : public DecodeApp {
 public:
  App(std::shared_ptr<const LoadedModel> model, DecodeAppOptions options)
      : model_(std::move(model)), options_(std::move(options)), stream_(model_->device->NewStream()) {}

  ~App() override {
    registration_.reset();
    if (worker_ != nullptr) worker_->Stop();
  }

  absl::Status Make() {
    const Weights& weights = *model_->weights;
    DecodeOptions batch_options;
    batch_options.kv_budget_bytes = options_.kv_budget_bytes;
    batch_options.max_sequences = options_.max_sequences;
    batch_options.model = model_->folder.fingerprint;
    DECANT_ASSIGN_OR_RETURN(auto batch, DecodeBatch::Create(weights, *stream_, batch_options));
    DecodeCoreOptions core;
    core.model = model_->folder.fingerprint;
    core.model_name = weights.config().name;
    core.geometry = weights.config().geometry();
    core.run_type = weights.run_type();
    core.max_positions = weights.config().max_positions;
    core.frame_version = kFrameVersion;
    DECANT_ASSIGN_OR_RETURN(core.catalogue, Catalogue::BuiltIn());
    core.waiting_limit = options_.waiting_limit;
    core.open_limit = options_.open_limit;
    core.progress_limit = options_.progress_limit;
    core.ticket_seed = RandomSeed();
    core.metrics = DecodeMetrics::In(metrics_, kGrpcLinkKind);
    core_ = std::make_unique<Decode>(std::move(batch), std::move(core));
    TransferServeOptions transfers;
    transfers.max_batch_bytes = DecodeCoreOptions().landing_bytes;
    service_ = std::make_unique<DecodeService>(*core_, transfers);
    worker_ = std::make_unique<WorkerService>(Description(), [this] { return Load(); });
    return absl::OkStatus();
  }

  absl::Status Start() override {
    core_->Start();
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
    registration_ = std::make_unique<Registration>(channels_, router, server_->address(), v1::WORKER_KIND_DECODE);
  }

  absl::Status WaitRegistered(absl::Time deadline) override { return registration_->WaitRegistered(deadline); }

  void Drain() override {
    registration_.reset();
    if (server_ != nullptr) server_->Drain();
  }

 private:
  v1::DescribeReply Description() const {
    const Weights& weights = *model_->weights;
    v1::DescribeReply description;
    description.set_kind(v1::WORKER_KIND_DECODE);
    *description.mutable_model() =
        ToProto(ServedModel{model_->folder.fingerprint, weights.config().geometry(), weights.run_type(),
                            weights.config().max_positions, weights.config().name});
    description.set_device(model_->device->name());
    description.add_links(v1::LINK_KIND_GRPC);
    description.set_host(HostName());
    description.set_link_bits_per_s(options_.link_bits_per_s);
    description.set_kv_budget_bytes(options_.kv_budget_bytes);
    description.set_page_bytes(core_->page_bytes());
    description.set_frame_version(kFrameVersion);
    return description;
  }

  v1::Load Load() const {
    const DecodeLoad now = core_->load();
    v1::Load load;
    load.set_running(now.running);
    load.set_waiting(now.waiting);
    load.set_free_pages(now.free_pages);
    load.set_total_pages(now.total_pages);
    load.set_decode_steps_per_s(now.steps_per_s);
    load.set_draining(now.draining);
    return load;
  }

  // Destroyed from the last to the first: the server before what it serves.
  const std::shared_ptr<const LoadedModel> model_;
  const DecodeAppOptions options_;
  Metrics metrics_;
  Channels channels_;
  const std::unique_ptr<Stream> stream_;
  std::unique_ptr<Decode> core_;
  std::unique_ptr<DecodeService> service_;
  std::unique_ptr<WorkerService> worker_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Registration> registration_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DecodeApp>> DecodeApp::Create(std::shared_ptr<const LoadedModel> model,
                                                             DecodeAppOptions options) {
  auto app = std::make_unique<App>(std::move(model), std::move(options));
  DECANT_RETURN_IF_ERROR(app->Make());
  return std::unique_ptr<DecodeApp>(std::move(app));
}

}  // namespace decant
