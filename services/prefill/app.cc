#include "services/prefill/app.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/kv/frame.h"
#include "common/policy/measurements.h"
#include "gpu/link/device_carriers.h"
#include "gpu/link/device_mover.h"
#include "services/prefill/pool_rpc.h"
#include "services/prefill/prefill.h"
#include "services/prefill/prefill_rpc.h"
#include "services/rpc/grpc_link.h"
#include "services/rpc/metrics.h"
#include "services/rpc/worker_links.h"
#include "services/rpc/worker_rpc.h"

namespace decant {
namespace {

class PrefillRole final : public WorkerRole {
 public:
  explicit PrefillRole(std::shared_ptr<const LoadedModel> model)
      : model_(std::move(model)),
        mover_(*model_->device),
        links_(channels_, MakeDeviceCarriers(*model_->device, LogCarriers), {ProcessName(), HostName()}),
        link_(channels_, LinkOptions()),
        pool_(channels_, Served()) {}

  absl::Status Make(const PrefillAppOptions& options) {
    PrefillCoreOptions core;
    core.model = model_->folder.fingerprint;
    core.sender = HostName();
    core.frame_version = kFrameVersion;
    DECANT_ASSIGN_OR_RETURN(Measurements measurements, LoadMeasurements(options.tables, options.profiles_dir));
    core.catalogue = std::move(measurements.catalogue);
    core.tokenizer = model_->folder.tokenizer.get();
    core.waiting_limit = options.waiting_limit;
    core.publish_bytes = options.publish_bytes;
    core.gate = options.gate;
    core.metrics = PrefillMetrics::In(metrics_, link_.kind());
    core_ = std::make_unique<decant::Prefill>(*model_->weights, link_, pool_, pool_, std::move(core));
    service_ = std::make_unique<PrefillService>(*core_);
    return absl::OkStatus();
  }

  Metrics& metrics() override { return metrics_; }
  grpc::Service* service() override { return service_.get(); }
  void Drain(absl::Time limit) override { core_->Drain(limit); }

  v1::DescribeReply Describe() const override {
    v1::DescribeReply description;
    description.set_kind(v1::WORKER_KIND_PREFILL);
    *description.mutable_model() = ToProto(Served());
    description.set_device(model_->device->name());
    links_.Describe(description);
    return description;
  }

  v1::Load Load() const override {
    const PrefillLoad now = core_->load();
    v1::Load load;
    load.set_running(now.running);
    load.set_waiting(now.waiting);
    load.set_prefill_tokens_per_s(now.tokens_per_s);
    load.set_encode_bytes_per_s(now.encode_bytes_per_s);
    load.set_draining(now.draining);
    return load;
  }

 private:
  GrpcLinkOptions LinkOptions() {
    GrpcLinkOptions options;
    options.carriers = &links_;
    options.mover = &mover_;
    return options;
  }
  ServedModel Served() const {
    const Weights& weights = *model_->weights;
    return ServedModel{model_->folder.fingerprint, weights.config().geometry(), weights.run_type(),
                       weights.config().max_positions, weights.config().name};
  }

  const std::shared_ptr<const LoadedModel> model_;
  Metrics metrics_;
  Channels channels_;
  DeviceMover mover_;
  WorkerLinks links_;
  GrpcLink link_;
  PoolClient pool_;
  std::unique_ptr<decant::Prefill> core_;
  std::unique_ptr<PrefillService> service_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<WorkerApp>> CreatePrefillApp(std::shared_ptr<const LoadedModel> model,
                                                            PrefillAppOptions options) {
  auto role = std::make_unique<PrefillRole>(std::move(model));
  DECANT_RETURN_IF_ERROR(role->Make(options));
  return std::make_unique<WorkerApp>(std::move(options), std::move(role));
}

}  // namespace decant
