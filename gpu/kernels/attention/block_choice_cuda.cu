// Quest on the device, in two launches. Bounds: a warp reads entries of read statistics side by side, 16 bytes a lane,
// and sets each against all query heads of the group, which wait in shared memory. Choice: a block a head finds where
// the best are cut by radix selection and lists them in order.
#include "gpu/device/block.cuh"
#include "gpu/device/cuda_kernel.h"
#include "gpu/device/radix_select.cuh"
#include "gpu/device/warp.cuh"
#include "gpu/kernels/attention/block_choice.h"
#include "gpu/kernels/attention/block_choice_cuda.h"
#include "gpu/kernels/codec/vector_lanes.cuh"
#include "gpu/kernels/pages/slot.h"

namespace decant {
namespace {

constexpr int kBoundThreads = 128;
constexpr int kChoiceThreads = 256;
constexpr int32_t kBoundBlocks = 64;  // statistics blocks of one thread block: their queries are loaded once

__device__ __forceinline__ float BoundOf(const Eight& q, const Eight& smallest, const Eight& largest) {
  float sum = 0.0f;
#pragma unroll
  // The larger end where q is positive, the smaller where it is not.
  for (int i = 0; i < kEight; ++i) sum = fmaf(q.x[i], q.x[i] > 0.0f ? largest.x[i] : smallest.x[i], sum);
  return sum;
}

__global__ void __launch_bounds__(kBoundThreads) BlockBoundsKernel(DecodeAttentionArgs args, BlockLists lists) {
  DECANT_DYN_SHARED(float, queries);  // [group, head_dim]
  const Geometry& geometry = args.arena.geometry;
  const auto sequence = static_cast<int32_t>(blockIdx.z);
  const auto kv_head = static_cast<int32_t>(blockIdx.y);
  const SequenceRows& rows = args.rows[sequence];
  const HeadRow row = RowOf(rows, geometry, args.layer, kv_head);
  const int64_t pair = int64_t{sequence} * geometry.kv_heads + kv_head;
  if (!ChoosesBlocks(rows, *row.state, args.layer)) {
    if (blockIdx.x == 0 && threadIdx.x == 0) Store(lists.counts + pair, 0);
    return;
  }
  const int32_t last = BlocksOf(row.state->tokens[kHigh]) - 1;
  const int32_t head_dim = geometry.head_dim;
  const int32_t group = geometry.group();
  const float* const q = args.q + sequence * args.q_stride + int64_t{kv_head} * group * head_dim;
  const LanePlace place = PlaceOfLane(head_dim, LaneOf());
  const int32_t slots = kWarpLanes / place.lanes;
  const FormatId id = rows.formats[kHigh];
  const int32_t begin = static_cast<int32_t>(blockIdx.x) * kBoundBlocks;
  if (begin >= last) return;
  const int32_t end = begin + kBoundBlocks < last ? begin + kBoundBlocks : last;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < group * head_dim; i += kBoundThreads) queries[i] = Load(q + i);
  __syncthreads();
  constexpr int32_t kWarps = kBoundThreads / kWarpLanes;
  for (int32_t first = begin + WarpOf() * slots; first < end; first += kWarps * slots) {
    const int32_t block = first + place.slot;
    const bool holds = place.holds && block < end;
    Eight smallest = ZeroEight();
    Eight largest = ZeroEight();
    if (holds) {
      const uint8_t* const entry = StatisticsAt(args.arena, row, id, kHigh, block * kStatisticsBlock);
      smallest = WidenBf16(Load(reinterpret_cast<const uint4*>(entry) + place.part));
      largest = WidenBf16(Load(reinterpret_cast<const uint4*>(entry + 2 * head_dim) + place.part));
    }
    float most = -__int_as_float(0x7f800000);
    for (int32_t h = 0; h < group; ++h) {
      Eight own = ZeroEight();
      if (holds) {
#pragma unroll
        for (int i = 0; i < kEight; ++i) own.x[i] = queries[h * head_dim + place.part * kEight + i];
      }
      const float bound = WarpSum(BoundOf(own, smallest, largest), place.lanes);
      // What is no number may be large: its block is read.
      const float sound = bound == bound ? bound : __int_as_float(0x7f800000);
      most = most < sound ? sound : most;
    }
    if (holds && place.part == 0) Store(lists.bounds + pair * lists.stride + block, most);
  }
}

__global__ void __launch_bounds__(kChoiceThreads) ChooseBlocksKernel(DecodeAttentionArgs args, BlockLists lists) {
  __shared__ uint32_t histogram[kDigits];
  const Geometry& geometry = args.arena.geometry;
  const auto sequence = static_cast<int32_t>(blockIdx.y);
  const auto kv_head = static_cast<int32_t>(blockIdx.x);
  const SequenceRows& rows = args.rows[sequence];
  const HeadRow row = RowOf(rows, geometry, args.layer, kv_head);
  if (!ChoosesBlocks(rows, *row.state, args.layer)) return;
  const int64_t pair = int64_t{sequence} * geometry.kv_heads + kv_head;
  const int32_t last = BlocksOf(row.state->tokens[kHigh]) - 1;
  const int32_t chosen = BlocksRead(rows) - 1;
  const float* const bounds = lists.bounds + pair * lists.stride;
  int32_t* const blocks = lists.blocks + pair * lists.stride;
  const Search cut = SearchAlone<kChoiceThreads>(bounds, last, chosen, histogram);
  int32_t written = 0;
  int32_t equals = 0;  // of the cut's order, so far
  for (int32_t first = 0; first < last && chosen > 0; first += kChoiceThreads) {
    const int32_t block = first + static_cast<int32_t>(threadIdx.x);
    const uint32_t order = block < last ? OrderOf(Load(bounds + block)) : 0u;
    const bool equal = block < last && order == cut.known;
    const BlockScan<int32_t> before = BlockExclusiveScan<kChoiceThreads>(equal ? 1 : 0);
    const bool in = block < last && (order > cut.known || (equal && equals + before.before < cut.wanted));
    const BlockScan<int32_t> place = BlockExclusiveScan<kChoiceThreads>(in ? 1 : 0);
    if (in) Store(blocks + written + place.before, block);
    written += place.total;
    equals += before.total;
  }
  if (threadIdx.x != 0) return;
  Store(blocks + chosen, last);
  Store(lists.counts + pair, chosen + 1);
}

}  // namespace

void ChooseBlocksCuda(Stream& stream, const DecodeAttentionArgs& args, const BlockLists& lists) {
  const Geometry& geometry = args.arena.geometry;
  const auto heads = static_cast<unsigned>(geometry.kv_heads);
  const auto sequences = static_cast<unsigned>(args.sequences);
  const auto parts = static_cast<unsigned>((lists.stride + kBoundBlocks - 1) / kBoundBlocks);
  const size_t shared = sizeof(float) * static_cast<size_t>(geometry.group() * geometry.head_dim);
  DECANT_LAUNCH(BlockBoundsKernel, dim3(parts, heads, sequences), dim3(kBoundThreads), shared, stream, args, lists);
  DECANT_LAUNCH(ChooseBlocksKernel, dim3(heads, sequences), dim3(kChoiceThreads), 0, stream, args, lists);
}

}  // namespace decant
