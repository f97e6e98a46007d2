// One stored token as a whole: its two vectors, score and position; host only, called inside operations.
#ifndef DECANT_GPU_KERNELS_CODEC_TOKEN_CODEC_H_
#define DECANT_GPU_KERNELS_CODEC_TOKEN_CODEC_H_

#include <cstdint>

#include "common/kv/format.h"
#include "gpu/kernels/pages/slot.h"

namespace decant {

// Codes in use of a token's K and V; 0: all.
struct TokenLevels {
  int32_t key = 0;
  int32_t value = 0;
};

// Demotion: decodes a token of tracked format `from_id` to f32 and re-encodes it in tracked format `to_id` with
// `levels`; score and position go along.
void ReencodeToken(const TokenSlot& from, FormatId from_id, const TokenSlot& to, FormatId to_id,
                   const TokenLevels& levels, int32_t head_dim);

// Copies a token of tracked format `id` bit for bit; the slots do not overlap.
void CopyToken(const TokenSlot& from, const TokenSlot& to, FormatId id, int32_t head_dim);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_TOKEN_CODEC_H_
