// A CUDA device's streams and errors, for code under gpu/ that calls the CUDA runtime itself.
#ifndef DECANT_GPU_DEVICE_CUDA_STREAM_H_
#define DECANT_GPU_DEVICE_CUDA_STREAM_H_

#include <cuda_runtime_api.h>

#include "gpu/device/device.h"

namespace decant {

// REQUIRES: `stream` belongs to a device of CreateCudaDevice.
cudaStream_t CudaStreamOf(Stream& stream);

// Ends the process with one line that names `what` and the error unless it is cudaSuccess: after any error but a
// refused allocation the device's state is unknown, and whoever watches the process starts it anew.
void RequireCuda(cudaError_t error, const char* what);

}  // namespace decant

#endif  // DECANT_GPU_DEVICE_CUDA_STREAM_H_
