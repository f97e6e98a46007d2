#ifndef DECANT_GPU_KERNELS_NN_MATMUL_CUBLASLT_H_
#define DECANT_GPU_KERNELS_NN_MATMUL_CUBLASLT_H_

#include "gpu/kernels/nn/matmul.h"

namespace decant {

// What its kernels want for splitting long sums over processors.
inline constexpr int64_t kCublasLtWorkspaceBytes = int64_t{32} << 20;

// Enqueues the product with cuBLASLt. False, and nothing is enqueued, where the library is not on this machine or has
// no kernel for the shape. The library is loaded at the first call, so that a process starts without it. Thread-safe.
bool MatmulCublasLt(Stream& stream, const MatmulArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_MATMUL_CUBLASLT_H_
