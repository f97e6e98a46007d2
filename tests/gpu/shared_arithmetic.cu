// Compiled by nvcc where there is one: the headers that host and device share are legal device code. Nothing here runs.
#include "common/base/half.h"
#include "common/base/random.h"
#include "common/compress/arith/affine.h"
#include "common/compress/arith/online_step.h"
#include "common/compress/arith/pack.h"
#include "common/compress/arith/prompt_tier.h"
#include "common/kv/format.h"
#include "common/kv/page.h"
#include "common/kv/rows.h"
#include "gpu/kernels/pages/slot.h"

namespace decant {

__global__ void TouchSharedArithmetic(float* out, HeadState head) {
  out[0] = ToFloat(ToBf16(out[1])) + ToFloat(ToFp16(out[2])) + UniformFloat(1, 2);
  out[3] = static_cast<float>(FitLayout(FormatId::kK8V4, 64, 6144).tokens + RowPlace(head, 8, kLow, 1));
}

__global__ void TouchCodes(const float* x, uint8_t* codes, uint8_t* packed) {
  const AffinePair pair = FitAffine(x[0], x[1], 4);
  codes[0] = static_cast<uint8_t>(AffineCode(x[2], ToFloat(pair.zero), InverseScale(ToFloat(pair.scale)), 4));
  PackCodes(codes, 8, 4, packed);
}

__global__ void TouchPolicies(PageArena arena, SequenceRows rows, PromptPolicy policy, StepAction* action) {
  const HeadRow row = RowOf(rows, arena.geometry, 0, 0);
  const TokenSlot slot = SlotAt(arena, row, rows.formats[kHigh], kHigh, 0);
  StepScan scan;
  const StepHead head = StepHeadOf(rows, *row.state, 0);
  ScanToken(head, kHigh, 0, *slot.position, *slot.score, scan);
  *action = DecideStep(head, scan).action;
  action->demote_to += static_cast<int32_t>(ChoosePromptTier(policy, 1, 0.5f));
}

}  // namespace decant
