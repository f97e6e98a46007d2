#include "gpu/device/block.cuh"
#include "gpu/kernels/attention/prefill_cuda.h"
#include "gpu/kernels/nn/radix_cut.cuh"
#include "gpu/kernels/nn/row_grid.cuh"

namespace decant {
namespace {

// A float's bits so that they order as unsigned numbers do; 0 for none.
__device__ __forceinline__ uint32_t OrderOf(float x) {
  const uint32_t bits = FloatBits(x + 0.0f);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

// The keys of a token's score over all heads, in the scratch; a thread has a token.
__global__ void PoolScores(TokenChoiceArgs args) {
  const int32_t token = static_cast<int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
  const int32_t past = args.tokens - args.window;
  if (token >= past) return;
  const int32_t reach = args.kernel / 2;
  const int32_t first = token > reach ? token - reach : 0;
  const int32_t last = token + reach < past - 1 ? token + reach : past - 1;
  float score = 0;
  for (int32_t head = 0; head < args.q_heads; ++head) {
    const float* const sums = args.sums + head * args.stride;
    float pooled = args.average ? 0.0f : Load(sums + first);
    for (int32_t i = first; i <= last; ++i) {
      const float x = Load(sums + i);
      pooled = args.average ? pooled + x : pooled < x ? x : pooled;
    }
    score += args.average ? pooled / static_cast<float>(args.kernel) : pooled;
  }
  Store(reinterpret_cast<uint32_t*>(args.scores) + token, OrderOf(score));
}

// One block writes the chosen rows in ascending order.
__global__ void __launch_bounds__(kCutThreads) WriteChosen(TokenChoiceArgs args) {
  __shared__ uint64_t sums[kCutThreads];
  const int32_t past = args.tokens - args.window;
  const int32_t kept = args.kept - args.window;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const auto* const keys = reinterpret_cast<const uint32_t*>(args.scores);
  const TokenSearch search{keys, past, sums};
  const TokenCut cut = CutBefore<false>(search, static_cast<uint64_t>(kept), TokenCut{0, 0});
  int32_t ties = cut.ties;  // still to be chosen
  int32_t chosen = 0;
  for (int32_t first = 0; first < past; first += kCutThreads) {
    const int32_t token = first + thread;
    const uint32_t key = token < past ? Load(keys + token) : 0;
    const bool tie = token < past && key == cut.key;
    const BlockScan<int32_t> equal = BlockExclusiveScan<kCutThreads>(tie ? 1 : 0);
    const bool takes = token < past && (key > cut.key || (tie && equal.before < ties));
    const BlockScan<int32_t> place = BlockExclusiveScan<kCutThreads>(takes ? 1 : 0);
    if (takes) Store(args.chosen + chosen + place.before, token);
    chosen += place.total;
    ties -= equal.total < ties ? equal.total : ties;
  }
  for (int32_t i = thread; i < args.window; i += kCutThreads) Store(args.chosen + kept + i, past + i);
}

}  // namespace

void ChooseTokensCuda(Stream& stream, const TokenChoiceArgs& args) {
  const int32_t past = args.tokens - args.window;
  const dim3 grid(static_cast<unsigned>((past + kRowThreads - 1) / kRowThreads));
  DECANT_LAUNCH(PoolScores, grid, dim3(kRowThreads), 0, stream, args);
  DECANT_LAUNCH(WriteChosen, dim3(1), dim3(kCutThreads), 0, stream, args);
}

}  // namespace decant
