// Thresholds: a warp a chunk, a lane a token. Rankings: radix selection, a block for every row of its own or, over all
// layers and heads at once, many blocks and one launch a digit. Then tiers are given out in order, since equal ranks go
// by their place, and counted.
#include "common/compress/arith/prompt_tier.h"
#include "gpu/device/block.cuh"
#include "gpu/device/cuda_kernel.h"
#include "gpu/device/radix_select.cuh"
#include "gpu/device/warp.cuh"
#include "gpu/kernels/score/select_tiers_cuda.h"

namespace decant {
namespace {

constexpr int kSelectThreads = 256;
constexpr int kRowThreads = 1024;
constexpr int32_t kPartRanks = 4096;      // of one block, where many share a ranking
constexpr int64_t kAloneRanks = 1 << 16;  // up to here one block ranks alone
constexpr int32_t kCuts = 2;              // high, and high or low together

__device__ __forceinline__ float Absent() { return __int_as_float(static_cast<int>(0xff800000u)); }

// How many a cut takes of `size` ranks of which `protected_ranks` and `absent` are infinite.
__device__ __forceinline__ int64_t TakenOf(int64_t count, int64_t size, int64_t protected_ranks, int64_t absent) {
  const int64_t least = count > protected_ranks ? count : protected_ranks;
  const int64_t most = size - absent;
  return least < most ? least : most;
}
// The low cut is the second one; without low tokens it takes nobody.
__device__ __forceinline__ int64_t CountOfCut(const SelectTiersArgs& args, int32_t cut) {
  return cut == 0 ? args.high : args.kept;
}
__device__ __forceinline__ bool HasLowCut(const SelectTiersArgs& args) { return args.kept > args.high; }

__device__ __forceinline__ Search FirstSearch(const SelectTiersArgs& args, int32_t cut, int64_t size,
                                              int64_t protected_ranks, int64_t absent) {
  const bool looks = cut == 0 || HasLowCut(args);
  return Search{0, looks ? TakenOf(CountOfCut(args, cut), size, protected_ranks, absent) : int64_t{0}};
}

// The tier of a rank, given how many of each cut's last order stand before it.
__device__ __forceinline__ uint8_t TierOf(uint32_t order, const Cut (&cuts)[kCuts], const int64_t (&before)[kCuts]) {
  uint8_t tier = static_cast<uint8_t>(PromptTier::kPruned);
#pragma unroll
  for (int32_t cut = kCuts - 1; cut >= 0; --cut) {
    const bool in = order > cuts[cut].last || (order == cuts[cut].last && before[cut] < cuts[cut].equal);
    if (!cuts[cut].none && in) tier = static_cast<uint8_t>(cut == 0 ? PromptTier::kHigh : PromptTier::kLow);
  }
  return tier;
}

// Gives out the tiers of ranks [0, size), kThreads at a time; before[cut] equal ones stand before the first.
template <int kThreads>
__device__ void GiveTiers(const float* ranks, int64_t size, const Cut (&cuts)[kCuts], int64_t (&before)[kCuts],
                          uint8_t* tiers) {
  for (int64_t first = 0; first < size; first += kThreads) {
    const int64_t i = first + threadIdx.x;
    const uint32_t order = i < size ? OrderOf(Load(ranks + i)) : 0u;
    int64_t own[kCuts];
#pragma unroll
    for (int32_t cut = 0; cut < kCuts; ++cut) {
      const bool equal = i < size && !cuts[cut].none && order == cuts[cut].last;
      const BlockScan<int32_t> scan = BlockExclusiveScan<kThreads>(equal ? 1 : 0);
      own[cut] = before[cut] + scan.before;
      before[cut] += scan.total;
    }
    if (i < size) Store(tiers + i, TierOf(order, cuts, own));
  }
}

// One row of ranks, or all where they are few.
__global__ void __launch_bounds__(kRowThreads) RankRowKernel(SelectTiersArgs args, int64_t size) {
  __shared__ uint32_t histogram[kDigits];
  const float* const ranks = args.ranks + blockIdx.x * size;
  int32_t protected_ranks = 0;
  int32_t absent = 0;
  for (int64_t i = threadIdx.x; i < size; i += kRowThreads) {
    const uint32_t order = OrderOf(Load(ranks + i));
    protected_ranks += order == kOrderOfInfinity ? 1 : 0;
    absent += order == kOrderOfMinusInfinity ? 1 : 0;
  }
  protected_ranks = BlockSum<kRowThreads>(protected_ranks);
  absent = BlockSum<kRowThreads>(absent);
  Cut cuts[kCuts];
  int64_t before[kCuts];
#pragma unroll
  for (int32_t cut = 0; cut < kCuts; ++cut) {
    const Search first = FirstSearch(args, cut, size, protected_ranks, absent);
    cuts[cut].none = first.wanted <= 0;
    const Search search = SearchAlone<kRowThreads>(ranks, size, first.wanted, histogram);
    cuts[cut].last = search.known;
    cuts[cut].equal = search.wanted;
    before[cut] = 0;
  }
  GiveTiers<kRowThreads>(ranks, size, cuts, before, args.tiers + blockIdx.x * size);
}

// What blocks that share a ranking know of it; at the beginning of the scratch, which is far larger then.
struct SharedRanking {
  unsigned long long protected_ranks;
  unsigned long long absent;
  Search searches[kCuts];
  unsigned long long histograms[kDigitRounds][kCuts][kDigits];
};

struct RankingMemory {
  SharedRanking* shared;
  int32_t* equals;  // [parts, kCuts]: equal ranks before the part
};
RankingMemory PlaceRanking(const SelectTiersArgs& args) {
  RankingMemory memory;
  memory.shared = reinterpret_cast<SharedRanking*>(args.scratch);
  memory.equals = reinterpret_cast<int32_t*>(memory.shared + 1);
  return memory;
}
static_assert(sizeof(SharedRanking) + kCuts * 4 * (kAloneRanks / kPartRanks + 1) <= kAloneRanks * sizeof(float));

__global__ void __launch_bounds__(kSelectThreads) ClearRankingKernel(RankingMemory memory) {
  auto* const words = reinterpret_cast<uint32_t*>(memory.shared);
  constexpr auto kWords = static_cast<int32_t>(sizeof(SharedRanking) / 4);
  for (auto i = static_cast<int32_t>(blockIdx.x * kSelectThreads + threadIdx.x); i < kWords;
       i += static_cast<int32_t>(gridDim.x) * kSelectThreads) {
    Store(words + i, 0u);
  }
}

struct Part {
  int64_t first;
  int64_t end;
};
__device__ __forceinline__ Part PartOf(int64_t size) {
  Part part;
  part.first = int64_t{blockIdx.x} * kPartRanks;
  part.end = part.first + kPartRanks < size ? part.first + kPartRanks : size;
  return part;
}

__global__ void __launch_bounds__(kSelectThreads)
    CountInfinitiesKernel(SelectTiersArgs args, int64_t size, RankingMemory memory) {
  const Part part = PartOf(size);
  int32_t protected_ranks = 0;
  int32_t absent = 0;
  for (int64_t i = part.first + threadIdx.x; i < part.end; i += kSelectThreads) {
    const uint32_t order = OrderOf(Load(args.ranks + i));
    protected_ranks += order == kOrderOfInfinity ? 1 : 0;
    absent += order == kOrderOfMinusInfinity ? 1 : 0;
  }
  protected_ranks = BlockSum<kSelectThreads>(protected_ranks);
  absent = BlockSum<kSelectThreads>(absent);
  if (threadIdx.x != 0) return;
  atomicAdd(&memory.shared->protected_ranks, static_cast<unsigned long long>(protected_ranks));
  atomicAdd(&memory.shared->absent, static_cast<unsigned long long>(absent));
}

__global__ void __launch_bounds__(kSelectThreads)
    CountDigitsKernel(SelectTiersArgs args, int64_t size, RankingMemory memory, int32_t round) {
  __shared__ uint32_t histograms[kCuts][kDigits];
  const auto thread = static_cast<int32_t>(threadIdx.x);
  Search searches[kCuts];
#pragma unroll
  for (int32_t cut = 0; cut < kCuts; ++cut) {
    histograms[cut][thread] = 0;
    searches[cut] = memory.shared->searches[cut];
  }
  __syncthreads();
  const Part part = PartOf(size);
  for (int64_t i = part.first + thread; i < part.end; i += kSelectThreads) {
    const uint32_t order = OrderOf(Load(args.ranks + i));
#pragma unroll
    for (int32_t cut = 0; cut < kCuts; ++cut) {
      if (searches[cut].wanted <= 0 || !IsCandidate(order, searches[cut], round)) continue;
      atomicAdd(&histograms[cut][DigitOf(order, round)], 1u);
    }
  }
  __syncthreads();
#pragma unroll
  for (int32_t cut = 0; cut < kCuts; ++cut) {
    const uint32_t count = histograms[cut][thread];
    if (count > 0) atomicAdd(&memory.shared->histograms[round][cut][thread], static_cast<unsigned long long>(count));
  }
}

// One block: the next digit of both cuts, or their beginning (round -1).
__global__ void __launch_bounds__(kSelectThreads)
    NarrowSearchKernel(SelectTiersArgs args, int64_t size, RankingMemory memory, int32_t round) {
  SharedRanking& shared = *memory.shared;
#pragma unroll
  for (int32_t cut = 0; cut < kCuts; ++cut) {
    Search search = shared.searches[cut];
    __syncthreads();
    if (round < 0) {
      search = FirstSearch(args, cut, size, static_cast<int64_t>(shared.protected_ranks),
                           static_cast<int64_t>(shared.absent));
    } else {
      search = TakeDigit<kSelectThreads>(search, round, shared.histograms[round][cut]);
    }
    if (threadIdx.x == 0) shared.searches[cut] = search;
    __syncthreads();
  }
}

__device__ __forceinline__ void CutsOf(const RankingMemory& memory, Cut (&cuts)[kCuts]) {
#pragma unroll
  for (int32_t cut = 0; cut < kCuts; ++cut) {
    const Search search = memory.shared->searches[cut];
    cuts[cut] = Cut{search.known, search.wanted, search.wanted <= 0};
  }
}

__global__ void __launch_bounds__(kSelectThreads)
    CountEqualsKernel(SelectTiersArgs args, int64_t size, RankingMemory memory) {
  Cut cuts[kCuts];
  CutsOf(memory, cuts);
  int32_t equals[kCuts] = {0, 0};
  const Part part = PartOf(size);
  for (int64_t i = part.first + threadIdx.x; i < part.end; i += kSelectThreads) {
    const uint32_t order = OrderOf(Load(args.ranks + i));
#pragma unroll
    for (int32_t cut = 0; cut < kCuts; ++cut) equals[cut] += order == cuts[cut].last ? 1 : 0;
  }
#pragma unroll
  for (int32_t cut = 0; cut < kCuts; ++cut) {
    const int32_t sum = BlockSum<kSelectThreads>(equals[cut]);
    if (threadIdx.x == 0) Store(memory.equals + int64_t{blockIdx.x} * kCuts + cut, sum);
  }
}

// One block: how many equal ranks stand before each part.
__global__ void __launch_bounds__(kRowThreads) SumEqualsKernel(RankingMemory memory, int32_t parts) {
  int32_t before[kCuts] = {0, 0};
  for (int32_t first = 0; first < parts; first += kRowThreads) {
    const int32_t part = first + static_cast<int32_t>(threadIdx.x);
#pragma unroll
    for (int32_t cut = 0; cut < kCuts; ++cut) {
      int32_t* const at = memory.equals + int64_t{part} * kCuts + cut;
      const BlockScan<int32_t> scan = BlockExclusiveScan<kRowThreads>(part < parts ? Load(at) : 0);
      if (part < parts) Store(at, before[cut] + scan.before);
      before[cut] += scan.total;
    }
  }
}

__global__ void __launch_bounds__(kSelectThreads)
    GiveTiersKernel(SelectTiersArgs args, int64_t size, RankingMemory memory) {
  Cut cuts[kCuts];
  CutsOf(memory, cuts);
  const Part part = PartOf(size);
  int64_t before[kCuts];
#pragma unroll
  for (int32_t cut = 0; cut < kCuts; ++cut) before[cut] = Load(memory.equals + int64_t{blockIdx.x} * kCuts + cut);
  GiveTiers<kSelectThreads>(args.ranks + part.first, part.end - part.first, cuts, before, args.tiers + part.first);
}

// Tiers of one chunk by thresholds, or those that a ranking gave; and how many there are of each.
__global__ void __launch_bounds__(kSelectThreads)
    CountTiersKernel(SelectTiersArgs args, int32_t chunks, bool thresholds) {
  const int64_t warp = int64_t{blockIdx.x} * (kSelectThreads / kWarpLanes) + WarpOf();
  const int64_t row = warp / chunks;
  if (row >= int64_t{args.layers} * args.kv_heads) return;
  const auto chunk = static_cast<int32_t>(warp % chunks);
  PromptPolicy policy;
  policy.allocation = args.allocation;
  policy.source = args.source;
  policy.alpha_high = args.alpha_high;
  policy.alpha_low = args.alpha_low;
  policy.window = args.window;
  policy.tokens = args.tokens;
  policy.first_query = args.first_query;
  const int32_t first = chunk * args.chunk_tokens;
  const int32_t end = first + args.chunk_tokens < args.tokens ? first + args.chunk_tokens : args.tokens;
  int32_t counts[3] = {0, 0, 0};
  for (int32_t at = first; at < end; at += kWarpLanes) {
    const int32_t t = at + LaneOf();
    const int64_t i = row * args.tokens + t;
    auto tier = static_cast<int32_t>(PromptTier::kPruned);
    if (t < end && !thresholds) tier = Load(args.tiers + i);
    if (t < end && thresholds) {
      if (Load(args.ranks + i) != Absent())
        tier = static_cast<int32_t>(ChoosePromptTier(policy, t, Load(args.scores + i)));
      Store(args.tiers + i, static_cast<uint8_t>(tier));
    }
#pragma unroll
    for (int32_t which = 0; which < 3; ++which) {
      counts[which] += __popc(__ballot_sync(kAllLanes, t < end && tier == which ? 1 : 0));
    }
  }
  if (LaneOf() < 3) {
    const int32_t count = LaneOf() == 0 ? counts[0] : LaneOf() == 1 ? counts[1] : counts[2];
    Store(args.counts + (row * chunks + chunk) * 3 + LaneOf(), count);
  }
}

void RankTogether(Stream& stream, const SelectTiersArgs& args, int64_t size) {
  const RankingMemory memory = PlaceRanking(args);
  const dim3 parts(static_cast<unsigned>((size + kPartRanks - 1) / kPartRanks));
  const dim3 threads(kSelectThreads);
  DECANT_LAUNCH(ClearRankingKernel, dim3(16), threads, 0, stream, memory);
  DECANT_LAUNCH(CountInfinitiesKernel, parts, threads, 0, stream, args, size, memory);
  DECANT_LAUNCH(NarrowSearchKernel, dim3(1), threads, 0, stream, args, size, memory, -1);
  for (int32_t round = 0; round < kDigitRounds; ++round) {
    DECANT_LAUNCH(CountDigitsKernel, parts, threads, 0, stream, args, size, memory, round);
    DECANT_LAUNCH(NarrowSearchKernel, dim3(1), threads, 0, stream, args, size, memory, round);
  }
  DECANT_LAUNCH(CountEqualsKernel, parts, threads, 0, stream, args, size, memory);
  DECANT_LAUNCH(SumEqualsKernel, dim3(1), dim3(kRowThreads), 0, stream, memory, static_cast<int32_t>(parts.x));
  DECANT_LAUNCH(GiveTiersKernel, parts, threads, 0, stream, args, size, memory);
}

bool IsGlobal(Allocation allocation) {
  return allocation == Allocation::kGlobal || allocation == Allocation::kGlobalTiers;
}
bool IsRanking(Allocation allocation) {
  return allocation >= Allocation::kTop && allocation != Allocation::kWindowSplit;
}

}  // namespace

void SelectTiersCuda(Stream& stream, const SelectTiersArgs& args) {
  const int64_t rows = int64_t{args.layers} * args.kv_heads;
  const int64_t all = rows * args.tokens;
  if (all == 0) return;
  if (IsGlobal(args.allocation) && all > kAloneRanks) {
    RankTogether(stream, args, all);
  } else if (IsRanking(args.allocation)) {
    const bool together = IsGlobal(args.allocation);
    DECANT_LAUNCH(RankRowKernel, dim3(static_cast<unsigned>(together ? 1 : rows)), dim3(kRowThreads), 0, stream, args,
                  together ? all : int64_t{args.tokens});
  }
  const int32_t chunks = (args.tokens + args.chunk_tokens - 1) / args.chunk_tokens;
  constexpr int64_t kWarps = kSelectThreads / kWarpLanes;
  DECANT_LAUNCH(CountTiersKernel, dim3(static_cast<unsigned>((rows * chunks + kWarps - 1) / kWarps)),
                dim3(kSelectThreads), 0, stream, args, chunks, !IsRanking(args.allocation));
}

}  // namespace decant
