#include "services/pool/app.h"

#include <algorithm>
#include <fstream>
#include <random>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "common/base/status_macros.h"
#include "common/policy/measurements.h"
#include "common/store/tenant_file.h"
#include "gpu/device/create_device.h"
#include "services/pool/ladder_runner.h"
#include "services/pool/pool_rpc.h"
#include "services/pool/remote_search.h"
#include "services/pool/tier_metrics.h"
#include "services/pool/tier_watch.h"
#include "services/rpc/log.h"
#include "services/rpc/metrics.h"
#include "services/rpc/server.h"

namespace decant {
namespace {

constexpr absl::Duration kExpireEvery = absl::Milliseconds(500);
constexpr absl::Duration kLeastToWrite = absl::Seconds(1);  // what lower tiers still lack, when calls took all the time

// Ends what nobody uses any more while no call comes by, and shows how the tiers are.
class Expirer {
 public:
  Expirer(std::shared_ptr<SharedPool> pool, TierMetrics metrics)
      : pool_(std::move(pool)), metrics_(std::move(metrics)), thread_([this] { Loop(); }) {}
  ~Expirer() {
    {
      absl::MutexLock lock(&mutex_);
      stopped_ = true;
    }
    thread_.join();
  }

 private:
  void Loop() {
    while (!Wait()) {
      pool_->Expire();
      const TieredStats stats = pool_->tier_stats();
      metrics_.Show(stats);
      watch_.Look(stats);
    }
  }
  bool Wait() {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&stopped_), kExpireEvery);
  }

  const std::shared_ptr<SharedPool> pool_;
  TierMetrics metrics_;
  BoundedLog log_;
  TierWatch watch_{[this](bool good, const std::string& line) {
    log_.Log(absl::Now(), good ? LogLevel::kInfo : LogLevel::kWarning, line);
  }};
  absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

class ServingPool final : public ServiceApp {
 public:
  ServingPool(PoolOptions options, std::unique_ptr<Device> device, const PoolLimits& limits, Catalogue catalogue,
              ProfileTables tables, OpenedTiers tiers, std::shared_ptr<FrameMemory> frame_memory)
      : options_(std::move(options)),
        reencodes_(limits.eviction == PoolEviction::kLadder && !limits.ladder.empty()),
        tiers_asked_(tiers.asked),
        remote_(tiers.remote),
        device_(std::move(device)),
        pool_(std::make_shared<SharedPool>(limits, std::move(catalogue), std::move(tables), metrics_,
                                           std::move(tiers.store), tiers.found, std::move(frame_memory))),
        service_(pool_) {}

  absl::Status Start() override {
    if (server_ != nullptr) return absl::FailedPreconditionError("the pool has been started already");
    ServerOptions server;
    server.listen = options_.listen;
    server.metrics_listen = options_.metrics;
    server.metrics = &metrics_;
    server.services = {&service_};
    server.drain_limit = options_.drain_limit;
    server.on_drain = [this](absl::Time) { service_.EndStreams(); };
    DECANT_ASSIGN_OR_RETURN(server_, Server::Start(std::move(server)));
    expirer_ = std::make_unique<Expirer>(pool_, TierMetrics(metrics_, pool_->tier_stats(), tiers_asked_));
    if (reencodes_) {
      DECANT_ASSIGN_OR_RETURN(ladder_, LadderRunner::Start(pool_, *device_, LadderRunnerOptions()));
    }
    if (remote_ != nullptr) {
      search_ =
          std::make_unique<RemoteSearch>(pool_, *remote_, [](const std::string& line) { Log(LogLevel::kInfo, line); });
    }
    return absl::OkStatus();
  }
  std::string address() const override { return server_ == nullptr ? "" : server_->address(); }
  std::string metrics_address() const override { return server_ == nullptr ? "" : server_->metrics_address(); }
  void Drain() override {
    if (server_ == nullptr) return;
    const absl::Time deadline = absl::Now() + options_.drain_limit;
    server_->Drain();
    const absl::Status written = pool_->DrainTiers(std::max(deadline, absl::Now() + kLeastToWrite));
    if (!written.ok()) Log(LogLevel::kWarning, absl::StrCat("lower tiers: ", written.message()));
  }

