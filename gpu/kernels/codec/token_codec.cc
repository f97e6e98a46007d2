#include "gpu/kernels/codec/token_codec.h"

#include <cstring>

#include "gpu/kernels/codec/vector_codec.h"

namespace decant {

void ReencodeToken(const TokenSlot& from, FormatId from_id, const TokenSlot& to, FormatId to_id,
                   const TokenLevels& levels, int32_t head_dim) {
  const Format high = FormatOf(from_id);
  const Format low = FormatOf(to_id);
  float vector[kMaxHeadDim];
  DecodeVector(from.keys, from.key_meta, head_dim, high.k, RunType::kF32, vector);
  EncodeVector(RunType::kF32, vector, head_dim, low.k, levels.key, to.keys, to.key_meta, nullptr);
  DecodeVector(from.values, from.value_meta, head_dim, high.v, RunType::kF32, vector);
  EncodeVector(RunType::kF32, vector, head_dim, low.v, levels.value, to.values, to.value_meta, nullptr);
  *to.score = *from.score;
  *to.position = *from.position;
}

void CopyToken(const TokenSlot& from, const TokenSlot& to, FormatId id, int32_t head_dim) {
  const Format format = FormatOf(id);
  std::memcpy(to.keys, from.keys, static_cast<size_t>(VectorBytes(format.k, head_dim)));
  std::memcpy(to.key_meta, from.key_meta, static_cast<size_t>(MetaBytes(format.k, head_dim)));
  std::memcpy(to.values, from.values, static_cast<size_t>(VectorBytes(format.v, head_dim)));
  std::memcpy(to.value_meta, from.value_meta, static_cast<size_t>(MetaBytes(format.v, head_dim)));
  *to.score = *from.score;
  *to.position = *from.position;
}

}  // namespace decant
