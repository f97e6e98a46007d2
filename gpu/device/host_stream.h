#ifndef DECANT_GPU_DEVICE_HOST_STREAM_H_
#define DECANT_GPU_DEVICE_HOST_STREAM_H_

#include <memory>

#include "gpu/device/device.h"

namespace decant {

// A stream of a host device: everything has happened when a call returns, so its events are born ready.
std::unique_ptr<Stream> NewHostStream(Device& device);

}  // namespace decant

#endif  // DECANT_GPU_DEVICE_HOST_STREAM_H_
