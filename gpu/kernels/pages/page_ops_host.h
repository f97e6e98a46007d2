// The host schedules of page_ops.h; the caller's stream belongs to a host device.
#ifndef DECANT_GPU_KERNELS_PAGES_PAGE_OPS_HOST_H_
#define DECANT_GPU_KERNELS_PAGES_PAGE_OPS_HOST_H_

#include "gpu/kernels/pages/page_ops.h"

namespace decant {

void ResetRingHost(Stream& stream, const PageRing& ring);
void GrowRowsHost(Stream& stream, const GrowRowsArgs& args);
void ImportFramesHost(Stream& stream, const ImportFramesArgs& args);
void PlanStepHost(Stream& stream, const PlanStepArgs& args);
void AdvanceLengthsHost(Stream& stream, const SequenceRows* rows, int32_t sequences);
void ReleaseRowsHost(Stream& stream, const PageArena& arena, const PageRing& ring, const SequenceRows* rows,
                     int32_t sequences);
void CountRowsHost(Stream& stream, const PageArena& arena, const SequenceRows* rows, int64_t* out);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_PAGES_PAGE_OPS_HOST_H_
