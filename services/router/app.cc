#include "services/router/app.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "common/model/model_folder.h"
#include "common/policy/measurements.h"
#include "services/router/router_rpc.h"
#include "services/router/tenant_secret.h"
#include "services/rpc/metrics.h"
#include "services/rpc/resolve.h"
#include "services/rpc/server.h"

namespace decant {
namespace {

absl::Status Check(const RouterOptions& options) {
  if (options.model_folder.empty()) return absl::InvalidArgumentError("a router needs a model folder: --model DIR");
  if (options.chunk_tokens < 1 || options.chunk_tokens > 4096) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunk_tokens is ", options.chunk_tokens, "; allowed are 1 to 4096"));
  }
  if (options.max_running < 1 || options.prefills_per_worker < 1) {
    return absl::InvalidArgumentError(absl::StrCat("max_running (", options.max_running, ") and prefills_per_worker (",
                                                   options.prefills_per_worker, ") must be at least 1"));
  }
  if (options.request_limit <= absl::ZeroDuration() || options.reserve_wait < absl::ZeroDuration()) {
    return absl::InvalidArgumentError("the request limit must be above 0 and the wait for pages at least 0");
  }
  return absl::OkStatus();
}

class RouterProcess final : public ServiceApp {
 public:
  RouterProcess(RouterOptions options, std::unique_ptr<Tokenizer> tokenizer, RouterNodeOptions node)
      : options_(std::move(options)), tokenizer_(std::move(tokenizer)), node_(std::move(node), metrics_) {}

  absl::Status Start() override {
    ServerOptions server;
    server.listen = options_.listen;
    server.metrics_listen = options_.metrics;
    server.metrics = &metrics_;
    server.services = {&node_};
    server.on_drain = [this](absl::Time limit) { node_.DrainUntil(limit); };
    server.drain_limit = options_.drain_limit;
    // A prompt as text takes a few bytes a position; anything far beyond is refused before it is read.
    server.max_message_bytes = int64_t{8} << 20;
    DECANT_ASSIGN_OR_RETURN(server_, Server::Start(std::move(server)));
    return absl::OkStatus();
  }
  std::string address() const override { return server_ == nullptr ? "" : server_->address(); }
  std::string metrics_address() const override { return server_ == nullptr ? "" : server_->metrics_address(); }
  void Drain() override {
    if (server_ != nullptr) server_->Drain();
  }

 private:
  const RouterOptions options_;
  const std::unique_ptr<Tokenizer> tokenizer_;
  Metrics metrics_;
  RouterNode node_;
  std::unique_ptr<Server> server_;  // last: its calls end before the node does
};

}  // namespace

absl::StatusOr<std::unique_ptr<ServiceApp>> CreateRouterApp(RouterOptions options) {
  DECANT_RETURN_IF_ERROR(Check(options));
  if (!options.pool.empty() && absl::IsInvalidArgument(ResolveTargets(options.pool).status())) {
    return ResolveTargets(options.pool).status();
  }
  DECANT_ASSIGN_OR_RETURN(ModelFolder folder, OpenModelFolder(options.model_folder));
  DECANT_ASSIGN_OR_RETURN(const Measurements measurements, LoadMeasurements("", options.profiles_dir));
  RouterNodeOptions node;
  if (!options.tenant_secret.empty()) {
    DECANT_ASSIGN_OR_RETURN(node.limits.tenant_secret, ReadTenantSecret(options.tenant_secret));
  }
  node.model.name = folder.config.name;
  node.model.fingerprint = folder.fingerprint;
  node.model.geometry = folder.config.geometry();
  node.model.max_positions = folder.config.max_positions;
  node.model.vocabulary = folder.config.vocabulary;
  node.model.end_tokens = folder.config.end_tokens;
  node.model.tokenizer = folder.tokenizer.get();
  node.model.profiles = measurements.catalogue.Names();
  node.pool = options.pool;
  node.limits.has_pool = !options.pool.empty();
  node.limits.chunk_tokens = options.chunk_tokens;
  node.limits.most_running = options.max_running;
  node.limits.prefills_per_worker = options.prefills_per_worker;
  node.limits.request = options.request_limit;
  node.limits.reserve_wait = options.reserve_wait;
  // Ids of one run must not meet those of the next one in a log.
  node.limits.id_seed = static_cast<uint64_t>(absl::ToUnixNanos(absl::Now()));
  return std::make_unique<RouterProcess>(std::move(options), std::move(folder.tokenizer), std::move(node));
}

}  // namespace decant
