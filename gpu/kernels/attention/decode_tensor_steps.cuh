// The steps of a tile on tensor cores: each warp takes 16 tokens, for logits as rows of keys times columns of queries,
// for values as rows of elements times columns of weights. Codes and bf16 fit TF32 as they are; queries and weights are
// split in two numbers that do, each in columns of its own, so that what is lost is below the rounding of f32 sums.
// Where elements do not fit (f32, pairs within a vector) they are split too.
#ifndef DECANT_GPU_KERNELS_ATTENTION_DECODE_TENSOR_STEPS_CUH_
#define DECANT_GPU_KERNELS_ATTENTION_DECODE_TENSOR_STEPS_CUH_

#include "gpu/device/tensor_core.cuh"
#include "gpu/kernels/attention/decode_block.cuh"

namespace decant {

inline constexpr int32_t kWarpTokens = kMostTileTokens / kBlockWarps;

DECANT_HOST_DEVICE constexpr bool FitsTf32(Element element) {
  return element == Element::kBf16 || HasTokenPair(element);
}

// c += a b where b holds both parts of its numbers in its columns; a in two parts where one does not hold it.
template <bool kFits>
__device__ __forceinline__ void MultiplyParts(float (&c)[4], const float (&a)[4], const float (&b)[2]) {
  if constexpr (kFits) {
    MultiplyTf32(c, a, b);
  } else {
    float rest[4];
    float rounded[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      rounded[i] = RoundTf32(a[i]);
      rest[i] = a[i] - rounded[i];
    }
    MultiplyTf32(c, rounded, b);
    MultiplyTf32(c, rest, b);
  }
}

// kSets: of columns. With one the first 4 columns are the rounded numbers of 4 heads and the others what is left of
// them; with two each set has 8 heads. kBlocks: of 64 elements that head_dim has at most.
template <int kSets, int kBlocks>
struct TensorSteps {
  static constexpr int32_t kPadding = 4 * kSets;
  static constexpr int32_t kBlocksAtOnce = 2;

  __device__ explicit TensorSteps(const DecodeBlock& block)
      : row(LaneOf() / 4), column(LaneOf() % 4), chunks(block.head_dim / kChunk) {}

  // The part of x that a column of a set holds.
  static __device__ float PartOf(float x, int32_t set, int32_t in_column) {
    const float rounded = RoundTf32(x);
    const bool rest = kSets == 1 ? in_column >= 4 : set == 1;
    return rest ? x - rounded : rounded;
  }
  static __device__ int32_t HeadOf(int32_t in_column) { return kSets == 1 ? in_column % 4 : in_column; }

  // Elements go to the products in the order in which a lane decodes them: chunk 4 c + t of a vector is that of lane t,
  // and step j of it has its elements 2 j and 2 j + 1.
  __device__ void TakeQueries(const DecodeBlock& block) {
    const int32_t steps = (chunks + 3) / 4 * 4;
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kSets * steps * 2 * kWarpLanes; i += kBlockThreads) {
      const int32_t lane = i / 2 % kWarpLanes;
      const int32_t step = i / (2 * kWarpLanes) % steps;
      const int32_t set = i / (2 * kWarpLanes) / steps;
      const int32_t index = step / 4 * 4 + lane % 4;
      float x = 0;
      if (index < chunks) {
        x = block.queries[HeadOf(lane / 4) * block.head_dim + index * kChunk + step % 4 * 2 + i % 2];
      }
      block.fragments[i] = PartOf(x, set, lane / 4);
    }
    __syncthreads();
  }

  __device__ void Logits(const DecodeBlock& block, const uint8_t* stage, const StagedTile& staged, const Tile& tile) {
    const TierShape& shape = block.view->tiers[tile.key_tier];
#define DECANT_CASE(element) \
  case Element::element:     \
    return LogitsOf<Element::element>(block, stage, staged, tile.count, shape.key_bytes, shape.key_meta_bytes);
    switch (shape.k) {
      DECANT_CASE(kF32)
      DECANT_CASE(kBf16)
      DECANT_CASE(kAffine8)
      DECANT_CASE(kAffine4)
      DECANT_CASE(kAffine2)
      DECANT_CASE(kAffine1)
      DECANT_CASE(kGroup4)
      DECANT_CASE(kGroup2)
      DECANT_CASE(kChannel4)
      DECANT_CASE(kChannel2)
      case Element::kNone:
        return;
    }
#undef DECANT_CASE
  }

  __device__ void Values(const DecodeBlock& block, const uint8_t* stage, const StagedTile& staged, const Tile& tile) {
    const TierShape& shape = block.view->tiers[tile.value_tier];
#define DECANT_CASE(element) \
  case Element::element:     \
    return ValuesOf<Element::element>(block, stage, staged, tile.count, shape.value_bytes, shape.value_meta_bytes);
    switch (shape.v) {
      DECANT_CASE(kF32)
      DECANT_CASE(kBf16)
      DECANT_CASE(kAffine8)
      DECANT_CASE(kAffine4)
      DECANT_CASE(kAffine2)
      DECANT_CASE(kAffine1)
      DECANT_CASE(kGroup4)
      DECANT_CASE(kGroup2)
      default:
        return;
    }
#undef DECANT_CASE
  }

