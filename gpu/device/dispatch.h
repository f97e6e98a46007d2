// Which schedule of an operation runs: the kernel of a CUDA device or the loops of the host.
//
// <op>.cc says `DECANT_DISPATCH(GrowRows, stream, args);` beside the headers that declare GrowRowsCuda and
// GrowRowsHost. Such files stand in DISPATCH_SRCS of their library: they are compiled again for the host launcher. A
// build without nvcc has no CUDA kernels and no CUDA device either.
#ifndef DECANT_GPU_DEVICE_DISPATCH_H_
#define DECANT_GPU_DEVICE_DISPATCH_H_

#include "common/base/check.h"
#include "gpu/device/device.h"

namespace decant {

// For operations, and ways of an operation, that have no CUDA kernel.
inline void RequireHostDevice(Stream& stream, const char* operation) {
  DECANT_CHECK_MSG(stream.device().kind() == DeviceKind::kHost, "%s has no kernel for device %s", operation,
                   stream.device().name().c_str());
}

}  // namespace decant

#if defined(DECANT_WITH_CUDA)
#define DECANT_DISPATCH(Op, stream, ...)                         \
  do {                                                           \
    if ((stream).device().kind() == ::decant::DeviceKind::kCuda) \
      Op##Cuda((stream)__VA_OPT__(, ) __VA_ARGS__);              \
    else                                                         \
      Op##Host((stream)__VA_OPT__(, ) __VA_ARGS__);              \
  } while (false)
#else
#define DECANT_DISPATCH(Op, stream, ...)          \
  do {                                            \
    ::decant::RequireHostDevice((stream), #Op);   \
    Op##Host((stream)__VA_OPT__(, ) __VA_ARGS__); \
  } while (false)
#endif

#endif  // DECANT_GPU_DEVICE_DISPATCH_H_
