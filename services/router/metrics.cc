#include "services/router/metrics.h"

#include <string>

#include "common/metrics/names.h"

namespace decant {
namespace {

constexpr char kWorkersHelp[] = "workers this router can use";
constexpr char kFinishedHelp[] = "requests that ended";
constexpr char kReplannedHelp[] = "requests planned again after a worker failed";

}  // namespace

RouterMetrics::RouterMetrics(Metrics& metrics)
    : metrics_(&metrics),
      running_(metrics.AddGauge(metric::kRequestsRunning, "requests under way, waiting ones included")),
      prefill_workers_(metrics.AddGauge(metric::kWorkersKnown, kWorkersHelp, {{"kind", "prefill"}})),
      decode_workers_(metrics.AddGauge(metric::kWorkersKnown, kWorkersHelp, {{"kind", "decode"}})),
      plans_without_pool_(metrics.AddCounter(metric::kPlansWithoutPool,
                                             "plans that the router made alone: its pool gave no usable one")),
      ttft_seconds_(
          metrics.AddHistogram(metric::kTtftSeconds, "from arrival to the first token", Metrics::SecondsBounds())),
      tpot_seconds_(metrics.AddHistogram(metric::kTpotSeconds, "per token after the first, mean of a request",
                                         Metrics::SecondsBounds())) {
  // A series that is there from the start can be watched before the first event.
  for (const char* outcome : {"stop", "length", "cancelled", "refused", "failed"}) {
    metrics.AddCounter(metric::kRequestsFinished, kFinishedHelp, {{"outcome", outcome}});
  }
  for (const char* cause : {"prefill", "decode"}) {
    metrics.AddCounter(metric::kRequestsReplanned, kReplannedHelp, {{"cause", cause}});
  }
}

void RouterMetrics::Chosen(absl::string_view profile) const {
  metrics_->AddCounter(metric::kProfileChosen, "reservations made with a profile", {{"profile", std::string(profile)}})
      .Increment();
}

void RouterMetrics::Replanned(absl::string_view cause) const {
  metrics_->AddCounter(metric::kRequestsReplanned, kReplannedHelp, {{"cause", std::string(cause)}}).Increment();
}

void RouterMetrics::PlannedWithoutPool() const { plans_without_pool_.Increment(); }

void RouterMetrics::Ended(const RequestOutcome& outcome) const {
  metrics_->AddCounter(metric::kRequestsFinished, kFinishedHelp, {{"outcome", std::string(outcome.outcome)}})
      .Increment();
  if (outcome.ttft_ms > 0) ttft_seconds_.Observe(outcome.ttft_ms / 1000);
  if (outcome.tpot_ms > 0) tpot_seconds_.Observe(outcome.tpot_ms / 1000);
}

void RouterMetrics::Now(int running, int prefill_workers, int decode_workers) const {
  running_.Set(running);
  prefill_workers_.Set(prefill_workers);
  decode_workers_.Set(decode_workers);
}

}  // namespace decant
