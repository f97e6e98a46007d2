#include "gpu/kernels/score/score_tokens.h"

#include "common/base/check.h"

namespace decant {

void ScoreTokens(Stream& stream, const ScoreTokensArgs& args) {
  DECANT_CHECK_MSG(stream.device().kind() == DeviceKind::kHost, "no score operations for device %s",
                   stream.device().name().c_str());
  DECANT_CHECK_MSG(args.pool_width >= 1 && args.pool_width % 2 == 1 && args.rows <= args.tokens,
                   "pooling over %d, %d rows of %d tokens", args.pool_width, args.rows, args.tokens);
  const HostAccess access(stream);
  ScoreTokensHost(stream.device(), args);
}

}  // namespace decant
