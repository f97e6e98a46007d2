// The four services in this process: what `decant up` runs and `decant generate --model` borrows for one call.
#ifndef DECANT_SERVICES_CLI_STACK_H_
#define DECANT_SERVICES_CLI_STACK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/decode/app.h"
#include "services/pool/app.h"
#include "services/prefill/app.h"
#include "services/router/app.h"

namespace decant {

struct StackOptions {
  std::string model_folder;
  std::string tables;        // folder of the user's measurements; empty: none
  std::string profiles_dir;  // folder of the user's profiles; empty: none
  std::string dtype = "auto";
  std::string device = "auto";  // as CreateDevice takes it; the pool's too
  int threads = 0;              // of the host device; 0 = one per core
  int port = 0;                 // of the router; 0 = any free one
  int prefill_workers = 1;
  int decode_workers = 1;
  int64_t kv_budget_bytes = int64_t{256} << 20;  // of every decode worker
  int64_t pool_bytes = int64_t{256} << 20;
  PoolOptions pool;           // besides its addresses, folders and bytes
  std::string tenant_secret;  // as RouterOptions.tenant_secret
  bool metrics = true;
};

class Stack {
 public:
  // Loads the weights once and starts everything; returns when the router knows every worker.
  static absl::StatusOr<std::unique_ptr<Stack>> Start(const StackOptions& options);
  ~Stack();

  std::string router_address() const { return router_->address(); }
  // Of router, pool, prefill and decode workers, in this order.
  std::vector<std::string> metrics_addresses() const;
  // Router first, so that what runs can still reach its workers.
  void Drain();

 private:
  Stack() = default;
  absl::Status StartAll(const StackOptions& options);

  std::shared_ptr<const LoadedModel> model_;
  std::unique_ptr<ServiceApp> pool_;
  std::vector<std::unique_ptr<WorkerApp>> decodes_;
  std::vector<std::unique_ptr<WorkerApp>> prefills_;
  std::unique_ptr<ServiceApp> router_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_CLI_STACK_H_
