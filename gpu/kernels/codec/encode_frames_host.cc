#include <cstring>
#include <functional>

#include "gpu/kernels/codec/channel_codec.h"
#include "gpu/kernels/codec/codec_host.h"
#include "gpu/kernels/codec/half_writer.h"
#include "gpu/kernels/codec/vector_codec.h"
#include "gpu/kernels/pages/key_statistics.h"

namespace decant {
namespace {

int64_t VectorStride(RunType run_type, int32_t head_dim) {
  return RunType::kF32 == run_type ? int64_t{4} * head_dim : int64_t{2} * head_dim;
}

bool IsInRun(const EncodeFramesArgs& args, const EncodeRun& run, int64_t row, int32_t t) {
  if (run.tokens >= 0) return t >= run.from && t < run.from + run.tokens;
  return (args.tiers == nullptr ? 0 : args.tiers[row + t]) == run.tier;
}

void EncodeOneRun(const EncodeFramesArgs& args, int64_t index) {
  const EncodeRun& run = args.runs[index];
  const Format format = FormatOf(run.format);
  const int64_t stride = VectorStride(args.run_type, args.head_dim);
  const auto* k = static_cast<const uint8_t*>(args.k) + (run.head * args.capacity + run.first_token) * stride;
  const auto* v = static_cast<const uint8_t*>(args.v) + (run.head * args.capacity + run.first_token) * stride;
  const int64_t row = run.head * args.tokens + run.first_token;
  HalfWriter keys(args.head_dim, format.k, args.key_levels, args.out + run.keys, args.out + run.key_meta);
  HalfWriter values(args.head_dim, format.v, args.value_levels, args.out + run.values, args.out + run.value_meta);
  int32_t written = 0;
  for (int32_t t = 0; t < run.chunk_tokens; ++t) {
    if (!IsInRun(args, run, row, t)) continue;
    keys.Add(args.run_type, k + t * stride);
    values.Add(args.run_type, v + t * stride);
    const auto position = static_cast<uint16_t>(t);
    if (run.positions >= 0) std::memcpy(args.out + run.positions + int64_t{2} * written, &position, sizeof(position));
    if (run.scores >= 0) {
      const float score = args.scores == nullptr ? 0.0f : args.scores[row + t];
      std::memcpy(args.out + run.scores + int64_t{4} * written, &score, sizeof(score));
    }
    ++written;
  }
  const StoredError key_error = keys.Finish();
  const StoredError value_error = values.Finish();
  if (format.statistics) {
    WriteKeyStatistics(args.out + run.keys, written, args.head_dim, format.k, args.out + run.statistics);
  }
  if (args.key_errors != nullptr) args.key_errors[index] = key_error;
  if (args.value_errors != nullptr) args.value_errors[index] = value_error;
}

void ExpandHalf(const ExpandFramesArgs& args, Element element, int32_t tokens, int64_t codes, int64_t meta, void* to) {
  if (element == Element::kNone) return;
  auto* out = static_cast<uint8_t*>(to);
  const int64_t stride = VectorStride(args.run_type, args.head_dim);
  for (int32_t t = 0; t < tokens; ++t) {
    const uint8_t* vector = args.frames + codes + t * VectorBytes(element, args.head_dim);
    if (IsChannel(element)) {
      const uint8_t* pairs =
          args.frames + meta + MetaSegmentBytes(element, args.head_dim, t / kTokenGroup * kTokenGroup);
      DecodeChannelToken(vector, pairs, args.head_dim, element, args.run_type, out + t * stride);
    } else {
      DecodeVector(vector, args.frames + meta + t * MetaBytes(element, args.head_dim), args.head_dim, element,
                   args.run_type, out + t * stride);
    }
  }
}

void ExpandOneRun(const ExpandFramesArgs& args, const ExpandRun& run) {
  const Format format = FormatOf(run.format);
  const int64_t first = (run.head * args.capacity + run.first_token) * VectorStride(args.run_type, args.head_dim);
  ExpandHalf(args, format.k, run.tokens, run.keys, run.key_meta, static_cast<uint8_t*>(args.k) + first);
  ExpandHalf(args, format.v, run.tokens, run.values, run.value_meta, static_cast<uint8_t*>(args.v) + first);
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
