// What the policies know of workers: plain facts, as the workers last said them.
#ifndef DECANT_COMMON_POLICY_CANDIDATE_H_
#define DECANT_COMMON_POLICY_CANDIDATE_H_

#include <cstdint>
#include <string>

#include "common/base/link_kind.h"

namespace decant {

struct WorkerLoad {
  int32_t running = 0;
  int32_t waiting = 0;
  int64_t free_pages = 0;
  int64_t total_pages = 0;          // 0 = not known
  double prefill_tokens_per_s = 0;  // recent; 0 = not measured yet
  double decode_steps_per_s = 0;
  double encode_bytes_per_s = 0;  // of full-precision bytes
  bool draining = false;
};

// A prefill and a decode worker that can reach each other.
struct PairCandidate {
  std::string prefill;  // addresses
  std::string decode;
  LinkKind link = LinkKind::kUnspecified;
  double link_bits_per_s = 0;  // stated by the client or by the workers; 0 = unknown
  WorkerLoad prefill_load;
  WorkerLoad decode_load;
  int64_t prefill_queued_tokens = 0;  // prompt tokens that stand before this request
  int64_t decode_page_bytes = 0;      // 0 = unknown
};

}  // namespace decant

#endif  // DECANT_COMMON_POLICY_CANDIDATE_H_
