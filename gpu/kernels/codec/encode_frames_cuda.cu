// Quantise + pack. A block takes one half, K or V, of one run: it gathers the tokens of the run's tier, 64 at a time,
// and encodes them as a tile. Bytes that must move are the vectors and what becomes of them; the tiers are read twice.
#include "gpu/device/block.cuh"
#include "gpu/device/cuda_kernel.h"
#include "gpu/kernels/codec/codec_cuda.h"
#include "gpu/kernels/codec/encode_tile.cuh"
#include "gpu/kernels/codec/key_ends.cuh"

namespace decant {
namespace {

// Four vectors in flight a slot hide the latency and share out the fits of their pairs.
constexpr int kPasses = 4;

template <RunType kRunType>
struct PromptSource {
  const uint8_t* vectors;  // the chunk's first
  int32_t stride;
  const int32_t* listed;  // the tile's tokens within the chunk

  __device__ __forceinline__ Taken operator()(int32_t token, const LanePlace& place) const {
    Taken taken;
    taken.copied = false;
    taken.eight = LoadEight(kRunType, vectors + int64_t{listed[token]} * stride, place.part);
    return taken;
  }
  template <int kCount>
  __device__ __forceinline__ void Shape(Taken (&)[kCount], const LanePlace&) const {}
};

__device__ __forceinline__ bool IsInRun(const EncodeFramesArgs& args, const EncodeRun& run, int32_t t) {
  if (t >= run.chunk_tokens) return false;
  if (run.tokens >= 0) return t >= run.from && t < run.from + run.tokens;
  const int64_t row = run.head * args.tokens + run.first_token;
  return (args.tiers == nullptr ? 0 : static_cast<int32_t>(Load(args.tiers + row + t))) == run.tier;
}

// The tokens of a run in order, a tile at a time. A chunk's tokens are looked at 256 at once; what a tile has no room
// for waits in the list.
struct TokenList {
  int32_t* listed;  // shared [kTileTokens + kEncodeThreads]
  int32_t held = 0;
  int32_t next = 0;

