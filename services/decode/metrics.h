#ifndef DECANT_SERVICES_DECODE_METRICS_H_
#define DECANT_SERVICES_DECODE_METRICS_H_

#include "services/rpc/link_bytes.h"
#include "services/rpc/metrics.h"

namespace decant {

// What a decode worker counts; a default one counts nothing.
struct DecodeMetrics {
  static DecodeMetrics In(Metrics& metrics);

  Counter tokens;
  Counter steps;
  Counter demoted;
  Counter dropped;
  Counter committed;
  Counter aborted;
  LinkBytes received_bytes;
  Gauge running;
  Gauge waiting;
  Gauge pages_total;
  Gauge pages_free;
  Gauge pages_reserved;
};

}  // namespace decant

#endif  // DECANT_SERVICES_DECODE_METRICS_H_
