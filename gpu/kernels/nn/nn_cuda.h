// The room's operations on a CUDA device; the contract of each stands in <op>.h.
#ifndef DECANT_GPU_KERNELS_NN_NN_CUDA_H_
#define DECANT_GPU_KERNELS_NN_NN_CUDA_H_

#include "gpu/kernels/nn/add_bias.h"
#include "gpu/kernels/nn/convert_rows.h"
#include "gpu/kernels/nn/embed.h"
#include "gpu/kernels/nn/gather_rows.h"
#include "gpu/kernels/nn/matmul.h"
#include "gpu/kernels/nn/rms_norm.h"
#include "gpu/kernels/nn/rope.h"
#include "gpu/kernels/nn/sample.h"
#include "gpu/kernels/nn/scatter_rows.h"
#include "gpu/kernels/nn/swi_glu.h"
#include "gpu/kernels/nn/unrotate_keys.h"

namespace decant {

void AddBiasCuda(Stream& stream, const AddBiasArgs& args);
void ConvertRowsCuda(Stream& stream, const ConvertRowsArgs& args);
void EmbedCuda(Stream& stream, const EmbedArgs& args);
void GatherRowsCuda(Stream& stream, const GatherRowsArgs& args);
void RmsNormCuda(Stream& stream, const RmsNormArgs& args);
void RopeAnglesCuda(Stream& stream, const RopeAnglesArgs& args);
void RopeCuda(Stream& stream, const RopeArgs& args);
void SampleCuda(Stream& stream, const SampleArgs& args);
void ScatterRowsCuda(Stream& stream, const ScatterRowsArgs& args);
void SwiGluCuda(Stream& stream, const SwiGluArgs& args);
void UnrotateKeysCuda(Stream& stream, const UnrotateKeysArgs& args);

// On a CUDA device a packed matrix is [outputs, inputs] of the run type, as it is stored.
void PackMatrixCuda(Stream& stream, PackedMatrix& matrix, const ReadRows& read);
void MatmulCuda(Stream& stream, const MatmulArgs& args);
int64_t MatmulCudaWorkspaceBytes();

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_NN_CUDA_H_
