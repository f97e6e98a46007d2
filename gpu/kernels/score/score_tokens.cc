#include "gpu/kernels/score/score_tokens.h"

#include "common/base/check.h"
#include "gpu/device/dispatch.h"
#include "gpu/kernels/score/score_tokens_cuda.h"
#include "gpu/kernels/score/score_tokens_host.h"

namespace decant {

void ScoreTokens(Stream& stream, const ScoreTokensArgs& args) {
  DECANT_CHECK_MSG(args.pool_width >= 1 && args.pool_width % 2 == 1 && args.rows <= args.tokens,
                   "pooling over %d, %d rows of %d tokens", args.pool_width, args.rows, args.tokens);
  DECANT_DISPATCH(ScoreTokens, stream, args);
}

}  // namespace decant
