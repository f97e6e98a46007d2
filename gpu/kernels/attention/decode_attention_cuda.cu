// Decode attention in two kernels. The first has a block for every (kv head, split of its tokens, sequence): its query
// heads share each load, the softmax goes along tile by tile, and what leaves is a largest logit, a sum of weights and
// an output. The second merges the splits and, with the factors of the whole head known, adds scores (defects D2 and D3
// of the public DiffKV kernels were a factor taken by position instead of by split, and a reader that ran before its
// writers had finished).
#include "gpu/kernels/attention/decode_attention_cuda.h"

#include "common/compress/arith/score_policy.h"
#include "gpu/device/cuda_kernel.h"
#include "gpu/kernels/attention/block_choice_cuda.h"
#include "gpu/kernels/attention/decode_plain_steps.cuh"
#include "gpu/kernels/attention/decode_split.h"
#include "gpu/kernels/attention/decode_tensor_steps.cuh"
#include "gpu/kernels/pages/slot.h"

namespace decant {
namespace {

struct Range {
  int32_t begin;
  int32_t end;
};

__device__ __forceinline__ Range RangeOf(const HeadView& view, int32_t split, int32_t splits) {
  const int32_t share = SplitTokens(view.tokens, splits);
  const int32_t begin = split * share;
  Range range;
  range.begin = begin < view.tokens ? begin : view.tokens;
  range.end = view.tokens - range.begin < share ? view.tokens : range.begin + share;
  return range;
}

__device__ __forceinline__ int32_t ActiveSplits(const HeadView& view, int32_t splits) {
  const int32_t share = SplitTokens(view.tokens, splits);
  return (view.tokens + share - 1) / share;
}

__device__ inline void OpenPair(const DecodeAttentionArgs& args, const DecodeScratch& layout, HeadView* view) {
  const auto kv_head = static_cast<int32_t>(blockIdx.y);
  const int64_t pair = int64_t{blockIdx.z} * args.arena.geometry.kv_heads + kv_head;
  const auto* const blocks = reinterpret_cast<const int32_t*>(args.scratch + layout.blocks);
  const auto* const counts = reinterpret_cast<const int32_t*>(args.scratch + layout.block_counts);
  const int32_t count = args.may_choose_blocks ? Load(counts + pair) : 0;
  OpenHead(args.arena, args.rows + blockIdx.z, args.layer, kv_head, blocks + pair * layout.block_stride, count, view);
}

template <typename Steps>
__device__ __host__ constexpr int32_t PaddedHeads(int32_t group) {
  return (group + Steps::kPadding - 1) / Steps::kPadding * Steps::kPadding;
}
// Heads at a time for keys before rope.
template <typename Steps>
__device__ __host__ constexpr int32_t RotatedHeads() {
  return Steps::kPadding < 4 ? Steps::kPadding : 4;
}

// Writes the split's output from the weighted sums of values `out` [group, head_dim]: the head's own where it is the
// only split.
__device__ inline void WriteOutput(const DecodeAttentionArgs& args, const DecodeScratch& layout,
                                   const DecodeBlock& block, const float* out) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int64_t pair = int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  float* const part = args.scratch + layout.Part(pair, static_cast<int32_t>(blockIdx.x));
  const bool alone = layout.splits == 1;
  const int64_t first = int64_t{blockIdx.y} * block.group * block.head_dim;
  float* const to = alone ? args.out + blockIdx.z * args.out_stride + first : part + 2 * block.group;
  for (int32_t i = thread; i < block.group * block.head_dim; i += kBlockThreads) {
    const int32_t h = i / block.head_dim;
    const float sum = out[i] + block.zeros[h];
    Store(to + i, !alone ? sum : block.total[h] > 0 ? sum / block.total[h] : 0.0f);
  }
  if (thread < block.group) {
    Store(part + thread, block.most[thread]);
    Store(part + block.group + thread, block.total[thread]);
  }
}

template <typename Steps>
__global__ void __launch_bounds__(kBlockThreads, Steps::kBlocksAtOnce)
    AttendSplits(DecodeAttentionArgs args, DecodeScratch layout) {
  DECANT_DYN_SHARED(uint8_t, shared);
  const Geometry& geometry = args.arena.geometry;
  const int32_t group = geometry.q_heads / geometry.kv_heads;
  const DecodeBlock block = CarveBlock(shared, group, PaddedHeads<Steps>(group), geometry.head_dim);
  const auto thread = static_cast<int32_t>(threadIdx.x);
  HeadView& view = *block.view;
  OpenPair(args, layout, &view);
  for (int32_t i = thread; i < block.heads * kMostTileTokens; i += kBlockThreads) block.weights[i] = 0;
  if (thread < block.heads) {
    block.scales[thread] = 0;
    block.most[thread] = LowestFloat();
    block.total[thread] = 0;
    block.zeros[thread] = 0;
  }
  const Range range = RangeOf(view, static_cast<int32_t>(blockIdx.x), layout.splits);
  if (thread == 0 && blockIdx.x == 0 && args.bytes_read != nullptr) {
    const int64_t bytes =
        AttentionBytes(view.rows(), view.head(), geometry.head_dim, view.blocks != nullptr ? view.tokens : 0);
    atomicAdd(reinterpret_cast<unsigned long long*>(args.bytes_read + blockIdx.z),
              static_cast<unsigned long long>(bytes));
  }
  if (range.begin >= range.end && blockIdx.x > 0) return;

  const auto kv_head = static_cast<int32_t>(blockIdx.y);
  const int64_t pair = int64_t{blockIdx.z} * geometry.kv_heads + kv_head;
  const float* const q = args.q + blockIdx.z * args.q_stride + int64_t{kv_head} * group * geometry.head_dim;
  const float* const balance = BalanceOf(view.rows(), geometry, args.layer, kv_head);
  float* const logits = KeepsScores(view.rows().policy) ? args.scratch + layout.Logits(pair) : nullptr;
  Steps steps(block);
  int32_t shaped = -1;  // the tier for whose keys the queries stand ready

  Tile tile = TileAt(&view, range.begin, range.end, 0);
  Tile next = TileAt(&view, range.begin + tile.count, range.end, tile.turn);
  __syncthreads();
  StagedTile staged = {};
  if (tile.count > 0) staged = StageTile(args.arena, view, tile, block.stages);
  uint8_t* stage = block.stages;
  for (int32_t n = range.begin; n < range.end;) {
    WaitForCopies();
    __syncthreads();
    const StagedTile here = staged;
    uint8_t* const other = stage == block.stages ? stage + StageBytes(geometry.head_dim) : block.stages;
    if (next.count > 0) staged = StageTile(args.arena, view, next, other);
    // Its page ids are on their way while this tile is computed.
    const Tile after = TileAt(&view, n + tile.count + next.count, range.end, next.turn);
    if (shaped != tile.key_tier) {
      ShapeQueries(block, q, view.rows().key_forms[tile.key_tier], balance, args.scale);
      steps.TakeQueries(block);
      shaped = tile.key_tier;
    }
    if (view.rows().key_forms[tile.key_tier].rope == 0) {
      RotatedLogitsOfTile<RotatedHeads<Steps>()>(args, block, stage, here, tile, n);
    } else {
      steps.Logits(block, stage, here, tile);
    }
    __syncthreads();
    const Element values = view.tiers[tile.value_tier].v;
    TileSoftmax(block, tile.count,
                HasTokenPair(values) ? reinterpret_cast<const uint32_t*>(stage + here.value_meta) : nullptr,
                ElementBits(values));
    if (logits != nullptr) KeepLogits(block, tile.count, logits + int64_t{n} * group);
    __syncthreads();
    steps.Values(block, stage, here, tile);
    n += tile.count;
    tile = next;
    next = after;
    stage = other;
  }
  WriteOutput(args, layout, block, steps.Output(block));
}

// What the weights of each split are multiplied by to be probabilities of the whole head, [active, group].
__device__ inline void SplitFactors(const DecodeAttentionArgs& args, const DecodeScratch& layout, int64_t pair,
                                    int32_t group, int32_t active, float* factors, float* most, float* inverse) {
  const auto h = static_cast<int32_t>(threadIdx.x);
  if (h < group) {
    float largest = LowestFloat();
    for (int32_t s = 0; s < active; ++s) {
      factors[s * group + h] = Load(args.scratch + layout.Part(pair, s) + h);
      largest = fmaxf(largest, factors[s * group + h]);
    }
    float total = 0;
    for (int32_t s = 0; s < active; ++s) {
      const float factor = expf(factors[s * group + h] - largest);
      factors[s * group + h] = factor;
      total += Load(args.scratch + layout.Part(pair, s) + group + h) * factor;
    }
    most[h] = largest;
    inverse[h] = total > 0 ? 1.0f / total : 0.0f;
  }
  __syncthreads();
}

// `tokens`: [kBlockThreads, group] of shared memory.
__device__ inline void AddScores(const DecodeAttentionArgs& args, const DecodeScratch& layout, const HeadView& view,
                                 int64_t pair, int32_t group, const float* most, const float* inverse, float* tokens) {
  const bool mean = ScoresAreMeans(view.rows().policy);
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const float part = mean ? 1.0f / static_cast<float>(group) : 1.0f;
  const float* const logits = args.scratch + layout.Logits(pair);
  const Range range = RangeOf(view, static_cast<int32_t>(blockIdx.x), layout.splits);
  for (int32_t n = range.begin; n < range.end;) {
    const TokenRun run = RunAt(view, true, n);
    const int32_t count = run.count < range.end - n ? run.count : range.end - n;
    const TierShape& shape = view.tiers[run.tier];
    if (shape.tracked != 0) {
      uint8_t* const page = args.arena.pages + int64_t{PageId(view, run)} * args.arena.page_bytes;
      auto* const scores = reinterpret_cast<float*>(page + shape.scores) + run.first;
      for (int32_t first = 0; first < count; first += kBlockThreads) {
        const int32_t some = count - first < kBlockThreads ? count - first : kBlockThreads;
        for (int32_t i = thread; i < some * group; i += kBlockThreads) {
          tokens[i] = Load(logits + int64_t{n + first} * group + i);
        }
        __syncthreads();
        if (thread < some) {
          float received = 0;
          for (int32_t h = 0; h < group; ++h) {
            const float share = expf(tokens[thread * group + h] - most[h]) * (inverse[h] * part);
            received = mean ? received + share : fmaxf(received, share);
          }
          Store(scores + first + thread, Load(scores + first + thread) + received);
        }
        __syncthreads();
      }
    }
    n += count;
  }
}

__global__ void __launch_bounds__(kBlockThreads) MergeSplits(DecodeAttentionArgs args, DecodeScratch layout) {
  DECANT_DYN_SHARED(uint8_t, shared);
  HeadView& view = *reinterpret_cast<HeadView*>(shared);
  auto* const factors = reinterpret_cast<float*>(shared + (sizeof(HeadView) + kCopyUnit - 1) / kCopyUnit * kCopyUnit);
  const auto group = static_cast<int32_t>(layout.group);
  float* const most = factors + layout.splits * group;
  float* const inverse = most + group;
  float* const tokens = inverse + group;
  if (blockIdx.x > 0 && !KeepsScores(Load(&args.rows[blockIdx.z].policy))) return;
  OpenPair(args, layout, &view);
  const int32_t active = ActiveSplits(view, layout.splits);
  const bool keeps = KeepsScores(view.rows().policy);
  const bool merges = blockIdx.x == 0 && layout.splits > 1;
  if (!merges && (!keeps || static_cast<int32_t>(blockIdx.x) >= active)) return;
  const int64_t pair = int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  SplitFactors(args, layout, pair, group, active, factors, most, inverse);
  if (merges) {
    const auto head_dim = static_cast<int32_t>(layout.head_dim);
    float* const out = args.out + blockIdx.z * args.out_stride + int64_t{blockIdx.y} * group * head_dim;
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < group * head_dim; i += kBlockThreads) {
      const int32_t h = i / head_dim;
      float sum = 0;
      for (int32_t s = 0; s < active; ++s) {
        sum += Load(args.scratch + layout.Part(pair, s) + 2 * group + i) * (factors[s * group + h] * inverse[h]);
      }
      Store(out + i, sum);
    }
  }
  if (keeps) AddScores(args, layout, view, pair, group, most, inverse, tokens);
}

