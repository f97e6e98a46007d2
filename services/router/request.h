// The state of one request inside the router's core.
#ifndef DECANT_SERVICES_ROUTER_REQUEST_H_
#define DECANT_SERVICES_ROUTER_REQUEST_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/router/answer_text.h"
#include "services/router/explain_ledger.h"
#include "services/router/messages.h"

namespace decant {

enum class Stage : uint8_t {
  kQueued,     // waits for a place at a prefill worker
  kPlanning,   // the pool was asked
  kReserving,  // a decode worker was asked
  kPouring,    // prefill runs
  kStreaming,  // prefill has answered, decode generates
  kClosing,    // the answer is complete, prefill's numbers are still to come
};

// One try at one pair of workers, and the plan it came from.
struct Attempt {
  AttemptId id = 0;
  std::vector<PairCandidate> candidates;
  std::vector<PairPlan> plans;  // best first
  size_t plan = 0;              // the one in use
  std::vector<PlannedPart> prefix;
  std::vector<Digest> chunk_keys;
  std::string miss_reason;
  bool by_pool = false;  // false: the pool was not there, everything is recomputed
  uint64_t lease = 0;
  RunType run_type = RunType::kF32;

  std::set<std::string> refused;      // decode workers that would not reserve
  std::optional<absl::Status> full;   // what a worker without pages said
  std::optional<absl::Status> other;  // what refused for another reason
  bool waits = false;                 // the second round, in which one worker is asked to queue the request

  std::string prefill;
  std::string decode;
  uint64_t ticket = 0;  // 0 = none held
  bool reserve_open = false;
  bool prefill_open = false;
  bool tokens_open = false;
  bool flowing = false;  // a token came, so the transfer was committed
  absl::Time step_began;

  const PairPlan& chosen() const { return plans[plan]; }
};

struct Request {
  Request(const Tokenizer& tokenizer, PreparedRequest prepared)
      : terms(std::move(prepared.terms)),
        tokens(std::move(prepared.prompt)),
        prompt_tokens(static_cast<int32_t>(tokens.size())),
        text(tokenizer, terms.stop) {}

  int32_t answered() const { return static_cast<int32_t>(tokens.size()) - prompt_tokens; }
  int32_t left() const { return terms.max_tokens - answered(); }

  RequestNumber number = 0;
  RequestTerms terms;
  std::vector<int32_t> tokens;  // the prompt, then the answer so far
  const int32_t prompt_tokens;
  AnswerText text;

  Stage stage = Stage::kQueued;
  absl::Time arrived;
  absl::Time deadline;
  absl::Time step_deadline = absl::InfiniteFuture();
  absl::Time first_token_at = absl::InfinitePast();
  absl::Time last_token_at = absl::InfinitePast();

  Attempt attempt;
  bool holds_place = false;            // counted in Router::places_taken_
  std::map<std::string, int> strikes;  // of workers that failed this request, so that others come first
  int32_t replans = 0;
  std::optional<PrefillAnswer> prefilled;  // of the first try that answered, which is the one that knows the prefix

  bool started = false;       // EmitStarted was called
  bool client_waits = true;   // no EmitFinished or EmitError yet
  std::string finish_reason;  // once complete
  Explanation explanation;
};

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_REQUEST_H_
