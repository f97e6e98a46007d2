// The pool's metrics: the core counts, this shows.
#ifndef DECANT_SERVICES_POOL_METRICS_H_
#define DECANT_SERVICES_POOL_METRICS_H_

#include "services/pool/pool_messages.h"
#include "services/rpc/metrics.h"

namespace decant {

class PoolMetrics {
 public:
  // `metrics` must outlive it.
  explicit PoolMetrics(Metrics& metrics);

  // Sets the gauges and adds to the counters what happened since the last call. Not thread-safe.
  void Show(const PoolStats& stats);

 private:
  PoolStats shown_;
  Gauge stored_bytes_, capacity_bytes_, chunks_, chunks_below_, leases_;
  Counter hit_tokens_, miss_tokens_, moved_down_, moved_up_, evicted_, stored_, known_, refused_, fetched_bytes_,
      reencoded_, ladder_failed_, reencode_launches_, reencode_freed_bytes_, hints_accepted_, hints_executed_,
      hints_refused_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_METRICS_H_
