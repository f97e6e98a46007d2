#include "gpu/kernels/nn/rope.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/kernels/nn/rope_host.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>

#include "gpu/kernels/nn/row_parts.h"
#include "gpu/kernels/nn/run_type-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {

void RopeRows(const RopeArgs& args, int32_t first, int32_t last) {
  const int32_t half = args.head_dim / 2;
  for (int32_t row = first; row < last; ++row) {
    const float* cosines = args.angles + int64_t{row} * args.head_dim;
    const float* sines = cosines + half;
    for (int32_t head = 0; head < args.heads; ++head) {
      float* low = args.x + row * args.stride + int64_t{head} * args.head_dim;
      float* high = low + half;
      ForLanes(half, [&](auto tag, int64_t i) HWY_ATTR {
        const auto a = hn::LoadU(tag, low + i);
        const auto b = hn::LoadU(tag, high + i);
        const auto c = hn::LoadU(tag, cosines + i);
        const auto s = hn::LoadU(tag, sines + i);
        hn::StoreU(hn::Sub(hn::Mul(a, c), hn::Mul(b, s)), tag, low + i);
        hn::StoreU(hn::Add(hn::Mul(b, c), hn::Mul(a, s)), tag, high + i);
      });
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant {

HWY_EXPORT(RopeRows);
void RopeHost(Stream& stream, const RopeArgs& args) {
  const HostAccess access(stream);
  Device& device = stream.device();
  ForRowParts(device, args.rows, int64_t{args.heads} * args.head_dim, [&](int32_t first, int32_t last) {
    HWY_DYNAMIC_DISPATCH(RopeRows)(args, first, last);
  });
}

void RopeAnglesHost(Stream& stream, const RopeAnglesArgs& args) {
  const HostAccess access(stream);
  Device& device = stream.device();
  const int32_t half = args.head_dim / 2;
  ForRowParts(device, args.rows, int64_t{args.head_dim} * 16, [&](int32_t first, int32_t last) {
    for (int32_t row = first; row < last; ++row) {
      float* out = args.angles + int64_t{row} * args.head_dim;
      for (int32_t i = 0; i < half; ++i) {
        const float angle = static_cast<float>(args.positions[row]) * args.inverse_frequencies[i];
        out[i] = std::cos(angle) * args.magnitude;
        out[half + i] = std::sin(angle) * args.magnitude;
      }
    }
  });
}

}  // namespace decant
#endif
