#ifndef DECANT_COMMON_BASE_HOST_DEVICE_H_
#define DECANT_COMMON_BASE_HOST_DEVICE_H_

// Marks arithmetic that the host loops over and a CUDA kernel parallelises over. Headers that use it compile as C++17.
#if defined(__CUDACC__)
#define DECANT_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define DECANT_HOST_DEVICE inline
#endif

#endif  // DECANT_COMMON_BASE_HOST_DEVICE_H_
