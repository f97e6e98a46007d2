// Eight elements of a stored vector as floats: the unit in which attention decodes, since every head_dim is a multiple
// of eight and eight codes fill whole bytes in every format.
#ifndef DECANT_GPU_KERNELS_ATTENTION_DECODE_CHUNK_CUH_
#define DECANT_GPU_KERNELS_ATTENTION_DECODE_CHUNK_CUH_

#include "common/base/half.h"
#include "common/kv/format.h"
#include "gpu/device/cuda_kernel.h"

namespace decant {

inline constexpr int32_t kChunk = 8;

// One pair per vector: what stands for the codes is multiplied, and the pair is applied to what comes out.
DECANT_HOST_DEVICE constexpr bool HasTokenPair(Element element) {
  return IsAffine(element) && !IsGrouped(element) && !IsChannel(element);
}

// A code as 1 + code / 2^bits: its bits are the first ones of the fraction, so that no conversion is needed, and ten
// bits of fraction, which is what a tensor core takes, hold it.
template <int kBits>
__device__ __forceinline__ float CodeFloat(uint32_t code) {
  return BitsToFloat(0x3f800000u | code << (23 - kBits));
}

// What turns such a float into the element: element = x scale + zero.
__device__ __forceinline__ void PairFloats(uint32_t pair, int32_t bits, float* scale, float* zero) {
  *scale = ToFloat(Fp16{static_cast<uint16_t>(pair & 0xffffu)}) * static_cast<float>(1 << bits);
  *zero = ToFloat(Fp16{static_cast<uint16_t>(pair >> 16)}) - *scale;
}

template <int kBits>
__device__ __forceinline__ void DecodeCodes(const uint8_t* chunk, float (&x)[kChunk]) {
  if constexpr (kBits == 8) {
    const uint2 words = *reinterpret_cast<const uint2*>(chunk);
    for (int i = 0; i < 4; ++i) x[i] = CodeFloat<8>((words.x >> (8 * i)) & 0xffu);
    for (int i = 0; i < 4; ++i) x[4 + i] = CodeFloat<8>((words.y >> (8 * i)) & 0xffu);
  } else {
    uint32_t word;
    if constexpr (kBits == 4) {
      word = *reinterpret_cast<const uint32_t*>(chunk);
    } else if constexpr (kBits == 2) {
      word = *reinterpret_cast<const uint16_t*>(chunk);
    } else {
      word = *chunk;
    }
    for (int i = 0; i < kChunk; ++i) x[i] = CodeFloat<kBits>((word >> (kBits * i)) & ((1u << kBits) - 1u));
  }
}

// x = elements [8 index, 8 index + 8) of a vector in shared memory. `pairs`, in shared memory too: of grouped elements
// the vector's pairs, of channel elements those of its group of tokens.
template <Element kElement>
__device__ __forceinline__ void DecodeChunk(const uint8_t* vector, const uint8_t* pairs, int32_t index,
                                            float (&x)[kChunk]) {
  constexpr int kBits = ElementBits(kElement);
  const uint8_t* const chunk = vector + index * kBits;
  if constexpr (kElement == Element::kF32) {
    const float4 low = reinterpret_cast<const float4*>(chunk)[0];
    const float4 high = reinterpret_cast<const float4*>(chunk)[1];
    x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
    x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
  } else if constexpr (kElement == Element::kBf16) {
    const uint4 words = *reinterpret_cast<const uint4*>(chunk);
    const uint32_t word[4] = {words.x, words.y, words.z, words.w};
    for (int i = 0; i < 4; ++i) {
      x[2 * i] = BitsToFloat(word[i] << 16);
      x[2 * i + 1] = BitsToFloat(word[i] & 0xffff0000u);
    }
  } else {
    DecodeCodes<kBits>(chunk, x);
    const auto* const words = reinterpret_cast<const uint32_t*>(pairs);
    if constexpr (IsGrouped(kElement)) {
      float scale, zero;
      PairFloats(words[index * kChunk / kElementGroup], kBits, &scale, &zero);
      for (int i = 0; i < kChunk; ++i) x[i] = x[i] * scale + zero;
    } else if constexpr (IsChannel(kElement)) {
      for (int i = 0; i < kChunk; ++i) {
        float scale, zero;
        PairFloats(words[index * kChunk + i], kBits, &scale, &zero);
        x[i] = x[i] * scale + zero;
      }
    }
  }
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_DECODE_CHUNK_CUH_
