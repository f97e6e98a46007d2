// One block draws one row's token. Nothing is sorted: the tokens that stay, and the one that is drawn, are found by
// radix selection.
#include <cmath>

#include "common/base/half.h"
#include "common/base/random.h"
#include "gpu/device/block.cuh"
#include "gpu/kernels/nn/nn_cuda.h"
#include "gpu/kernels/nn/radix_cut.cuh"

namespace decant {
namespace {

constexpr int32_t kThreads = kCutThreads;

// The sum of masses before a cut.
__device__ uint64_t MassBefore(const TokenSearch& search, const TokenCut& cut) {
  uint64_t mass = 0;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < search.count; i += kThreads) {
    const uint32_t key = Load(search.keys + i);
    if (key > cut.key) mass += MassOf(key);
  }
  return BlockSum<kThreads>(mass) + static_cast<uint64_t>(cut.ties) * MassOf(cut.key);
}

// The first token at which the sum of `weigh(key)` over ascending ids exceeds `goal`; the last one where it never does.
template <typename Weigh>
__device__ int32_t TokenAt(const TokenSearch& search, uint64_t goal, const Weigh& weigh) {
  __shared__ int32_t found;
  if (threadIdx.x == 0) found = search.count - 1;
  uint64_t before = 0;
  for (int32_t first = 0; first < search.count; first += kThreads) {
    const int32_t i = first + static_cast<int32_t>(threadIdx.x);
    const uint64_t own = i < search.count ? weigh(Load(search.keys + i)) : 0;
    const BlockScan<uint64_t> scan = BlockExclusiveScan<kThreads>(own);
    const uint64_t mine = before + scan.before;
    if (mine <= goal && mine + own > goal) found = i;
    before += scan.total;
    if (before > goal) break;
  }
  __syncthreads();
  return found;
}

struct Best {
  float logit;
  int32_t token;
};

__device__ Best BestOf(const float* logits, int32_t vocabulary) {
  // As pairs in one number: the larger logit, then the smaller id. NaN counts as the least.
  uint64_t best = 0;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < vocabulary; i += kThreads) {
    const float x = Load(logits + i);
    const uint32_t bits = FloatBits(x + 0.0f);
    uint32_t order = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
    if (x != x) order = 0;
    const uint64_t both = static_cast<uint64_t>(order) << 32 | (0xffffffffu - static_cast<uint32_t>(i));
    best = both > best ? both : best;
  }
  best = BlockReduce<kThreads>(best, uint64_t{0}, [](uint64_t a, uint64_t b) { return a < b ? b : a; });
  const auto token = static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(best & 0xffffffffu));
  return Best{Load(logits + token), token};
}

__device__ int32_t DrawToken(const TokenSearch& search, const Sampling& sampling, int32_t position) {
  TokenCut kept{0, search.count};  // all of them: those of weight 0 are ties at the end
  const bool some = sampling.top_k > 0 && sampling.top_k < search.count;
  if (some) kept = CutBefore<false>(search, static_cast<uint64_t>(sampling.top_k), kept);
  uint64_t total = MassBefore(search, kept);
  const bool share = sampling.top_p < 1;
  if (share) {
    const double wanted = static_cast<double>(sampling.top_p) * static_cast<double>(total);
    // The fewest whose sum is at least `wanted`, and one at least: up to and with the first that gets there.
    const auto goal = static_cast<uint64_t>(wanted > 1 ? ceil(wanted) - 1 : 0);
    const TokenCut last = CutBefore<true>(search, goal, kept);
    if (last.key != kept.key || last.ties != kept.ties) kept = TokenCut{last.key, last.ties + 1};
    total = MassBefore(search, kept);
  }
  const auto goal = static_cast<uint64_t>(
      static_cast<double>(UniformFloat(sampling.seed, static_cast<uint64_t>(position))) * static_cast<double>(total));
  if (!some && !share) return TokenAt(search, goal, [](uint32_t key) { return MassOf(key); });
  const TokenCut drawn = CutBefore<true>(search, goal, kept);
  return TokenAt(search, static_cast<uint64_t>(drawn.ties),
                 [&drawn](uint32_t key) { return static_cast<uint64_t>(key == drawn.key ? 1 : 0); });
}

__global__ void __launch_bounds__(kThreads) SampleRows(SampleArgs args) {
  __shared__ uint64_t sums[kCutThreads];
  const int64_t row = blockIdx.x;
  const float* const logits = args.logits + row * args.stride;
  const Sampling sampling = Load(args.sampling + row);
  const Best best = BestOf(logits, args.vocabulary);
  int32_t token = best.token;
  if (sampling.temperature > 0 && sampling.top_k != 1) {
    auto* const keys = static_cast<uint32_t*>(args.scratch) + row * args.vocabulary;
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < args.vocabulary; i += kThreads) {
      const float weight = expf((Load(logits + i) - best.logit) / sampling.temperature);
      Store(keys + i, weight > 0 && weight <= 1.0f ? FloatBits(weight) : 0u);
    }
    __syncthreads();
    token = DrawToken(TokenSearch{keys, args.vocabulary, sums}, sampling, Load(args.positions + row));
  }
  if (threadIdx.x == 0) Store(args.tokens + row, token);
}

}  // namespace

void SampleCuda(Stream& stream, const SampleArgs& args) {
  DECANT_LAUNCH(SampleRows, dim3(static_cast<unsigned>(args.rows)), dim3(kThreads), 0, stream, args);
}

}  // namespace decant