  __device__ __forceinline__ void Fill(const EncodeFramesArgs& args, const EncodeRun& run) {
    while (held < kTileTokens && next < run.chunk_tokens) {
      const int32_t t = next + static_cast<int32_t>(threadIdx.x);
      const bool wanted = IsInRun(args, run, t);
      const BlockScan<int32_t> scan = BlockExclusiveScan<kEncodeThreads>(wanted ? 1 : 0);
      if (wanted) listed[held + scan.before] = t;
      held += scan.total;
      next += kEncodeThreads;
    }
    __syncthreads();
  }
  __device__ __forceinline__ void Drop(int32_t count) {
    held -= count;
    const auto i = static_cast<int32_t>(threadIdx.x);
    const int32_t waiting = i < held ? listed[count + i] : 0;
    __syncthreads();
    if (i < held) listed[i] = waiting;
    __syncthreads();
  }
};

__device__ __forceinline__ void StoreTokenFields(const EncodeFramesArgs& args, const EncodeRun& run,
                                                 const int32_t* listed, int32_t written, int32_t count) {
  const auto i = static_cast<int32_t>(threadIdx.x);
  if (i >= count) return;
  const int32_t t = listed[i];
  if (run.positions >= 0) {
    Store(reinterpret_cast<uint16_t*>(args.out + run.positions) + written + i, static_cast<uint16_t>(t));
  }
  if (run.scores < 0) return;
  const int64_t row = run.head * args.tokens + run.first_token;
  const float score = args.scores == nullptr ? 0.0f : Load(args.scores + row + t);
  Store(reinterpret_cast<float*>(args.out + run.scores) + written + i, score);
}

template <RunType kRunType>
__global__ void __launch_bounds__(kEncodeThreads) EncodeFramesKernel(EncodeFramesArgs args) {
  DECANT_DYN_SHARED(uint8_t, shared);
  __shared__ int32_t listed[kTileTokens + kEncodeThreads];
  const EncodeRun run = Load(args.runs + blockIdx.x);
  const bool keys = blockIdx.y == 0;
  const Format format = FormatOf(run.format);
  const int32_t head_dim = args.head_dim;
  const int32_t stride = (kRunType == RunType::kF32 ? 4 : 2) * head_dim;
  HalfTarget half;
  half.element = keys ? format.k : format.v;
  half.levels = keys ? args.key_levels : args.value_levels;
  half.codes = args.out + (keys ? run.keys : run.values);
  half.meta = args.out + (keys ? run.key_meta : run.value_meta);
  StoredError* const errors = keys ? args.key_errors : args.value_errors;
  const int64_t first = run.head * args.capacity + run.first_token;
  const PromptSource<kRunType> source{static_cast<const uint8_t*>(keys ? args.k : args.v) + first * stride, stride,
                                      listed};
  const TileMemory memory = PlaceTile(shared, head_dim);
  // A run without keys has its positions and scores from the values' block.
  const bool tells_tokens = keys == (format.k != Element::kNone);
  ErrorSums sums;
  TokenList list{listed};
  int32_t written = 0;
  if (half.element != Element::kNone) {
    for (list.Fill(args, run); list.held > 0; list.Fill(args, run)) {
      const int32_t count = list.held < kTileTokens ? list.held : kTileTokens;
      if (tells_tokens) StoreTokenFields(args, run, listed, written, count);
      EncodeTile<kPasses>(source, count, head_dim, TargetFrom(half, written, head_dim), memory, sums);
      written += count;
      list.Drop(count);
    }
  }
  StoreErrors(sums, errors == nullptr ? nullptr : errors + blockIdx.x);
  if (keys && format.statistics) {
    WriteKeyEnds(half.codes, written, head_dim, half.element, args.out + run.statistics);
  }
}

__global__ void __launch_bounds__(kEncodeThreads) ExpandFramesKernel(ExpandFramesArgs args) {
  const ExpandRun run = Load(args.runs + blockIdx.x);
  const bool keys = blockIdx.y == 0;
  const Element element = keys ? FormatOf(run.format).k : FormatOf(run.format).v;
  if (element == Element::kNone) return;
  const uint8_t* const codes = args.frames + (keys ? run.keys : run.values);
  const uint8_t* const meta = args.frames + (keys ? run.key_meta : run.value_meta);
  const int64_t stride = (args.run_type == RunType::kF32 ? 4 : 2) * args.head_dim;
  auto* const to =
      static_cast<uint8_t*>(keys ? args.k : args.v) + (run.head * args.capacity + run.first_token) * stride;
  const LanePlace place = PlaceOfLane(args.head_dim, static_cast<int32_t>(threadIdx.x));
  if (!place.holds) return;
  for (int32_t t = place.slot; t < run.tokens; t += kEncodeThreads / place.lanes) {
    const uint8_t* const pairs = IsChannel(element)
                                     ? meta + MetaSegmentBytes(element, args.head_dim, t / kTokenGroup * kTokenGroup)
                                     : meta + t * MetaBytes(element, args.head_dim);
    const Eight eight = DecodeStored(element, codes + t * VectorBytes(element, args.head_dim), pairs, place.part);
    StoreEight(args.run_type, eight, to + t * stride, place.part);
  }
}

}  // namespace

void EncodeFramesCuda(Stream& stream, const EncodeFramesArgs& args) {
  const dim3 grid(static_cast<unsigned>(args.run_count), 2);
  const size_t shared = TileSharedBytes(args.head_dim);
  if (args.run_type == RunType::kBf16) {
    DECANT_LAUNCH(EncodeFramesKernel<RunType::kBf16>, grid, dim3(kEncodeThreads), shared, stream, args);
  } else {
    DECANT_LAUNCH(EncodeFramesKernel<RunType::kF32>, grid, dim3(kEncodeThreads), shared, stream, args);
  }
}

void ExpandFramesCuda(Stream& stream, const ExpandFramesArgs& args) {
  DECANT_LAUNCH(ExpandFramesKernel, dim3(static_cast<unsigned>(args.run_count), 2), dim3(kEncodeThreads), 0, stream,
                args);
}

}  // namespace decant
