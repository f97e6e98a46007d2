// The workers that are there: what they are, how loaded they are, and what this router has put on them.
#ifndef DECANT_SERVICES_ROUTER_WORKER_REGISTRY_H_
#define DECANT_SERVICES_ROUTER_WORKER_REGISTRY_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/router/messages.h"
#include "services/router/request_check.h"

namespace decant {

struct PairNeed {
  int32_t prompt_tokens = 0;
  int32_t max_tokens = 0;
  double declared_link_bits_per_s = 0;
  absl::string_view request_id = {};  // settles ties
};

// Every worker here runs the same model, in the same run type, with the same frames as every other. Not thread-safe.
class WorkerRegistry {
 public:
  // A worker that has not been heard of for `silence` is as good as lost.
  WorkerRegistry(const RouterModel& model, int32_t most_workers, int32_t prefills_per_worker, absl::Duration silence)
      : model_(model), most_workers_(most_workers), prefills_per_worker_(prefills_per_worker), silence_(silence) {}

  // FAILED_PRECONDITION, naming both values, for a worker of another model, geometry, run type or frame version than
  // the router or the workers that are there. RESOURCE_EXHAUSTED beyond the bound. A worker that is known is renewed.
  absl::Status Add(absl::Time now, const WorkerFacts& facts);
  void ReportLoad(absl::Time now, const std::string& address, const WorkerLoad& load);  // unknown: ignored
  bool Remove(const std::string& address);                                              // false if unknown
  bool Contains(const std::string& address) const { return workers_.contains(address); }

  std::vector<std::string> SilentSince(absl::Time now) const;
  absl::Time NextSilence() const;  // InfiniteFuture without workers

  // Work that this router gives to a worker, counted until it is taken back; the worker's own load lags behind it.
  void PlacePrefill(const std::string& prefill, int32_t tokens);
  void TakePrefill(const std::string& prefill, int32_t tokens);
  void PlaceSequence(const std::string& decode);
  void TakeSequence(const std::string& decode);

  // Pairs of workers that take new work, best first.
  std::vector<PairCandidate> Pairs(const PairNeed& need) const;
  // Whether a prefill worker is below its share of prefills.
  bool HasPlace(const std::string& prefill) const;
  // Prefills that may be under way at once over all workers that take work.
  int32_t prefill_places() const;
  int32_t count(WorkerFacts::Kind kind) const;
  // Of the workers that are there; F32 without any.
  RunType run_type() const;

 private:
  struct Worker {
    WorkerFacts facts;
    WorkerLoad load;
    absl::Time heard;
    int32_t prefills = 0;
    int64_t queued_tokens = 0;
    int32_t sequences = 0;
  };
  PairCandidate Pair(const Worker& prefill, const Worker& decode, double declared_bits_per_s) const;

  RouterModel model_;
  int32_t most_workers_;
  int32_t prefills_per_worker_;
  absl::Duration silence_;
  std::map<std::string, Worker> workers_;  // ordered, so that equal choices are made equally everywhere
};

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_WORKER_REGISTRY_H_
