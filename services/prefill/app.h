// The prefill worker as a value: everything `decant_prefill` runs, for main.cc, the cli and tests.
#ifndef DECANT_SERVICES_PREFILL_APP_H_
#define DECANT_SERVICES_PREFILL_APP_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "gpu/engine/loaded_model.h"
#include "services/rpc/worker_app.h"

namespace decant {

class LayerGate;

struct PrefillAppOptions : WorkerOptions {
  int32_t waiting_limit = 16;                 // prompts that may queue
  int64_t publish_bytes = int64_t{64} << 20;  // computed chunks on their way to the pool; what exceeds it is not stored
  LayerGate* gate = nullptr;                  // for tests
};

absl::StatusOr<std::unique_ptr<WorkerApp>> CreatePrefillApp(std::shared_ptr<const LoadedModel> model,
                                                            PrefillAppOptions options);

}  // namespace decant

#endif  // DECANT_SERVICES_PREFILL_APP_H_
