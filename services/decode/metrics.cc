#include "services/decode/metrics.h"

#include "common/metrics/names.h"

namespace decant {

DecodeMetrics DecodeMetrics::In(Metrics& metrics) {
  DecodeMetrics m;
  m.tokens = metrics.AddCounter(metric::kDecodeTokens, "Tokens generated.");
  m.steps = metrics.AddCounter(metric::kDecodeSteps, "Steps of the running batch.");
  m.demoted = metrics.AddCounter(metric::kTokensDemoted, "Tokens re-encoded from high to low while decoding.");
  m.dropped = metrics.AddCounter(metric::kTokensDropped, "Tokens dropped while decoding.");
  m.committed =
      metrics.AddCounter(metric::kTransfersEnded, "Transfers by their end state.", {{"outcome", "committed"}});
  m.aborted = metrics.AddCounter(metric::kTransfersEnded, "Transfers by their end state.", {{"outcome", "aborted"}});
  m.received_bytes = LinkBytes(metrics, "in");
  m.running = metrics.AddGauge(metric::kDecodeRunning, "Sequences that generate.");
  m.waiting = metrics.AddGauge(metric::kDecodeWaiting, "Reservations that wait for pages.");
  m.pages_total = metrics.AddGauge(metric::kPagesTotal, "Pages of the device.");
  m.pages_free = metrics.AddGauge(metric::kPagesFree, "Pages promised to no sequence.");
  m.pages_reserved = metrics.AddGauge(metric::kPagesReserved, "Pages promised to sequences.");
  return m;
}

}  // namespace decant
