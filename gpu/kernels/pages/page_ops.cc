#include "gpu/kernels/pages/page_ops.h"

#include "gpu/device/dispatch.h"
#include "gpu/kernels/pages/page_ops_cuda.h"
#include "gpu/kernels/pages/page_ops_host.h"

namespace decant {

void ResetRing(Stream& stream, const PageRing& ring) { DECANT_DISPATCH(ResetRing, stream, ring); }

void GrowRows(Stream& stream, const GrowRowsArgs& args) { DECANT_DISPATCH(GrowRows, stream, args); }

void ImportFrames(Stream& stream, const ImportFramesArgs& args) { DECANT_DISPATCH(ImportFrames, stream, args); }

void PlanStep(Stream& stream, const PlanStepArgs& args) { DECANT_DISPATCH(PlanStep, stream, args); }

void AdvanceLengths(Stream& stream, const SequenceRows* rows, int32_t sequences) {
  DECANT_DISPATCH(AdvanceLengths, stream, rows, sequences);
}

void ReleaseRows(Stream& stream, const PageArena& arena, const PageRing& ring, const SequenceRows* rows,
                 int32_t sequences) {
  DECANT_DISPATCH(ReleaseRows, stream, arena, ring, rows, sequences);
}

void CountRows(Stream& stream, const PageArena& arena, const SequenceRows* rows, int64_t* out) {
  DECANT_DISPATCH(CountRows, stream, arena, rows, out);
}

}  // namespace decant
