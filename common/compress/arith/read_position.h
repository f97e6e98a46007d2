// At which position a key that was stored before rope is read.
#ifndef DECANT_COMMON_COMPRESS_ARITH_READ_POSITION_H_
#define DECANT_COMMON_COMPRESS_ARITH_READ_POSITION_H_

#include <cstdint>

#include "common/base/host_device.h"
#include "common/kv/rows.h"

namespace decant {

// Tokens by which the sinks of a head move towards the query: all that left the cache between them and the recent ones.
// StreamingLLM (arXiv 2309.17453) counts positions inside the cache. Only differences of positions matter to attention,
// so the recent tokens and the query stay where they are and the sinks close the gap. REQUIRES: the token of the
// current step, at position *rows.length, is held.
DECANT_HOST_DEVICE int32_t SinkShift(const SequenceRows& rows, const HeadState& head) {
  if (rows.policy != OnlinePolicy::kSinksAndRecent) return 0;
  return *rows.length + 1 - (head.tokens[kHigh] + head.tokens[kLow] + head.tokens[kFixed]);
}

// `position` is the true one.
DECANT_HOST_DEVICE int32_t ReadPosition(const SequenceRows& rows, int32_t position, int32_t sink_shift) {
  return position < rows.sinks ? position + sink_shift : position;
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ARITH_READ_POSITION_H_
