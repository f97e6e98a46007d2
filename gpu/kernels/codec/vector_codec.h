// One vector of one token between floats and its stored form; host only, called inside operations. The bytes are those
// of common/compress/arith, whatever vector width the processor has.
#ifndef DECANT_GPU_KERNELS_CODEC_VECTOR_CODEC_H_
#define DECANT_GPU_KERNELS_CODEC_VECTOR_CODEC_H_

#include <cstdint>

#include "common/compress/profile.h"
#include "common/kv/format.h"
#include "common/kv/receipt.h"

namespace decant {

inline constexpr int32_t kMaxHeadDim = 256;

// x: [count] of `run_type`, count a multiple of 8 up to kMaxHeadDim; element: neither kNone nor one whose pairs belong
// to channels (channel_codec.h). Writes VectorBytes to `codes` and MetaBytes to `meta` (any alignment) and, unless
// null, adds to `error`. levels: codes in use, 0 for all that the element's bits can tell apart.
void EncodeVector(RunType run_type, const void* x, int32_t count, Element element, int32_t levels, uint8_t* codes,
                  uint8_t* meta, StoredError* error);

// The way back, into [count] of `run_type`.
void DecodeVector(const uint8_t* codes, const uint8_t* meta, int32_t count, Element element, RunType run_type, void* x);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_VECTOR_CODEC_H_
