// Writes one half, K or V, of a run of tokens: vector by vector or, where pairs belong to channels, group by group;
// host only, called inside operations.
#ifndef DECANT_GPU_KERNELS_CODEC_HALF_WRITER_H_
#define DECANT_GPU_KERNELS_CODEC_HALF_WRITER_H_

#include <cstdint>

#include "common/compress/profile.h"
#include "common/kv/format.h"
#include "common/kv/receipt.h"
#include "gpu/kernels/codec/channel_codec.h"
#include "gpu/kernels/codec/vector_codec.h"

namespace decant {

class HalfWriter {
 public:
  // `codes` and `meta` are the segments' first bytes; element kNone writes nothing.
  HalfWriter(int32_t head_dim, Element element, int32_t levels, uint8_t* codes, uint8_t* meta)
      : head_dim_(head_dim), element_(element), levels_(levels), codes_(codes), meta_(meta) {}

  // vector: [head_dim] of `run_type`, the same for all; it must stay as it is until its group has been written.
  void Add(RunType run_type, const void* vector) {
    if (element_ == Element::kNone) return;
    if (IsChannel(element_)) {
      run_type_ = run_type;
      group_[pending_++] = vector;
      if (pending_ == kTokenGroup) Flush();
      return;
    }
    EncodeVector(run_type, vector, head_dim_, element_, levels_, codes_, meta_, &error_);
    Advance();
  }

  // Where the next vector's codes and pairs go, for a caller that copies them there, and the step over it. REQUIRES: an
  // element whose pairs do not belong to channels.
  uint8_t* codes() const { return codes_; }
  uint8_t* meta() const { return meta_; }
  void Advance() {
    codes_ += VectorBytes(element_, head_dim_);
    meta_ += MetaBytes(element_, head_dim_);
  }

  // What is left is a group of fewer tokens.
  StoredError Finish() {
    if (pending_ > 0) Flush();
    return error_;
  }

 private:
  void Flush() {
    EncodeChannels(run_type_, group_, pending_, head_dim_, element_, levels_, codes_, meta_, &error_);
    codes_ += pending_ * VectorBytes(element_, head_dim_);
    meta_ += MetaSegmentBytes(element_, head_dim_, pending_);
    pending_ = 0;
  }

  const int32_t head_dim_;
  const Element element_;
  const int32_t levels_;
  uint8_t* codes_;
  uint8_t* meta_;
  StoredError error_;
  RunType run_type_ = RunType::kF32;
  const void* group_[kTokenGroup];
  int32_t pending_ = 0;
};

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_HALF_WRITER_H_
