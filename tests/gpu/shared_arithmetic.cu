// Compiled by nvcc where there is one: the headers that host and device share are legal device code. Nothing here runs.
#include "common/base/half.h"
#include "common/base/random.h"
#include "common/kv/format.h"
#include "common/kv/page.h"
#include "common/kv/rows.h"

namespace decant {

__global__ void TouchSharedArithmetic(float* out, HeadState head) {
  out[0] = ToFloat(ToBf16(out[1])) + ToFloat(ToFp16(out[2])) + UniformFloat(1, 2);
  out[3] = static_cast<float>(FitLayout(FormatId::kK8V4, 64, 6144).tokens + RowPlace(head, 8, kLow, 1));
}

}  // namespace decant
