// The decode worker as a value: everything `decant_decode` runs, for main.cc, the cli and tests.
#ifndef DECANT_SERVICES_DECODE_APP_H_
#define DECANT_SERVICES_DECODE_APP_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gpu/engine/loaded_model.h"
#include "services/rpc/worker_app.h"

namespace decant {

struct DecodeAppOptions : WorkerOptions {
  int64_t kv_budget_bytes = int64_t{256} << 20;  // pages, taken at start
  int32_t max_sequences = 64;                    // that run at once
  int32_t waiting_limit = 64;                    // reservations that may queue for pages
  absl::Duration open_limit = absl::Seconds(60);
  absl::Duration progress_limit = absl::Seconds(5);
};

// RESOURCE_EXHAUSTED when the device has no room for the pages, INVALID_ARGUMENT for options that make no sense.
absl::StatusOr<std::unique_ptr<WorkerApp>> CreateDecodeApp(std::shared_ptr<const LoadedModel> model,
                                                           DecodeAppOptions options);

}  // namespace decant

#endif  // DECANT_SERVICES_DECODE_APP_H_
