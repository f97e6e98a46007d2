#include <cstring>
#include <functional>

#include "gpu/kernels/codec/codec_host.h"
#include "gpu/kernels/codec/vector_codec.h"

namespace decant {
namespace {

int64_t VectorStride(RunType run_type, int32_t head_dim) {
  return RunType::kF32 == run_type ? int64_t{4} * head_dim : int64_t{2} * head_dim;
}

void EncodeOneRun(const EncodeFramesArgs& args, int64_t index) {
  const EncodeRun& run = args.runs[index];
  const Format format = FormatOf(run.format);
  const int64_t stride = VectorStride(args.run_type, args.head_dim);
  const auto* k = static_cast<const uint8_t*>(args.k) + (run.head * args.capacity + run.first_token) * stride;
  const auto* v = static_cast<const uint8_t*>(args.v) + (run.head * args.capacity + run.first_token) * stride;
  const int64_t row = run.head * args.tokens + run.first_token;
  StoredError key_error;
  StoredError value_error;
  int64_t written = 0;
  for (int32_t t = 0; t < run.chunk_tokens; ++t) {
    const int32_t tier = args.tiers == nullptr ? 0 : args.tiers[row + t];
    if (tier != run.tier) continue;
    EncodeVector(args.run_type, k + t * stride, args.head_dim, format.k,
                 args.out + run.keys + written * VectorBytes(format.k, args.head_dim),
                 args.out + run.key_meta + written * MetaBytes(format.k, args.head_dim), &key_error);
    EncodeVector(args.run_type, v + t * stride, args.head_dim, format.v,
                 args.out + run.values + written * VectorBytes(format.v, args.head_dim),
                 args.out + run.value_meta + written * MetaBytes(format.v, args.head_dim), &value_error);
    const auto position = static_cast<uint16_t>(t);
    if (run.positions >= 0) std::memcpy(args.out + run.positions + 2 * written, &position, sizeof(position));
    if (run.scores >= 0) {
      const float score = args.scores == nullptr ? 0.0f : args.scores[row + t];
      std::memcpy(args.out + run.scores + 4 * written, &score, sizeof(score));
    }
    ++written;
  }
  if (args.key_errors != nullptr) args.key_errors[index] = key_error;
  if (args.value_errors != nullptr) args.value_errors[index] = value_error;
}

void ExpandOneRun(const ExpandFramesArgs& args, const ExpandRun& run) {
  const Format format = FormatOf(run.format);
  const int64_t stride = VectorStride(args.run_type, args.head_dim);
  auto* k = static_cast<uint8_t*>(args.k) + (run.head * args.capacity + run.first_token) * stride;
  auto* v = static_cast<uint8_t*>(args.v) + (run.head * args.capacity + run.first_token) * stride;
  for (int32_t t = 0; t < run.tokens; ++t) {
    DecodeVector(args.frames + run.keys + t * VectorBytes(format.k, args.head_dim),
                 args.frames + run.key_meta + t * MetaBytes(format.k, args.head_dim), args.head_dim, format.k,
                 args.run_type, k + t * stride);
    DecodeVector(args.frames + run.values + t * VectorBytes(format.v, args.head_dim),
                 args.frames + run.value_meta + t * MetaBytes(format.v, args.head_dim), args.head_dim, format.v,
                 args.run_type, v + t * stride);
  }
}

}  // namespace

void EncodeFramesHost(Stream& stream, const EncodeFramesArgs& args) {
  const HostAccess access(stream);
  const auto encode = [&args](int64_t index, int) { EncodeOneRun(args, index); };
  stream.device().ParallelFor(args.run_count, std::cref(encode));
}

void ExpandFramesHost(Stream& stream, const ExpandFramesArgs& args) {
  const HostAccess access(stream);
  const auto expand = [&args](int64_t index, int) { ExpandOneRun(args, args.runs[index]); };
  stream.device().ParallelFor(args.run_count, std::cref(expand));
}

}  // namespace decant
