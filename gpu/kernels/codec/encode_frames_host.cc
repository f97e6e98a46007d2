#include <cstring>
#include <functional>

#include "gpu/kernels/codec/channel_codec.h"
#include "gpu/kernels/codec/codec_host.h"
#include "gpu/kernels/codec/vector_codec.h"
#include "gpu/kernels/pages/key_statistics.h"

namespace decant {
namespace {

int64_t VectorStride(RunType run_type, int32_t head_dim) {
  return RunType::kF32 == run_type ? int64_t{4} * head_dim : int64_t{2} * head_dim;
}

// Writes one half, K or V, of a run: vector by vector or, where pairs belong to channels, group by group.
class HalfWriter {
 public:
  HalfWriter(const EncodeFramesArgs& args, Element element, int32_t levels, int64_t codes, int64_t meta)
      : args_(args), element_(element), levels_(levels), codes_(args.out + codes), meta_(args.out + meta) {}

  void Add(const void* vector) {
    if (element_ == Element::kNone) return;
    if (IsChannel(element_)) {
      group_[pending_++] = vector;
      if (pending_ == kTokenGroup) Flush();
      return;
    }
    EncodeVector(args_.run_type, vector, args_.head_dim, element_, levels_, codes_, meta_, &error_);
    codes_ += VectorBytes(element_, args_.head_dim);
    meta_ += MetaBytes(element_, args_.head_dim);
  }

  // What is left is a group of fewer tokens.
  StoredError Finish() {
    if (pending_ > 0) Flush();
    return error_;
  }

 private:
  void Flush() {
    EncodeChannels(args_.run_type, group_, pending_, args_.head_dim, element_, levels_, codes_, meta_, &error_);
    codes_ += pending_ * VectorBytes(element_, args_.head_dim);
    meta_ += MetaSegmentBytes(element_, args_.head_dim, pending_);
    pending_ = 0;
  }

  const EncodeFramesArgs& args_;
  const Element element_;
  const int32_t levels_;
  uint8_t* codes_;
  uint8_t* meta_;
  StoredError error_;
  const void* group_[kTokenGroup];
  int32_t pending_ = 0;
};

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
  HalfWriter keys(args, format.k, args.key_levels, run.keys, run.key_meta);
  HalfWriter values(args, format.v, args.value_levels, run.values, run.value_meta);
  int32_t written = 0;
  for (int32_t t = 0; t < run.chunk_tokens; ++t) {
    if (!IsInRun(args, run, row, t)) continue;
    keys.Add(k + t * stride);
    values.Add(v + t * stride);
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
