// The state of one request inside the router's core.
#ifndef DECANT_SERVICES_ROUTER_REQUEST_H_
#define DECANT_SERVICES_ROUTER_REQUEST_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
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

// How much a failure counts against a worker when another is looked for: a broken transfer may be the fault of either
// end.
inline constexpr int kSuspected = 1;
inline constexpr int kBlamed = 4;

// One try at one pair of workers, and the plan it came from.
struct Attempt {
  AttemptId id = 0;  // 0 = none under way
  int32_t prompt_tokens = 0;
  RunType run_type = RunType::kF32;
  std::vector<PairCandidate> candidates;
  std::vector<Digest> chunk_keys;

  bool by_pool = false;         // false: the pool was not there, everything is recomputed
  std::vector<PairPlan> plans;  // best first
  size_t plan = 0;              // the one in use
  std::vector<PlannedPart> prefix;
  std::string miss_reason;
  uint64_t lease = 0;  // 0 = none held

  std::set<std::string> refused;        // decode workers that would not reserve
  std::set<std::string> without_pages;  // those of them that had no pages
  absl::Status failure;                 // why they refused; being out of pages counts more than anything else
  bool waits = false;                   // the second round, in which one worker is asked to queue the request

  std::string prefill;  // addresses
  std::string decode;
  uint64_t ticket = 0;    // 0 = none held
  Digest profile_digest;  // as the decode worker knows it; zero: it did not say
  bool reserve_open = false;
  bool prefill_open = false;
  bool prefill_placed = false;  // counted in the registry
  bool tokens_open = false;
  bool flowing = false;  // a token came, so the transfer was committed
  absl::Time step_began;

  const PairPlan& chosen() const { return plans[plan]; }
};

struct Request {
  Request(RequestNumber request_number, const Tokenizer& tokenizer, PreparedRequest prepared, absl::Time came);

  int32_t answered() const { return static_cast<int32_t>(tokens.size()) - prompt_tokens; }
  int32_t left() const { return terms.max_tokens - answered(); }
  double ttft_ms() const;  // 0 before the first token
  double tpot_ms() const;  // 0 before the second

  void AddHop(absl::string_view name, absl::Time start, absl::Time end);
  void MarkFirstToken(absl::Time now);
  // What Explain tells of the try that begins to pour.
  void ExplainAttempt();
  // What prefill measured; of several tries the first knows the prefix, and all have written to the wire.
  void TakeNumbers(const PrefillAnswer& answer);
  // What decode says with the last token.
  void TakeEnd(const TokenBatch& batch);

  const RequestNumber number;
  const RequestTerms terms;
  std::vector<int32_t> tokens;  // the prompt, then the answer so far
  const int32_t prompt_tokens;
  AnswerText text;

  const absl::Time arrived;
  absl::Time deadline;
  absl::Time wake = absl::InfiniteFuture();  // in Router::wakes_
  absl::Time queued_at;
  absl::Time taken_at;  // from the queue
  absl::Time first_token_at = absl::InfinitePast();
  absl::Time last_token_at = absl::InfinitePast();

  Stage stage = Stage::kQueued;
  Attempt attempt;
  bool holds_place = false;            // counted in Router::places_taken_
  std::map<std::string, int> strikes;  // of workers that failed this request, so that others come first
  int32_t replans = 0;
  absl::Status last_failure;
  std::optional<PrefillAnswer> prefilled;

  bool started = false;       // EmitStarted was called
  bool client_waits = true;   // no EmitFinished or EmitError yet
  bool ended_itself = false;  // the last token is an end token
  std::string finish_reason;  // once complete
  Explanation explanation;
};

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_REQUEST_H_
