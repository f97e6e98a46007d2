#ifndef DECANT_GPU_KERNELS_SCORE_SELECT_TIERS_HOST_H_
#define DECANT_GPU_KERNELS_SCORE_SELECT_TIERS_HOST_H_

#include "gpu/kernels/score/select_tiers.h"

namespace decant {

void SelectTiersHost(Stream& stream, const SelectTiersArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_SCORE_SELECT_TIERS_HOST_H_
