#include "gpu/kernels/nn/convert_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/kernels/nn/convert_rows_host.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "gpu/kernels/nn/row_parts.h"
#include "gpu/kernels/nn/run_type-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {

template <typename T>
void ConvertTo(const ConvertRowsArgs& args, int32_t first, int32_t last) {
  for (int32_t row = first; row < last; ++row) {
    for (int32_t group = 0; group < args.groups; ++group) {
      const float* in = args.in + row * args.in_stride + int64_t{group} * args.width;
      T* out = static_cast<T*>(args.out) + row * args.out_row_stride + group * args.out_group_stride;
      ForLanes(args.width, [&](auto tag, int64_t i) HWY_ATTR { StoreRun(tag, hn::LoadU(tag, in + i), out + i); });
    }
  }
}

void ConvertRowsPart(const ConvertRowsArgs& args, int32_t first, int32_t last) {
  if (args.out_type == RunType::kBf16) {
    ConvertTo<Bf16>(args, first, last);
  } else {
    ConvertTo<float>(args, first, last);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant {

HWY_EXPORT(ConvertRowsPart);
void ConvertRowsHost(Stream& stream, const ConvertRowsArgs& args) {
  const HostAccess access(stream);
  Device& device = stream.device();
  ForRowParts(device, args.rows, int64_t{args.groups} * args.width, [&](int32_t first, int32_t last) {
    HWY_DYNAMIC_DISPATCH(ConvertRowsPart)(args, first, last);
  });
}

}  // namespace decant
#endif
