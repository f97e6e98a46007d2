#include "services/decode/app.h"

#include <random>
#include <utility>

#include "common/base/status_macros.h"
#include "common/kv/frame.h"
#include "common/policy/measurements.h"
#include "gpu/link/device_carriers.h"
#include "gpu/link/device_mover.h"
#include "services/decode/decode.h"
#include "services/decode/decode_rpc.h"
#include "services/rpc/grpc_link.h"
#include "services/rpc/metrics.h"
#include "services/rpc/worker_links.h"

namespace decant {
namespace {

uint64_t RandomSeed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

class DecodeRole final : public WorkerRole {
 public:
  explicit DecodeRole(std::shared_ptr<const LoadedModel> model)
      : model_(std::move(model)),
        stream_(model_->device->NewStream()),
        mover_(*model_->device),
        links_(channels_, MakeDeviceCarriers(*model_->device, LogCarriers), {ProcessName(), HostName()}) {}

  absl::Status Make(const DecodeAppOptions& options) {
    const Weights& weights = *model_->weights;
    DecodeOptions batch_options;
    batch_options.kv_budget_bytes = options.kv_budget_bytes;
    batch_options.max_sequences = options.max_sequences;
    batch_options.model = model_->folder.fingerprint;
    kv_budget_bytes_ = options.kv_budget_bytes;
    DECANT_ASSIGN_OR_RETURN(auto batch, DecodeBatch::Create(weights, *stream_, batch_options));
    DecodeCoreOptions core;
    core.model = model_->folder.fingerprint;
    core.geometry = weights.config().geometry();
    core.run_type = weights.run_type();
    core.max_positions = weights.config().max_positions;
    core.frame_version = kFrameVersion;
    DECANT_ASSIGN_OR_RETURN(Measurements measurements, LoadMeasurements(options.tables, options.profiles_dir));
    core.catalogue = std::move(measurements.catalogue);
    core.waiting_limit = options.waiting_limit;
    core.open_limit = options.open_limit;
    core.progress_limit = options.progress_limit;
    core.ticket_seed = RandomSeed();
    core.metrics = DecodeMetrics::In(metrics_);
    core_ = std::make_unique<Decode>(std::move(batch), std::move(core));
    TransferServeOptions transfers;
    transfers.max_batch_bytes = DecodeCoreOptions().landing_bytes;
    transfers.carriers = links_.carriers();
    transfers.mover = &mover_;
    service_ = std::make_unique<DecodeService>(*core_, links_, transfers);
    return absl::OkStatus();
  }

  Metrics& metrics() override { return metrics_; }
  grpc::Service* service() override { return service_.get(); }
  void Start() override { core_->Start(); }
  void Drain(absl::Time limit) override { core_->Drain(limit); }

  v1::DescribeReply Describe() const override {
    const Weights& weights = *model_->weights;
    v1::DescribeReply description;
    description.set_kind(v1::WORKER_KIND_DECODE);
    *description.mutable_model() =
        ToProto(ServedModel{model_->folder.fingerprint, weights.config().geometry(), weights.run_type(),
                            weights.config().max_positions, weights.config().name});
    description.set_device(model_->device->name());
    links_.Describe(description);
    description.set_kv_budget_bytes(kv_budget_bytes_);
    description.set_page_bytes(core_->page_bytes());
    return description;
  }

  v1::Load Load() const override {
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

 private:
  const std::shared_ptr<const LoadedModel> model_;
  int64_t kv_budget_bytes_ = 0;
  Metrics metrics_;
  const std::unique_ptr<Stream> stream_;
  Channels channels_;
  DeviceMover mover_;
  WorkerLinks links_;
  std::unique_ptr<Decode> core_;
  std::unique_ptr<DecodeService> service_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<WorkerApp>> CreateDecodeApp(std::shared_ptr<const LoadedModel> model,
                                                           DecodeAppOptions options) {
  auto role = std::make_unique<DecodeRole>(std::move(model));
  DECANT_RETURN_IF_ERROR(role->Make(options));
  return std::make_unique<WorkerApp>(std::move(options), std::move(role));
}

}  // namespace decant
