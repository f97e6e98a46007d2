#include "services/cli/stack.h"

#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "services/rpc/service_main.h"

namespace decant {
namespace {

constexpr absl::Duration kRegisterLimit = absl::Seconds(30);

}  // namespace

absl::StatusOr<std::unique_ptr<Stack>> Stack::Start(const StackOptions& options) {
  if (options.prefill_workers < 1 || options.decode_workers < 1) {
    return absl::InvalidArgumentError("at least one prefill and one decode worker are needed");
  }
  std::unique_ptr<Stack> stack(new Stack());
  DECANT_RETURN_IF_ERROR(stack->StartAll(options));
  return stack;
}

Stack::~Stack() {
  // Every metrics endpoint takes seconds to end; together they take no longer than one.
  std::vector<std::thread> ends;
  ends.emplace_back([this] { router_.reset(); });
  ends.emplace_back([this] { pool_.reset(); });
  for (auto& app : prefills_) ends.emplace_back([&app] { app.reset(); });
  for (auto& app : decodes_) ends.emplace_back([&app] { app.reset(); });
  for (std::thread& end : ends) end.join();
}

absl::Status Stack::StartAll(const StackOptions& options) {
  const std::string metrics = options.metrics ? "127.0.0.1:0" : "";
  DECANT_ASSIGN_OR_RETURN(model_,
                          LoadedModel::Load(options.model_folder, options.dtype, options.device, {options.threads, 0}));
  DECANT_RETURN_IF_ERROR(TellMissingMeasurements(options.tables, model_->folder));
  PoolOptions pool = options.pool;
  pool.metrics = metrics;
  pool.tables = options.tables;
  pool.profiles_dir = options.profiles_dir;
  pool.pool_bytes = options.pool_bytes;
  pool.device = options.device;
  DECANT_ASSIGN_OR_RETURN(pool_, CreatePoolApp(pool));
  DECANT_RETURN_IF_ERROR(pool_->Start());
  RouterOptions router;
  router.listen = absl::StrCat("127.0.0.1:", options.port);
  router.metrics = metrics;
  router.tenant_secret = options.tenant_secret;
  router.model_folder = options.model_folder;
  router.pool = pool_->address();
  router.profiles_dir = options.profiles_dir;
  DECANT_ASSIGN_OR_RETURN(router_, CreateRouterApp(router));
  DECANT_RETURN_IF_ERROR(router_->Start());
  for (int i = 0; i < options.decode_workers; ++i) {
    DecodeAppOptions decode;
    decode.metrics = metrics;
    decode.tables = options.tables;
    decode.profiles_dir = options.profiles_dir;
    decode.router = router_->address();
    decode.kv_budget_bytes = options.kv_budget_bytes;
    DECANT_ASSIGN_OR_RETURN(auto app, CreateDecodeApp(model_, decode));
    decodes_.push_back(std::move(app));
    DECANT_RETURN_IF_ERROR(decodes_.back()->Start());
  }
  for (int i = 0; i < options.prefill_workers; ++i) {
    PrefillAppOptions prefill;
    prefill.metrics = metrics;
    prefill.tables = options.tables;
    prefill.profiles_dir = options.profiles_dir;
    prefill.router = router_->address();
    DECANT_ASSIGN_OR_RETURN(auto app, CreatePrefillApp(model_, prefill));
    prefills_.push_back(std::move(app));
    DECANT_RETURN_IF_ERROR(prefills_.back()->Start());
  }
  const absl::Time deadline = absl::Now() + kRegisterLimit;
  for (const auto& app : decodes_) DECANT_RETURN_IF_ERROR(app->WaitRegistered(deadline));
  for (const auto& app : prefills_) DECANT_RETURN_IF_ERROR(app->WaitRegistered(deadline));
  return absl::OkStatus();
}

std::vector<std::string> Stack::metrics_addresses() const {
  std::vector<std::string> addresses = {router_->metrics_address(), pool_->metrics_address()};
  for (const auto& app : prefills_) addresses.push_back(app->metrics_address());
  for (const auto& app : decodes_) addresses.push_back(app->metrics_address());
  return addresses;
}

void Stack::Drain() {
  router_->Drain();
  for (const auto& app : prefills_) app->Drain();
  for (const auto& app : decodes_) app->Drain();
  pool_->Drain();
}

}  // namespace decant