  // The warps' sums and both parts of the weights, added up one after the other. Ends with a barrier.
  __device__ const float* Output(const DecodeBlock& block) {
    auto* const out = reinterpret_cast<float*>(block.stages);
    for (int32_t warp = 0; warp < kBlockWarps; ++warp) {
      __syncthreads();
      if (WarpOf() != warp) continue;
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            float sum = sums[b][j][i];
            if (kSets == 1) sum += __shfl_xor_sync(kAllLanes, sum, 2);
            const int32_t head = column * 2 + i % 2;
            const int32_t index = b * 8 + row;
            if (head >= kPadding || index >= chunks) continue;
            float* const to = out + head * block.head_dim + index * kChunk + 2 * j + i / 2;
            *to = warp == 0 ? sum : *to + sum;
          }
        }
      }
    }
    __syncthreads();
    return out;
  }

 private:
  template <Element kElement>
  __device__ void LogitsOf(const DecodeBlock& block, const uint8_t* stage, const StagedTile& staged, int32_t count,
                           int32_t key_bytes, int32_t key_meta_bytes) {
    const int32_t first = WarpOf() * kWarpTokens;
    if (first >= count) return;
    // Rows behind the last token are its own once more: nobody reads what comes of them.
    const int32_t low = first + row < count ? first + row : count - 1;
    const int32_t high = first + row + 8 < count ? first + row + 8 : count - 1;
    const uint8_t* const keys = stage + staged.keys;
    const uint8_t* const meta = stage + staged.key_meta;
    const int32_t steps = (chunks + 3) / 4 * 4;
    float c[4] = {};
    for (int32_t step = 0; step < steps; step += 4) {
      float x[kChunk] = {};
      float y[kChunk] = {};
      if (step + column < chunks) {
        DecodeChunk<kElement>(keys + low * key_bytes, meta + low * key_meta_bytes, step + column, x);
        DecodeChunk<kElement>(keys + high * key_bytes, meta + high * key_meta_bytes, step + column, y);
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float a[4] = {x[2 * j], y[2 * j], x[2 * j + 1], y[2 * j + 1]};
#pragma unroll
        for (int set = 0; set < kSets; ++set) {
          const auto* const at = reinterpret_cast<const float2*>(block.fragments);
          const float2 q = at[(set * steps + step + j) * kWarpLanes + LaneOf()];
          const float b[2] = {q.x, q.y};
          MultiplyParts<FitsTf32(kElement)>(c, a, b);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float logit = c[i];
      if (kSets == 1) logit += __shfl_xor_sync(kAllLanes, logit, 2);
      const int32_t head = column * 2 + i % 2;
      const int32_t token = first + row + i / 2 * 8;
      if (head >= kPadding || token >= count) continue;
      if (HasTokenPair(kElement)) {
        float scale, zero;
        PairFloats(reinterpret_cast<const uint32_t*>(meta)[token], ElementBits(kElement), &scale, &zero);
        logit = MultiplyAdd(scale, logit, zero * block.sums[head]);
      }
      block.logits[head * kMostTileTokens + token] = logit;
    }
  }

  template <Element kElement>
  __device__ void ValuesOf(const DecodeBlock& block, const uint8_t* stage, const StagedTile& staged, int32_t count,
                           int32_t value_bytes, int32_t value_meta_bytes) {
    const float even = block.scales[HeadOf(column * 2)];
    const float odd = block.scales[HeadOf(column * 2 + 1)];
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[b][j][i] *= i % 2 == 0 ? even : odd;
      }
    }
    const uint8_t* const values = stage + staged.values;
    const uint8_t* const meta = stage + staged.value_meta;
    for (int32_t first = WarpOf() * kWarpTokens; first < (WarpOf() + 1) * kWarpTokens && first < count; first += 8) {
      const int32_t low = first + column < count ? first + column : count - 1;
      const int32_t high = first + column + 4 < count ? first + column + 4 : count - 1;
      // Tokens behind the last one weigh nothing.
      const float low_weight = first + column < count ? block.weights[low * block.heads + HeadOf(row)] : 0.0f;
      const float high_weight = first + column + 4 < count ? block.weights[high * block.heads + HeadOf(row)] : 0.0f;
      float weights[kSets][2];
#pragma unroll
      for (int set = 0; set < kSets; ++set) {
        weights[set][0] = PartOf(low_weight, set, row);
        weights[set][1] = PartOf(high_weight, set, row);
      }
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        float x[kChunk] = {};
        float y[kChunk] = {};
        if (b * 8 + row < chunks) {
          DecodeChunk<kElement>(values + low * value_bytes, meta + low * value_meta_bytes, b * 8 + row, x);
          DecodeChunk<kElement>(values + high * value_bytes, meta + high * value_meta_bytes, b * 8 + row, y);
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float a[4] = {x[2 * j], x[2 * j + 1], y[2 * j], y[2 * j + 1]};
#pragma unroll
          for (int set = 0; set < kSets; ++set) MultiplyParts<FitsTf32(kElement)>(sums[b][j], a, weights[set]);
        }
      }
    }
  }

  const int32_t row;     // of a product that the lane holds, and that + 8
  const int32_t column;  // and two of its columns, from 2 x column on
  const int32_t chunks;
  float sums[kBlocks][4][4] = {};
};

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_DECODE_TENSOR_STEPS_CUH_
