#ifndef DECANT_GPU_KERNELS_SCORE_SCORE_TOKENS_CUDA_H_
#define DECANT_GPU_KERNELS_SCORE_SCORE_TOKENS_CUDA_H_

#include "gpu/kernels/score/score_tokens.h"

namespace decant {

void ScoreTokensCuda(Stream& stream, const ScoreTokensArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_SCORE_SCORE_TOKENS_CUDA_H_
