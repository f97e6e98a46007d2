// Two launches. Copy: a block per run; its warps take pieces of up to 512 bytes of the run's segments in turn, each as
// wide as the two addresses allow (16 bytes for head dimensions from 64 on). Finish: a block per head makes the
// statistics of blocks that more than one run wrote, and moves the head's token counts.
//
// Bytes: each byte of a frame is read and written once; beside it a run's description and its pages' ids are read.
#include "common/compress/arith/key_range.h"
#include "gpu/device/block.cuh"
#include "gpu/kernels/pages/import_run.h"
#include "gpu/kernels/pages/page_ops_cuda.h"
#include "gpu/kernels/pages/ring.cuh"

namespace decant {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpLanes;

struct Segment {
  uint8_t* to = nullptr;
  const uint8_t* from = nullptr;
  int64_t bytes = 0;
};

// Piece by piece, `turn` counting the pieces of everything that the block copies: a warp has every kWarps-th.
template <typename T>
__device__ __forceinline__ void CopyAs(const Segment& segment, int32_t& turn) {
  auto* const to = reinterpret_cast<T*>(segment.to);
  const auto* const from = reinterpret_cast<const T*>(segment.from);
  const auto items = static_cast<int32_t>(segment.bytes / static_cast<int64_t>(sizeof(T)));
  const int32_t pieces = (items + kWarpLanes - 1) / kWarpLanes;
  int32_t piece = turn;
  for (; piece < pieces; piece += kWarps) {
    const int32_t i = piece * kWarpLanes + LaneOf();
    if (i < items) Store(to + i, Load(from + i));
  }
  turn = piece - pieces;
}

__device__ __forceinline__ void Copy(const Segment& segment, int32_t& turn) {
  const auto width = (reinterpret_cast<uintptr_t>(segment.to) | reinterpret_cast<uintptr_t>(segment.from) |
                      static_cast<uintptr_t>(segment.bytes)) %
                     16;
  if (width == 0) {
    CopyAs<uint4>(segment, turn);
  } else if (width % 8 == 0) {
    CopyAs<uint2>(segment, turn);
  } else if (width % 4 == 0) {
    CopyAs<uint32_t>(segment, turn);
  } else {
    CopyAs<uint8_t>(segment, turn);
  }
}

// What of a part is copied as it is. Pairs and statistics come in whole groups and blocks: what came before the part
// did too, in the run and in the page.
constexpr int32_t kSegments = 5;
__device__ __forceinline__ Segment SegmentOf(const ImportFramesArgs& args, const ImportRun& run, FormatId id,
                                             const HeadRow& row, const RunPart& part, const TokenSlot& slot,
                                             int32_t which) {
  const Format format = FormatOf(id);
  const int32_t head_dim = args.arena.geometry.head_dim;
  if (which < 2) {
    const int64_t bytes = VectorBytes(which == 0 ? format.k : format.v, head_dim);
    return Segment{which == 0 ? slot.keys : slot.values,
                   args.frames + (which == 0 ? run.keys : run.values) + part.first * bytes, part.count * bytes};
  }
  if (which < 4) {
    const Element element = which == 2 ? format.k : format.v;
    uint8_t* to = which == 2 ? slot.key_meta : slot.value_meta;
    if (which == 2 && IsChannel(element)) to = ChannelPairsAt(args.arena, row, id, run.tier, part.slot);
    return Segment{
        to,
        args.frames + (which == 2 ? run.key_meta : run.value_meta) + MetaSegmentBytes(element, head_dim, part.first),
        MetaSegmentBytes(element, head_dim, part.count)};
  }
  if (!format.statistics || !CopiesStatistics(part)) return Segment{};
  return Segment{StatisticsAt(args.arena, row, id, run.tier, part.slot),
                 args.frames + run.statistics + StatisticsBytes(id, head_dim, part.first),
                 StatisticsBytes(id, head_dim, part.count)};
}

// Positions are made, scores copied or zeroed.
__device__ __forceinline__ void WriteTracked(const ImportFramesArgs& args, const ImportRun& run, const TokenSlot& slot,
                                             const RunPart& part) {
  for (auto i = static_cast<int32_t>(threadIdx.x); i < part.count; i += kThreads) {
    auto offset = static_cast<uint16_t>(part.first + i);
    if (run.positions >= 0) {
      offset = Load(reinterpret_cast<const uint16_t*>(args.frames + run.positions) + part.first + i);
    }
    Store(slot.position + i, run.first_position + offset);
    float score = 0;
    if (run.scores >= 0) score = Load(reinterpret_cast<const float*>(args.frames + run.scores) + part.first + i);
    Store(slot.score + i, score);
  }
}

// The block's run, read once.
__device__ __forceinline__ void LoadRun(const ImportRun* from, ImportRun* to) {
  constexpr auto kWords = static_cast<int32_t>(sizeof(ImportRun) / sizeof(uint64_t));
  static_assert(sizeof(ImportRun) % sizeof(uint64_t) == 0 && kWords <= kThreads);
  const auto i = static_cast<int32_t>(threadIdx.x);
  if (i < kWords) reinterpret_cast<uint64_t*>(to)[i] = Load(reinterpret_cast<const uint64_t*>(from) + i);
  __syncthreads();
}

__global__ void __launch_bounds__(kThreads) CopyRunsKernel(const __grid_constant__ ImportFramesArgs args) {
  __shared__ ImportRun run;
  LoadRun(args.runs + blockIdx.x, &run);
  const HeadRow row = RowOf(*args.rows, args.arena.geometry, args.layer, run.head);
  DECANT_RECORD_READ(row.state, sizeof(HeadState));
  const RunTarget target = TargetOf(args, run, *row.state);
  if (!target.fits) return;
  const bool tracked = FormatOf(target.format).tracked;
  int32_t turn = WarpOf();
  for (RunPart part = FirstPart(target, run.tokens); part.count > 0; part = NextPart(target, run.tokens, part)) {
    DECANT_RECORD_READ(row.page_ids + RowPlace(*row.state, row.capacity, run.tier, part.slot / target.page_tokens),
                       sizeof(int32_t));
    const TokenSlot slot = SlotAt(args.arena, row, target.format, run.tier, part.slot);
#pragma unroll 1
    for (int32_t which = 0; which < kSegments; ++which) {
      const Segment segment = SegmentOf(args, run, target.format, row, part, slot, which);
      if (segment.bytes > 0) Copy(segment, turn);
    }
    if (tracked) WriteTracked(args, run, slot, part);
  }
}

// A thread per channel, the keys of a block of tokens in their order, as the host does.
__device__ __forceinline__ void WriteStatistics(const ImportFramesArgs& args, const ImportRun& run, FormatId id,
                                                const HeadRow& row, const RunPart& part) {
  const Element element = FormatOf(id).k;
  const int32_t head_dim = args.arena.geometry.head_dim;
  const int64_t vector_bytes = VectorBytes(element, head_dim);
  const int32_t end = part.slot + part.count;
  for (int32_t first = part.slot / kStatisticsBlock * kStatisticsBlock; first < end; first += kStatisticsBlock) {
    const int32_t tokens = end - first < kStatisticsBlock ? end - first : kStatisticsBlock;
    const uint8_t* keys = SlotAt(args.arena, row, id, run.tier, first).keys;
    auto* const entry = reinterpret_cast<Bf16*>(StatisticsAt(args.arena, row, id, run.tier, first));
    for (auto channel = static_cast<int32_t>(threadIdx.x); channel < head_dim; channel += kThreads) {
      KeyEnds ends;
      for (int32_t t = 0; t < tokens; ++t) {
        const uint8_t* key = keys + t * vector_bytes;
        const float x = element == Element::kBf16 ? ToFloat(Load(reinterpret_cast<const Bf16*>(key) + channel))
                                                  : Load(reinterpret_cast<const float*>(key) + channel);
        ends = t == 0 ? EndsOf(x) : Widened(ends, x);
      }
      Store(entry + channel, ends.smallest);
      Store(entry + head_dim + channel, ends.largest);
    }
  }
}

// Statistics of a run's parts that are not copied; all threads of a block.
__device__ __forceinline__ void FinishRun(const ImportFramesArgs& args, const ImportRun& run, const HeadRow& row) {
  const RunTarget target = TargetOf(args, run, *row.state);
  for (RunPart part = FirstPart(target, run.tokens); part.count > 0; part = NextPart(target, run.tokens, part)) {
    if (!CopiesStatistics(part)) WriteStatistics(args, run, target.format, row, part);
  }
}

__global__ void __launch_bounds__(kThreads) FinishHeadsKernel(const __grid_constant__ ImportFramesArgs args) {
  const auto head = static_cast<int32_t>(blockIdx.x);
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const HeadRow row = RowOf(*args.rows, args.arena.geometry, args.layer, head);
  __shared__ int32_t gains[kTierCount];
  __shared__ uint32_t with_statistics[kWarps];
  if (thread < kTierCount) gains[thread] = 0;
  __syncthreads();
  for (int32_t first = 0; first < args.run_count; first += kThreads) {
    const int32_t i = first + thread;
    bool finishes = false;
    if (i < args.run_count && Load(&args.runs[i].head) == head) {
      const ImportRun run = Load(args.runs + i);
      const RunTarget target = TargetOf(args, run, *row.state);
      finishes = target.fits && FormatOf(target.format).statistics;
      if (target.fits) atomicMax(&gains[run.tier], run.before + run.tokens);
    }
    const uint32_t votes = __ballot_sync(kAllLanes, finishes ? 1 : 0);
    if (LaneOf() == 0) with_statistics[WarpOf()] = votes;
    __syncthreads();
    // In the order of the runs: a later one goes over the end of the one before it.
    for (int32_t warp = 0; warp < kWarps; ++warp) {
      for (uint32_t left = with_statistics[warp]; left != 0; left &= left - 1) {
        FinishRun(args, Load(args.runs + first + warp * kWarpLanes + __ffs(left) - 1), row);
      }
    }
    __syncthreads();
  }
  if (thread < kTierCount && gains[thread] > 0) {
    Store(row.state->tokens + thread, Load(row.state->tokens + thread) + gains[thread]);
  }
}

}  // namespace

void ImportFramesCuda(Stream& stream, const ImportFramesArgs& args) {
  if (args.run_count == 0) return;
  DECANT_LAUNCH(CopyRunsKernel, dim3(static_cast<unsigned>(args.run_count)), dim3(kThreads), 0, stream, args);
  DECANT_LAUNCH(FinishHeadsKernel, dim3(static_cast<unsigned>(args.arena.geometry.kv_heads)), dim3(kThreads), 0, stream,
                args);
}

}  // namespace decant
