// The transform stage between a prompt's keys and their quantiser: read once, written once, eight elements a lane; the
// butterflies of a rotation go over lanes.
#include "common/compress/arith/balance.h"
#include "common/compress/arith/key_shape.h"
#include "gpu/device/cuda_kernel.h"
#include "gpu/kernels/codec/codec_cuda.h"
#include "gpu/kernels/codec/vector_lanes.cuh"

namespace decant {
namespace {

constexpr int kShapeThreads = 256;

__global__ void __launch_bounds__(kShapeThreads) ShapeKeysKernel(ShapeKeysArgs args) {
  const LanePlace place = PlaceOfLane(args.head_dim, static_cast<int32_t>(threadIdx.x));
  const int32_t slots = kShapeThreads / place.lanes;
  const auto head = static_cast<int64_t>(blockIdx.y);
  const int64_t stride = (args.run_type == RunType::kF32 ? 4 : 2) * args.head_dim;
  const auto* const k = static_cast<const uint8_t*>(args.k) + head * args.capacity * stride;
  auto* const out = static_cast<uint8_t*>(args.out) + head * args.out_capacity * stride;
  Eight factors = ZeroEight();
  if (args.form.balanced != 0 && place.holds) {
    const float* const balance = args.balance + head * args.head_dim + place.part * kEight;
#pragma unroll
    for (int i = 0; i < kEight; ++i) factors.x[i] = Load(balance + i);
  }
  const int32_t step = slots * static_cast<int32_t>(gridDim.x);
  for (int32_t first = slots * static_cast<int32_t>(blockIdx.x); first < args.tokens; first += step) {
    const int32_t token = first + place.slot;
    const bool holds = place.holds && token < args.tokens;
    Eight eight = holds ? LoadEight(args.run_type, k + token * stride, place.part) : ZeroEight();
    if (args.form.balanced != 0) {
#pragma unroll
      for (int i = 0; i < kEight; ++i) eight.x[i] *= factors.x[i];
    }
    if (args.form.hadamard != 0) RotateEight(eight, HadamardOrder(args.form), place.part);
    if (holds) StoreEight(args.run_type, eight, out + token * stride, place.part);
  }
}

__global__ void __launch_bounds__(kShapeThreads) FitKeyBalanceKernel(FitKeyBalanceArgs args) {
  const int64_t i = int64_t{blockIdx.x} * kShapeThreads + threadIdx.x;
  if (i >= args.channels) return;
  Store(args.balance + i, ToFloat(FitBalance(Load(args.query_peaks + i), Load(args.key_peaks + i))));
}

}  // namespace

void FitKeyBalanceCuda(Stream& stream, const FitKeyBalanceArgs& args) {
  const int64_t blocks = (args.channels + kShapeThreads - 1) / kShapeThreads;
  DECANT_LAUNCH(FitKeyBalanceKernel, dim3(static_cast<unsigned>(blocks)), dim3(kShapeThreads), 0, stream, args);
}

void ShapeKeysCuda(Stream& stream, const ShapeKeysArgs& args) {
  // Four passes a block: the factors are loaded once for them.
  const int32_t tokens = 4 * kShapeThreads / LanesOfVector(args.head_dim);
  const dim3 grid(static_cast<unsigned>((args.tokens + tokens - 1) / tokens), static_cast<unsigned>(args.kv_heads));
  DECANT_LAUNCH(ShapeKeysKernel, grid, dim3(kShapeThreads), 0, stream, args);
}

}  // namespace decant
