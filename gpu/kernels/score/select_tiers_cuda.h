#ifndef DECANT_GPU_KERNELS_SCORE_SELECT_TIERS_CUDA_H_
#define DECANT_GPU_KERNELS_SCORE_SELECT_TIERS_CUDA_H_

#include "gpu/kernels/score/select_tiers.h"

namespace decant {

void SelectTiersCuda(Stream& stream, const SelectTiersArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_SCORE_SELECT_TIERS_CUDA_H_
