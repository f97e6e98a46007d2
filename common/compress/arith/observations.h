// How many queries a score sum stands for. The true position and this count are separate things (defect D13): pages
// store the position, the count follows from it.
#ifndef DECANT_COMMON_COMPRESS_ARITH_OBSERVATIONS_H_
#define DECANT_COMMON_COMPRESS_ARITH_OBSERVATIONS_H_

#include <cstdint>

#include "common/base/host_device.h"
#include "common/compress/recipe.h"

namespace decant {

// Queries whose attention is in the sum of the token at `position`, when the queries first_query .. now - 1 left
// scores. The mean over all later queries leaves the token's own query out, the last window takes it in.
DECANT_HOST_DEVICE int32_t Observations(int32_t position, int32_t first_query, int32_t now, ScoreSource source) {
  const int32_t first = source == ScoreSource::kAllLaterQueries ? position + 1 : position;
  const int32_t from = first > first_query ? first : first_query;
  return now > from ? now - from : 0;
}

// Whether enough queries have passed over the token, its own included, for a policy to touch it.
DECANT_HOST_DEVICE bool HasSettled(int32_t position, int32_t first_query, int32_t now, int32_t window) {
  const int32_t from = position > first_query ? position : first_query;
  return now - from >= window;
}

// Whether a token may be given up for good: a mean over all later queries is believed once at least half of them are in
// it. Behind a reused prefix, whose own queries left no scores, a short suffix must not judge alone; the newest queries
// of a window are all that its scores ever mean.
DECANT_HOST_DEVICE bool MayLeave(int32_t position, int32_t first_query, int32_t now, ScoreSource source) {
  if (source != ScoreSource::kAllLaterQueries) return true;
  return 2 * Observations(position, first_query, now, source) >= now - position - 1;
}

DECANT_HOST_DEVICE float MeanScore(float sum, int32_t observations) {
  return observations > 0 ? sum / static_cast<float>(observations) : 0.0f;
}

DECANT_HOST_DEVICE constexpr ScoreSource SourceOf(OnlinePolicy policy) {
  return policy == OnlinePolicy::kDiffKvPaper  ? ScoreSource::kAllLaterQueries
         : policy == OnlinePolicy::kDiffKvCode ? ScoreSource::kLastWindow
                                               : ScoreSource::kNone;
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ARITH_OBSERVATIONS_H_
