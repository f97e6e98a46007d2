// What the pool is asked and answers, as plain structs: its core knows neither gRPC nor protos.
#ifndef DECANT_SERVICES_POOL_POOL_MESSAGES_H_
#define DECANT_SERVICES_POOL_POOL_MESSAGES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/compress/profile.h"
#include "common/compress/recipe.h"
#include "common/index/variant.h"
#include "common/kv/geometry.h"
#include "common/policy/candidate.h"
#include "common/policy/choose_profile.h"
#include "common/policy/workflow.h"
#include "common/store/host_tier.h"
#include "common/store/record.h"

namespace decant {

// Whose KV it is; two that differ in anything but the name never share a chunk.
struct PoolModel {
  Digest fingerprint;
  Geometry geometry;
  RunType run_type = RunType::kF32;
  std::string name;
};

// ---- Plan.

struct PlanDemand {
  std::string request_id;  // settles ties between pairs
  std::string tenant;
  PoolModel model;
  std::vector<Digest> chunk_keys;  // of whole chunks, in order
  int32_t chunk_tokens = 0;
  int64_t prompt_tokens = 0;
  int64_t max_tokens = 0;
  double ttft_ms = 0;  // 0 = none stated
  double tpot_ms = 0;
  double floor = 0;
  std::string profile;  // empty: choose
  std::vector<PairCandidate> candidates;
};

struct PairOffer {
  int32_t candidate = 0;  // index into PlanDemand.candidates
  ProfileChoice choice;
};

struct PlanOffer {
  std::vector<PairOffer> pairs;  // best first; of equally quick ones the less loaded
  std::vector<Variant> prefix;   // choices with reuse take the first reused_tokens of it
  uint64_t lease = 0;            // 0 = none
  absl::Duration lease_time;
  std::string miss_reason;  // why the prefix ends where it ends
};

// ---- Publish.

struct OfferedChunk {
  Digest key;
  Digest parent;
  int32_t first_token = 0;
  int32_t tokens = 0;
  Digest context;      // ContextOf what it was computed over
  double quality = 0;  // least of that and of the profile; 0 = not stated
};

struct PublishStart {
  std::string tenant;
  PoolModel model;
  std::string profile;
  std::vector<OfferedChunk> chunks;  // consecutive, in order
  double floor = 0;                  // of the request that computed them
  bool ends = false;                 // the last of them is the last whole chunk of its prompt
};

struct PublishTally {
  int32_t stored = 0;
  int32_t known = 0;
  int32_t refused = 0;
};

// ---- Fetch.

struct WantedChunk {
  Digest key;
  Digest variant;  // VariantDigest
};

// The state of one fetch; the fetcher keeps it between calls.
struct FetchCursor {
  uint64_t lease = 0;
  std::string tenant;
  std::vector<uint64_t> entries;
  std::vector<size_t> next_blob;  // per entry
  int32_t layer = 0;
  int32_t layers = 0;
  size_t chunk = 0;    // next entry within the layer
  size_t arrived = 0;  // entries from the front that are in host memory
  bool began = false;
  std::string lost;  // once it began: why the entries end before the chunks that were wanted
};

// Frames to send now: they own their bytes.
struct FetchedBatch {
  int32_t last_layer = 0;
  std::vector<Blob> frames;  // empty at the end
};

// ---- Lower tiers.

// A chunk that should be brought back into host memory.
struct LoadJob {
  uint64_t entry = 0;
  RecordId id;
  EntryUse use;                                      // by whoever wants it
  uint64_t lease = 0;                                // that asks for it; 0: a prefetch, nobody has asked for it yet
  absl::Duration useful = absl::InfiniteDuration();  // after that a prefetch is of no use any more

  bool is_prefetch() const { return lease == 0; }
};

// ---- Workflows.

// What a client says of its workflow.
struct WorkflowUpdate {
  enum class What : uint8_t { kForget, kGraph, kRunning, kSteps };

  std::string tenant;
  std::string client;
  uint64_t version = 0;
  absl::Duration life;
  What what = What::kForget;
  std::vector<WorkflowAgent> agents;  // of kGraph, as are
  AgentPrefixes prefixes;
  std::vector<std::string> running;
  std::vector<std::pair<std::string, int32_t>> steps;  // as the client knows them better
};

// Whether an agent's prompt can be read now: what a scheduler that passes over requests asks.
struct AgentReadiness {
  std::string name;
  int32_t steps = 0;  // until it runs
  int32_t chunks = 0;
  Readiness readiness;
};

// Of the tenant's chunks that agents which run next need.
struct WorkflowReceipt {
  int32_t chunks_ready = 0;          // in host memory
  int32_t chunks_prefetched = 0;     // on their way there
  std::vector<AgentReadiness> next;  // agents of the client's that run now or next
};

// ---- The ladder.

// A chunk that should be stored in a cheaper form. The frames are shared with the store, which never changes them.
struct LadderJob {
  uint32_t tenant = 0;
  uint64_t entry = 0;
  size_t from = 0;  // rungs
  size_t to = 0;
  double quality = 0;  // of the target, as measured
  int64_t frees = 0;   // bytes that are expected
  Digest source;       // the form it had
  Recipe target;
  std::vector<LayerBlob> frames;
};

// ---- What may be counted. Sums since the start, except where said otherwise.

struct PoolStats {
  int64_t stored_bytes = 0;  // now
  int64_t capacity_bytes = 0;
  int64_t chunks = 0;        // readable variants now
  int64_t chunks_below = 0;  // of these, in lower tiers only
  int64_t leases = 0;        // now
  int64_t lookup_hit_tokens = 0;
  int64_t lookup_miss_tokens = 0;
  int64_t moved_down = 0;  // chunks that host memory forgot and a lower tier has
  int64_t moved_up = 0;
  int64_t evicted = 0;
  int64_t chunks_stored = 0;
  int64_t chunks_known = 0;
  int64_t chunks_refused = 0;
  int64_t fetched_bytes = 0;
  int64_t reencoded = 0;          // chunks
  int64_t reencode_launches = 0;  // of the re-encoding operation
  int64_t reencode_freed_bytes = 0;
  int64_t ladder_failed = 0;  // chunks that could not be re-encoded
  int64_t hints_accepted = 0;
  int64_t hints_executed = 0;
  int64_t hints_refused = 0;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_POOL_MESSAGES_H_