template <typename Steps>
void LaunchSplits(Stream& stream, const DecodeAttentionArgs& args, const DecodeScratch& layout) {
  const int32_t heads = PaddedHeads<Steps>(static_cast<int32_t>(layout.group));
  const dim3 grid(static_cast<unsigned>(layout.splits), static_cast<unsigned>(args.arena.geometry.kv_heads),
                  static_cast<unsigned>(args.sequences));
  const auto bytes = static_cast<size_t>(DecodeBlockBytes(heads, args.arena.geometry.head_dim));
  DECANT_LAUNCH((AttendSplits<Steps>), grid, dim3(kBlockThreads), bytes, stream, args, layout);
}

void LaunchPlain(Stream& stream, const DecodeAttentionArgs& args, const DecodeScratch& layout) {
  if (layout.group == 1) return LaunchSplits<PlainSteps<1>>(stream, args, layout);
  if (layout.group == 2) return LaunchSplits<PlainSteps<2>>(stream, args, layout);
  LaunchSplits<PlainSteps<4>>(stream, args, layout);
}

template <int kSets>
void LaunchTensor(Stream& stream, const DecodeAttentionArgs& args, const DecodeScratch& layout) {
  if (layout.head_dim <= 64) return LaunchSplits<TensorSteps<kSets, 1>>(stream, args, layout);
  if (layout.head_dim <= 128) return LaunchSplits<TensorSteps<kSets, 2>>(stream, args, layout);
  LaunchSplits<TensorSteps<kSets, 4>>(stream, args, layout);
}

