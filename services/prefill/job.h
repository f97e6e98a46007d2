// What a prefill worker is asked and what it answers, as plain structs.
#ifndef DECANT_SERVICES_PREFILL_JOB_H_
#define DECANT_SERVICES_PREFILL_JOB_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/compress/profile.h"
#include "common/kv/receipt.h"
#include "gpu/engine/sampling.h"
#include "services/prefill/chunk_store.h"

namespace decant {

struct PrefillJob {
  std::string request_id;
  std::string tenant;
  std::vector<int32_t> tokens;
  Sampling sampling;
  int64_t position_of_first_token = 0;
  std::vector<int32_t> end_tokens;
  std::string profile;
  Digest profile_digest;  // of the profile as decode knows it; zero: not known
  Digest model;           // must be the worker's own
  RunType run_type = RunType::kBf16;
  std::string decode_address;
  uint64_t ticket = 0;
  std::string pool_address;  // empty = no pool
  uint64_t lease = 0;
  std::vector<StoredChunk> prefix;  // in order of position, from the first token on
  double floor = 0;
  bool publish = false;
  std::vector<Digest> chunk_keys;  // of all whole chunks of the prompt
  int32_t chunk_tokens = 64;
  absl::Time deadline;
};

struct PrefillOutcome {
  int32_t first_token = 0;
  bool finished = false;  // the first token ended the text
  int32_t tokens_computed = 0;
  int32_t tokens_reused = 0;
  std::string miss_reason;  // why fewer tokens than planned were reused; empty when none fell away
  std::string miss_label;   // the same as one of kRejectReasons
  int32_t chunks_missed = 0;
  int64_t full_bytes = 0;
  int64_t wire_bytes = 0;
  TokenCounts counts;
  StoredError key_error;
  StoredError value_error;
  absl::Duration load;     // waiting for stored frames and expanding them
  absl::Duration compute;  // layers
  absl::Duration encode;   // both forms
  absl::Duration wire;     // inside the link
  int32_t chunks_to_publish = 0;
  int32_t chunks_without_room = 0;  // that would have been published, too
};

}  // namespace decant

#endif  // DECANT_SERVICES_PREFILL_JOB_H_
