#include "gpu/kernels/nn/swi_glu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/kernels/nn/swi_glu_host.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <hwy/contrib/math/math-inl.h>

#include "gpu/kernels/nn/row_parts.h"
#include "gpu/kernels/nn/run_type-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {

template <typename T>
void GateRows(const SwiGluArgs& args, int32_t first, int32_t last) {
  for (int32_t row = first; row < last; ++row) {
    const float* gates = args.gate_up + int64_t{row} * 2 * args.width;
    const float* ups = gates + args.width;
    T* out = static_cast<T*>(args.out) + int64_t{row} * args.width;
    ForLanes(args.width, [&](auto tag, int64_t i) HWY_ATTR {
      const auto gate = hn::LoadU(tag, gates + i);
      // exp's argument stays in its range; beyond it the quotient is 0 or the gate anyway.
      const auto power = hn::Exp(tag, hn::Min(hn::Neg(gate), hn::Set(tag, 87.0f)));
      const auto silu = hn::Div(gate, hn::Add(hn::Set(tag, 1.0f), power));
      StoreRun(tag, hn::Mul(silu, hn::LoadU(tag, ups + i)), out + i);
    });
  }
}

void SwiGluRows(const SwiGluArgs& args, int32_t first, int32_t last) {
  if (args.out_type == RunType::kBf16) {
    GateRows<Bf16>(args, first, last);
  } else {
    GateRows<float>(args, first, last);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant {

HWY_EXPORT(SwiGluRows);
void SwiGluHost(Stream& stream, const SwiGluArgs& args) {
  const HostAccess access(stream);
  Device& device = stream.device();
  ForRowParts(device, args.rows, int64_t{args.width} * 4, [&](int32_t first, int32_t last) {
    HWY_DYNAMIC_DISPATCH(SwiGluRows)(args, first, last);
  });
}

}  // namespace decant
#endif
