#include "gpu/kernels/pages/page_ops.h"

#include "common/base/check.h"
#include "gpu/kernels/pages/page_ops_host.h"

namespace decant {
namespace {

void RequireHost(Stream& stream) {
  DECANT_CHECK_MSG(stream.device().kind() == DeviceKind::kHost, "no page operations for device %s",
                   stream.device().name().c_str());
}

}  // namespace

void ResetRing(Stream& stream, const PageRing& ring) {
  RequireHost(stream);
  ResetRingHost(stream, ring);
}

void GrowRows(Stream& stream, const GrowRowsArgs& args) {
  RequireHost(stream);
  GrowRowsHost(stream, args);
}

void ImportFrames(Stream& stream, const ImportFramesArgs& args) {
  RequireHost(stream);
  ImportFramesHost(stream, args);
}

void PlanStep(Stream& stream, const PlanStepArgs& args) {
  RequireHost(stream);
  PlanStepHost(stream, args);
}

void AdvanceLengths(Stream& stream, const SequenceRows* rows, int32_t sequences) {
  RequireHost(stream);
  AdvanceLengthsHost(stream, rows, sequences);
}

void ReleaseRows(Stream& stream, const PageArena& arena, const PageRing& ring, const SequenceRows* rows,
                 int32_t sequences) {
  RequireHost(stream);
  ReleaseRowsHost(stream, arena, ring, rows, sequences);
}

void CountRows(Stream& stream, const PageArena& arena, const SequenceRows* rows, int64_t* out) {
  RequireHost(stream);
  CountRowsHost(stream, arena, rows, out);
}

}  // namespace decant
