// The CUDA schedules of page_ops.h; the caller's stream belongs to a CUDA device.
#ifndef DECANT_GPU_KERNELS_PAGES_PAGE_OPS_CUDA_H_
#define DECANT_GPU_KERNELS_PAGES_PAGE_OPS_CUDA_H_

#include "gpu/kernels/pages/page_ops.h"

namespace decant {

void ResetRingCuda(Stream& stream, const PageRing& ring);
void GrowRowsCuda(Stream& stream, const GrowRowsArgs& args);
void ImportFramesCuda(Stream& stream, const ImportFramesArgs& args);
void PlanStepCuda(Stream& stream, const PlanStepArgs& args);
void AdvanceLengthsCuda(Stream& stream, const SequenceRows* rows, int32_t sequences);
void ReleaseRowsCuda(Stream& stream, const PageArena& arena, const PageRing& ring, const SequenceRows* rows,
                     int32_t sequences);
void CountRowsCuda(Stream& stream, const PageArena& arena, const SequenceRows* rows, int64_t* out);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_PAGES_PAGE_OPS_CUDA_H_
