// What the router remembers of requests that ended, for Explain. No prompt, answer or token is kept.
#ifndef DECANT_SERVICES_ROUTER_EXPLAIN_LEDGER_H_
#define DECANT_SERVICES_ROUTER_EXPLAIN_LEDGER_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/router/messages.h"

namespace decant {

struct Hop {
  std::string name;
  double start_ms = 0;  // since the request came
  double duration_ms = 0;
};

// Chunks in a row that were reused in the same form from the same tier.
struct ReusedPart {
  int32_t first_token = 0;
  int32_t tokens = 0;
  int32_t chunks = 0;
  std::string tier;
  std::string profile;
  std::vector<std::string> encoded_from;
  Provenance provenance = Provenance::kUnspecified;
  double quality = 1;
  int64_t bytes = 0;
};

struct Explanation {
  std::string request_id;
  std::string tenant;
  std::string profile;
  std::string reason;
  double fidelity_floor = 0;
  SloWish slo;
  std::vector<PlanAlternative> alternatives;
  int32_t prompt_tokens = 0;
  int32_t prefix_tokens_reused = 0;
  int32_t tokens_computed = 0;
  std::string prefix_miss_reason;
  std::string prefill;
  std::string decode;
  KvByteCounts kv;
  TokenCounts tiers;
  std::vector<Hop> hops;
  double predicted_ttft_ms = 0;
  double measured_ttft_ms = 0;
  int32_t replans = 0;
  std::string state;  // "running", "finished", "cancelled", or the error
  double key_error = 0;
  double value_error = 0;
  std::vector<ReusedPart> parts;
};

// The last `limit` requests; the oldest is forgotten first. A request id that is used again replaces the older one.
class ExplainLedger {
 public:
  explicit ExplainLedger(size_t limit) : limit_(limit) {}

  void Add(Explanation explanation);
  // NOT_FOUND also for another tenant's request.
  absl::StatusOr<Explanation> Find(absl::string_view tenant, absl::string_view request_id) const;
  size_t size() const { return newest_first_.size(); }

 private:
  static std::string Key(absl::string_view tenant, absl::string_view request_id);

  size_t limit_;
  std::list<Explanation> newest_first_;
  absl::flat_hash_map<std::string, std::list<Explanation>::iterator> by_key_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_EXPLAIN_LEDGER_H_
