// `Sampling`, under the name by which users of the engine find it.
#ifndef DECANT_GPU_ENGINE_SAMPLING_H_
#define DECANT_GPU_ENGINE_SAMPLING_H_

#include "gpu/kernels/nn/sample.h"  // IWYU pragma: export

#endif  // DECANT_GPU_ENGINE_SAMPLING_H_