 private:
  const PoolOptions options_;
  const bool reencodes_;
  const std::vector<Tier> tiers_asked_;
  RemoteTier* const remote_;  // the pool's store's; null without one
  Metrics metrics_;
  const std::unique_ptr<Device> device_;
  std::shared_ptr<SharedPool> pool_;
  PoolService service_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Expirer> expirer_;
  std::unique_ptr<LadderRunner> ladder_;
  std::unique_ptr<RemoteSearch> search_;
};

absl::StatusOr<TenantTable> LoadTenants(const PoolOptions& options) {
  if (options.tenants.empty()) return EqualTenants(options.pool_bytes);
  std::ifstream file(options.tenants, std::ios::binary);
  std::string text;
  if (!file || !std::getline(file, text, '\0')) {
    return absl::NotFoundError(absl::StrCat(options.tenants, " cannot be read; name the file of the tenants' quotas"));
  }
  absl::StatusOr<TenantTable> tenants = ParseTenants(text, options.pool_bytes);
  if (tenants.ok()) return tenants;
  return absl::InvalidArgumentError(absl::StrCat(options.tenants, ": ", tenants.status().message()));
}

// Somewhat more than the frames take, so that there is a place for a large one although the free ones are scattered.
std::shared_ptr<FrameMemory> NewFrameMemory(int64_t pool_bytes) {
  if (pool_bytes == 0) return nullptr;
  auto memory = FrameMemory::Create(pool_bytes + pool_bytes / 8);
  if (memory.ok()) return *std::move(memory);
  Log(LogLevel::kWarning, absl::StrCat("frames are sent to readers on this host too: ", memory.status().message()));
  return nullptr;
}

}  // namespace

std::vector<std::string> PoolEvictionNames() { return {"lru", "s3fifo", "ste", "ladder"}; }

absl::StatusOr<std::unique_ptr<ServiceApp>> CreatePoolApp(PoolOptions options) {
  if (options.pool_bytes < 0) {
    return absl::InvalidArgumentError(absl::StrCat("pool_bytes is ", options.pool_bytes, "; it must not be negative"));
  }
  if (options.lease <= absl::ZeroDuration() || options.publish_idle <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("lease and publish_idle must be longer than nothing");
  }
  if (!(options.fetch_bits_per_s > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("fetch_bits_per_s is ", options.fetch_bits_per_s, "; it must be above 0"));
  }
  if (options.threads < 0) {
    return absl::InvalidArgumentError(absl::StrCat("threads is ", options.threads, "; it must not be negative"));
  }
  if (options.load_limit <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("load_limit must be longer than nothing");
  }
  const std::vector<std::string> policies = PoolEvictionNames();
  const auto policy = std::find(policies.begin(), policies.end(), options.eviction);
  if (policy == policies.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("eviction '", options.eviction, "'; there are ", absl::StrJoin(policies, ", ")));
  }
  PoolLimits limits;
  limits.eviction = static_cast<PoolEviction>(policy - policies.begin());
  limits.load_limit = options.load_limit;
  limits.capacity_bytes = options.pool_bytes;
  limits.lease = options.lease;
  std::random_device random;
  for (int i = 0; i < 8; ++i) absl::StrAppend(&limits.secret, absl::Hex(random(), absl::kZeroPad8));
  limits.publish_idle = options.publish_idle;
  limits.fetch_bits_per_s = options.fetch_bits_per_s;
  limits.ladder = options.ladder;
  DECANT_ASSIGN_OR_RETURN(limits.tenants, LoadTenants(options));
  DECANT_ASSIGN_OR_RETURN(Measurements measurements, LoadMeasurements(options.tables, options.profiles_dir));
  for (const std::string& form : options.ladder) {
    DECANT_RETURN_IF_ERROR(measurements.catalogue.Find(form).status());
  }
  DECANT_ASSIGN_OR_RETURN(auto device, CreateDevice(options.device, {options.threads, options.device_bytes}));
  std::shared_ptr<FrameMemory> frame_memory = NewFrameMemory(options.pool_bytes);
  options.tiers.frame_memory = frame_memory;
  DECANT_ASSIGN_OR_RETURN(OpenedTiers tiers, OpenTiers(options.tiers));
  for (const std::string& warning : tiers.warnings) Log(LogLevel::kWarning, warning);
  if (!options.tiers.disk.empty() && tiers.warnings.empty()) {
    Log(LogLevel::kInfo, absl::StrCat("the disk tier holds ", tiers.found.size(), " chunks from before"));
  }
  return std::make_unique<ServingPool>(std::move(options), std::move(device), limits, std::move(measurements.catalogue),
                                       std::move(measurements.tables), std::move(tiers), std::move(frame_memory));
}

}  // namespace decant
