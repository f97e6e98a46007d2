#ifndef DECANT_SERVICES_ROUTER_METRICS_H_
#define DECANT_SERVICES_ROUTER_METRICS_H_

#include "absl/strings/string_view.h"
#include "services/router/router_world.h"
#include "services/rpc/metrics.h"

namespace decant {

// What a router counts. Cheap to copy; `metrics` must outlive every copy. Thread-safe.
class RouterMetrics {
 public:
  explicit RouterMetrics(Metrics& metrics);

  void Chosen(absl::string_view profile) const;
  void Replanned(absl::string_view cause) const;
  void PlannedWithoutPool() const;
  void Ended(const RequestOutcome& outcome) const;
  void Now(int running, int prefill_workers, int decode_workers) const;

 private:
  Metrics* metrics_;
  Gauge running_;
  Gauge prefill_workers_;
  Gauge decode_workers_;
  Counter plans_without_pool_;
  Histogram ttft_seconds_;
  Histogram tpot_seconds_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_METRICS_H_
