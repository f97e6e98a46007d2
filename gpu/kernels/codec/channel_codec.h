// Groups of kTokenGroup consecutive tokens whose every channel has a (scale, zero) pair of its own; host only, called
// inside operations. compression-methods.md section 4.2.
#ifndef DECANT_GPU_KERNELS_CODEC_CHANNEL_CODEC_H_
#define DECANT_GPU_KERNELS_CODEC_CHANNEL_CODEC_H_

#include <cstdint>

#include "common/compress/profile.h"
#include "common/kv/format.h"
#include "common/kv/receipt.h"

namespace decant {

// rows: addresses of `tokens` (1 to kTokenGroup) vectors [head_dim] of `run_type`. Writes one packed vector per token
// to `codes` [tokens, VectorBytes], the pairs of the group to `meta` [head_dim, 2] fp16 and, unless null, adds to
// `error`. head_dim as in EncodeVector; levels too.
void EncodeChannels(RunType run_type, const void* const* rows, int32_t tokens, int32_t head_dim, Element element,
                    int32_t levels, uint8_t* codes, uint8_t* meta, StoredError* error);

// One token of a group: `codes` are its own, `meta` its group's. Into [head_dim] of `run_type`.
void DecodeChannelToken(const uint8_t* codes, const uint8_t* meta, int32_t head_dim, Element element, RunType run_type,
                        void* x);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_CHANNEL_CODEC_H_
