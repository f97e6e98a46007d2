// Stored vectors into another element. A block takes one run, one half of a (layer, head, tier): 64 vectors at a time
// are decoded in registers, rotated there, and encoded as a tile. What must move is read once and written once.
#include "gpu/device/cuda_kernel.h"
#include "gpu/kernels/codec/codec_cuda.h"
#include "gpu/kernels/codec/encode_tile.cuh"
#include "gpu/kernels/codec/key_ends.cuh"

namespace decant {
namespace {

constexpr int kPasses = 2;

struct StoredSource {
  const ReencodeFramesArgs& args;
  const ReencodeRun& run;
  int32_t first;  // of the tile
  bool same_form;

  __device__ __forceinline__ Taken operator()(int32_t token, const LanePlace& place) const {
    const int32_t i = first + token;
    const uint32_t at = run.places < 0 ? StoredPlace(0, i) : Load(args.places + run.places + i);
    const StoredVectors& from = run.sources[TierOfPlace(at)];
    const int32_t stored = TokenOfPlace(at);
    const Element element = from.element;
    const uint8_t* const codes = args.in + from.codes + stored * VectorBytes(element, args.head_dim);
    const uint8_t* const meta =
        IsChannel(element)
            ? args.in + from.meta + MetaSegmentBytes(element, args.head_dim, stored / kTokenGroup * kTokenGroup)
            : args.in + from.meta + stored * MetaBytes(element, args.head_dim);
    Taken taken;
    taken.copied = same_form && element == run.element;
    if (!taken.copied || element == Element::kF32) {
      taken.eight = DecodeStored(element, codes, meta, place.part);
    } else if (element == Element::kBf16) {
      taken.raw = Load(reinterpret_cast<const uint4*>(codes) + place.part);
    } else {
      const uint64_t packed = LoadCodes(codes, ElementBits(element), place.part);
      taken.raw = make_uint4(static_cast<uint32_t>(packed), static_cast<uint32_t>(packed >> 32), 0, 0);
      taken.pair = Load(reinterpret_cast<const uint32_t*>(meta) +
                        (IsGrouped(element) ? place.part * kEight / kElementGroup : 0));
      taken.eight = ZeroEight();
    }
    return taken;
  }

  template <int kCount>
  __device__ __forceinline__ void Shape(Taken (&taken)[kCount], const LanePlace& place) const {
    if (run.unrotate == run.rotate) return;
#pragma unroll
    for (int p = 0; p < kCount; ++p) {
      RotateEight(taken[p].eight, 1 << run.unrotate, place.part);
      RotateEight(taken[p].eight, 1 << run.rotate, place.part);
    }
  }
};

__global__ void __launch_bounds__(kEncodeThreads) ReencodeFramesKernel(ReencodeFramesArgs args) {
  DECANT_DYN_SHARED(uint8_t, shared);
  // In shared memory, since its sources are told apart by number.
  __align__(16) __shared__ uint8_t run_bytes[sizeof(ReencodeRun)];
  if (threadIdx.x == 0) *reinterpret_cast<ReencodeRun*>(run_bytes) = Load(args.runs + blockIdx.x);
  __syncthreads();
  const ReencodeRun& run = *reinterpret_cast<const ReencodeRun*>(run_bytes);
  const TileMemory memory = PlaceTile(shared, args.head_dim);
  const HalfTarget half{run.element, run.levels, args.out + run.codes, args.out + run.meta};
  const bool same_form = run.levels == 0 && run.unrotate == run.rotate && !IsChannel(run.element);
  ErrorSums sums;
  for (int32_t first = 0; first < run.tokens; first += kTileTokens) {
    const int32_t count = run.tokens - first < kTileTokens ? run.tokens - first : kTileTokens;
    const StoredSource source{args, run, first, same_form};
    EncodeTile<kPasses>(source, count, args.head_dim, TargetFrom(half, first, args.head_dim), memory, sums);
  }
  StoreErrors(sums, args.errors + blockIdx.x);
  if (run.statistics >= 0) {
    WriteKeyEnds(half.codes, run.tokens, args.head_dim, run.element, args.out + run.statistics);
  }
}

}  // namespace

void ReencodeFramesCuda(Stream& stream, const ReencodeFramesArgs& args) {
  DECANT_LAUNCH(ReencodeFramesKernel, dim3(static_cast<unsigned>(args.run_count)), dim3(kEncodeThreads),
                TileSharedBytes(args.head_dim), stream, args);
}

}  // namespace decant
