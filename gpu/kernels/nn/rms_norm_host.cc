#include "gpu/kernels/nn/rms_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/kernels/nn/rms_norm_host.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>

#include "gpu/kernels/nn/row_parts.h"
#include "gpu/kernels/nn/run_type-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {

template <typename T>
void NormOne(const float* in, const float* weight, int32_t width, float epsilon, T* out) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  auto squares = hn::Zero(d);
  int32_t i = 0;
  for (; i + lanes <= width; i += lanes) {
    const auto x = hn::LoadU(d, in + i);
    squares = hn::MulAdd(x, x, squares);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, squares));
  for (; i < width; ++i) sum += in[i] * in[i];
  const float scale = 1.0f / std::sqrt(sum / static_cast<float>(width) + epsilon);
  ForLanes(width, [&](auto tag, int64_t at) HWY_ATTR {
    const auto x = hn::Mul(hn::LoadU(tag, in + at), hn::Set(tag, scale));
    StoreRun(tag, hn::Mul(x, hn::LoadU(tag, weight + at)), out + at);
  });
}

template <typename T>
void NormRows(const RmsNormArgs& args, int32_t first, int32_t last) {
  for (int32_t row = first; row < last; ++row) {
    for (int32_t group = 0; group < args.groups; ++group) {
      const int64_t offset = int64_t{group} * args.width;
      NormOne(args.in + row * args.in_stride + offset, args.weight, args.width, args.epsilon,
              static_cast<T*>(args.out) + row * args.out_stride + offset);
    }
  }
}

void RmsNormRows(const RmsNormArgs& args, int32_t first, int32_t last) {
  if (args.out_type == RunType::kBf16) {
    NormRows<Bf16>(args, first, last);
  } else {
    NormRows<float>(args, first, last);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant {

HWY_EXPORT(RmsNormRows);
void RmsNormHost(Stream& stream, const RmsNormArgs& args) {
  const HostAccess access(stream);
  Device& device = stream.device();
  ForRowParts(device, args.rows, int64_t{args.groups} * args.width, [&](int32_t first, int32_t last) {
    HWY_DYNAMIC_DISPATCH(RmsNormRows)(args, first, last);
  });
}

}  // namespace decant
#endif
