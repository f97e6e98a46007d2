#include <algorithm>
#include <cstring>
#include <functional>

#include "common/base/half.h"
#include "common/compress/arith/key_shape.h"
#include "gpu/kernels/codec/codec_host.h"
#include "gpu/kernels/codec/vector_codec.h"

namespace decant {
namespace {

constexpr int32_t kPartTokens = 64;  // of one head, for one thread

void LoadVector(const void* from, RunType run_type, int32_t count, float* x) {
  if (run_type == RunType::kF32) {
    std::memcpy(x, from, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  const auto* values = static_cast<const Bf16*>(from);
  for (int32_t i = 0; i < count; ++i) x[i] = ToFloat(values[i]);
}

void StoreVector(const float* x, RunType run_type, int32_t count, void* to) {
  if (run_type == RunType::kF32) {
    std::memcpy(to, x, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  auto* values = static_cast<Bf16*>(to);
  for (int32_t i = 0; i < count; ++i) values[i] = ToBf16(x[i]);
}

void ShapePart(const ShapeKeysArgs& args, int64_t head, int64_t first) {
  const int64_t stride = int64_t{args.head_dim} * (args.run_type == RunType::kF32 ? 4 : 2);
  const int64_t last = std::min<int64_t>(first + kPartTokens, args.tokens);
  const auto* k = static_cast<const uint8_t*>(args.k) + head * args.capacity * stride;
  auto* out = static_cast<uint8_t*>(args.out) + head * args.out_capacity * stride;
  const float* balance = args.balance == nullptr ? nullptr : args.balance + head * args.head_dim;
  float vector[kMaxHeadDim];
  for (int64_t token = first; token < last; ++token) {
    LoadVector(k + token * stride, args.run_type, args.head_dim, vector);
    ShapeKey(args.form, balance, args.head_dim, vector);
    StoreVector(vector, args.run_type, args.head_dim, out + token * stride);
  }
}

}  // namespace

void FitKeyBalanceHost(Stream& stream, const FitKeyBalanceArgs& args) {
  const HostAccess access(stream);
  for (int64_t i = 0; i < args.channels; ++i) {
    args.balance[i] = ToFloat(FitBalance(args.query_peaks[i], args.key_peaks[i]));
  }
}

void ShapeKeysHost(Stream& stream, const ShapeKeysArgs& args) {
  const HostAccess access(stream);
  const int64_t parts = (int64_t{args.tokens} + kPartTokens - 1) / kPartTokens;
  const auto shape = [&args, parts](int64_t index, int) {
    ShapePart(args, index / parts, index % parts * kPartTokens);
  };
  stream.device().ParallelFor(args.kv_heads * parts, std::cref(shape));
}

}  // namespace decant
