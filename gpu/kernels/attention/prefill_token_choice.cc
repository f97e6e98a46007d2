#include "gpu/kernels/attention/prefill_token_choice.h"

#include "common/base/check.h"
#include "gpu/device/dispatch.h"
#include "gpu/kernels/attention/prefill_cuda.h"

namespace decant {

void ChooseTokens(Stream& stream, const TokenChoiceArgs& args) {
  DECANT_CHECK_MSG(0 <= args.window && args.window <= args.kept && args.kept <= args.tokens,
                   "%d of %d tokens kept, %d of them the window", args.kept, args.tokens, args.window);
  DECANT_CHECK_MSG(args.kernel > 0 && args.kernel % 2 == 1, "pooling over %d tokens", args.kernel);
  DECANT_DISPATCH(ChooseTokens, stream, args);
}

}  // namespace decant