// Fewer heads leave the tensor cores' columns empty, and plain arithmetic keeps up with memory; more are not divided
// into sets of columns.
bool TakesTensorCores(DecodePath path, int64_t group) {
  if (path == DecodePath::kPlain || group > kMostTensorHeads) return false;
  if (path == DecodePath::kTensor) return true;
#if defined(__CUDACC__)
  return group >= kLeastTensorHeads;
#else
  return false;
#endif
}

}  // namespace

int64_t DecodeAttentionCudaScratchBytes(const Geometry& geometry, int32_t sequences, int64_t scratch_tokens) {
  // Fewer sequences are cut into more splits: there are never more parts than wanted blocks and one for each pair.
  const DecodeScratch layout(geometry, sequences, scratch_tokens);
  const int64_t more_parts = kWantedBlocks + layout.pairs - layout.pairs * layout.splits;
  const int64_t floats = layout.floats + (more_parts > 0 ? more_parts : 0) * layout.part_floats;
  return floats * static_cast<int64_t>(sizeof(float));
}

void DecodeAttentionCuda(Stream& stream, const DecodeAttentionArgs& args, DecodePath path) {
  if (args.sequences == 0) return;
  const DecodeScratch layout(args.arena.geometry, args.sequences, args.scratch_tokens);
  if (args.may_choose_blocks) {
    BlockLists lists;
    lists.bounds = args.scratch + layout.bounds;
    lists.blocks = reinterpret_cast<int32_t*>(args.scratch + layout.blocks);
    lists.counts = reinterpret_cast<int32_t*>(args.scratch + layout.block_counts);
    lists.stride = layout.block_stride;
    ChooseBlocksCuda(stream, args, lists);
  }
  if (!TakesTensorCores(path, layout.group)) {
    LaunchPlain(stream, args, layout);
  } else if (layout.group <= 4) {
    LaunchTensor<1>(stream, args, layout);
  } else {
    LaunchTensor<2>(stream, args, layout);
  }
  const dim3 grid(static_cast<unsigned>(layout.splits), static_cast<unsigned>(args.arena.geometry.kv_heads),
                  static_cast<unsigned>(args.sequences));
  const size_t bytes =
      sizeof(HeadView) + kCopyUnit + static_cast<size_t>((layout.splits + 2 + kBlockThreads) * layout.group) * 4;
  DECANT_LAUNCH(MergeSplits, grid, dim3(kBlockThreads), bytes, stream, args, layout);
}

}  // namespace decant
