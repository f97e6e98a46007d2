// What router, pool and workers say to each other, as plain structs: the router's core knows neither gRPC nor protos.
#ifndef DECANT_SERVICES_ROUTER_MESSAGES_H_
#define DECANT_SERVICES_ROUTER_MESSAGES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/compress/profile.h"
#include "common/kv/geometry.h"
#include "common/kv/receipt.h"
#include "common/policy/candidate.h"

namespace decant {

// Names one request inside one router process; never used twice, 0 is none.
using RequestNumber = uint64_t;
// Names one try: a plan, or one pair of workers with its reservation, prefill and token stream. Never used twice, so
// that what a try says after it was given up can be told apart.
using AttemptId = uint64_t;

struct SamplingChoice {
  double temperature = 0;  // 0 = greedy
  int32_t top_k = 0;       // 0 = all
  double top_p = 0;        // 0 or 1 = all
  uint64_t seed = 0;
};

struct SloWish {
  double ttft_ms = 0;  // 0 = none stated
  double tpot_ms = 0;
};

struct KvByteCounts {
  int64_t full = 0;
  int64_t wire = 0;
  int64_t resident = 0;
};

// Everything of a request but its prompt.
struct RequestTerms {
  std::string request_id;  // empty = made by the router
  std::string tenant;      // identity of the connection; "" is the default tenant
  SamplingChoice sampling;
  int32_t max_tokens = 0;  // 0 = 256, or what the model has room for
  std::vector<std::string> stop;
  SloWish slo;
  double fidelity_floor = 0;
  std::string profile;         // empty = chosen by the pool
  double link_bits_per_s = 0;  // declared by the client; 0 = what the workers say
  bool publish = true;
};

// A request as a client states it.
struct GenerateInput {
  RequestTerms terms;
  std::optional<std::string> text;  // else token_ids
  std::vector<int32_t> token_ids;
};

// A request that was checked; made by PrepareRequest.
struct PreparedRequest {
  RequestTerms terms;  // max_tokens > 0
  std::vector<int32_t> prompt;
  absl::Duration tokenise_time = absl::ZeroDuration();
};

// ---- to and from the pool.

struct PlanQuery {
  std::string request_id;
  std::string tenant;
  RunType run_type = RunType::kF32;
  std::vector<Digest> chunk_keys;
  int32_t chunk_tokens = 0;
  int32_t prompt_tokens = 0;
  int32_t max_tokens = 0;
  SloWish slo;
  double fidelity_floor = 0;
  std::string profile;
  std::vector<PairCandidate> candidates;
};

struct PlannedPart {
  Digest key;
  int32_t first_token = 0;
  int32_t tokens = 0;
  std::string profile;
  Digest variant;
  int64_t bytes = 0;
  double quality = 0;
  Provenance provenance = Provenance::kUnspecified;
  std::string tier = "";                       // where it was when it was planned
  std::vector<std::string> encoded_from = {};  // forms it was stored in before
};

struct PlanAlternative {
  std::string profile;
  double predicted_ttft_ms = 0;
  double quality = 0;
  bool reuse = false;
  std::string verdict;
};

struct PairPlan {
  int32_t candidate = 0;  // index into PlanQuery.candidates
  std::string profile;
  Digest profile_digest;  // zero: not planned by the pool
  std::string reason;
  double predicted_ttft_ms = 0;
  double quality = 0;
  int32_t reused_tokens = 0;
  std::vector<PlanAlternative> alternatives;
};

struct PlanAnswer {
  std::vector<PairPlan> plans;  // best first
  std::vector<PlannedPart> prefix;
  uint64_t lease = 0;  // 0 = none
  std::string miss_reason;
};

struct ReportFacts {
  std::string request_id;
  std::string profile;
  std::string prefill;
  std::string decode;
  int32_t prompt_tokens = 0;
  int32_t tokens_computed = 0;
  double compute_ms = 0;
  double encode_ms = 0;
  double wire_ms = 0;
  double ttft_ms = 0;
  KvByteCounts kv;
};

// ---- to and from workers.

struct WorkerFacts {
  enum class Kind : uint8_t { kPrefill = 1, kDecode = 2 };
  std::string address;
  Kind kind = Kind::kPrefill;
  std::string model_name;
  Digest fingerprint;
  Geometry geometry;
  RunType run_type = RunType::kF32;
  int32_t max_positions = 0;
  std::vector<LinkKind> links;
  std::string host;
  double link_bits_per_s = 0;  // 0 = unknown
  int64_t page_bytes = 0;
  uint32_t frame_version = 0;
};

struct ReserveQuery {
  std::string request_id;
  int32_t prompt_tokens = 0;
  int32_t max_tokens = 0;  // still to generate
  std::string profile;
  Digest profile_digest;  // that decode has to know; zero: any
  SamplingChoice sampling;
  RunType run_type = RunType::kF32;
  int64_t first_token_index = 0;
  absl::Duration wait;  // in the queue for pages
};

struct ReserveAnswer {
  uint64_t ticket = 0;
  int64_t pages = 0;
  Digest profile_digest;  // as decode knows it
};

// Spans are lent for the call that takes the order.
struct PrefillOrder {
  std::string request_id;
  std::string tenant;
  absl::Span<const int32_t> tokens;
  SamplingChoice sampling;
  int64_t position_of_first_token = 0;
  std::string profile;
  Digest profile_digest;  // that prefill has to know: decode's
  std::string decode;
  uint64_t ticket = 0;
  RunType run_type = RunType::kF32;
  bool use_pool = false;
  double floor = 0;
  uint64_t lease = 0;
  absl::Span<const PlannedPart> prefix;
  bool publish = false;
  absl::Span<const Digest> chunk_keys;
  int32_t chunk_tokens = 0;
};

struct PrefillAnswer {
  int32_t tokens_computed = 0;
  int32_t prefix_tokens_reused = 0;
  std::string prefix_miss_reason;
  KvByteCounts kv;  // wire only
  TokenCounts tiers;
  double key_error = 0;
  double value_error = 0;
  double load_ms = 0;
  double compute_ms = 0;
  double encode_ms = 0;
  double wire_ms = 0;
};

struct TokenBatch {
  int64_t index = 0;  // of the first token, in the answer
  std::vector<int32_t> tokens;
  bool last = false;
  std::string finish_reason;  // with last: "stop" or "length"
  KvByteCounts kv;            // with last
  TokenCounts tiers;          // with last
};

// ---- to the client.

struct StartedNotice {
  std::string request_id;
  int32_t prompt_tokens = 0;
  std::string profile;
  std::string reason;
};

struct PieceNotice {
  int64_t index = 0;
  std::vector<int32_t> tokens;
  std::string text;
};

struct FinishedNotice {
  std::string finish_reason;
  int32_t prompt_tokens = 0;
  int32_t output_tokens = 0;
  double ttft_ms = 0;
  double total_ms = 0;
  KvByteCounts kv;
  TokenCounts tiers;
  int32_t prefix_tokens_reused = 0;
  std::string profile;
  std::string reason;
};

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_MESSAGES_H_
