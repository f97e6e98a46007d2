#ifndef DECANT_GPU_KERNELS_NN_MATMUL_HOST_H_
#define DECANT_GPU_KERNELS_NN_MATMUL_HOST_H_

#include "gpu/kernels/nn/matmul.h"

namespace decant {

void PackMatrixHost(Stream& stream, PackedMatrix& matrix, const ReadRows& read);
void MatmulHost(Stream& stream, const MatmulArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_MATMUL_HOST_H_
