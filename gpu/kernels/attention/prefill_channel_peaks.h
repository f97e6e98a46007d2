#ifndef DECANT_GPU_KERNELS_ATTENTION_PREFILL_CHANNEL_PEAKS_H_
#define DECANT_GPU_KERNELS_ATTENTION_PREFILL_CHANNEL_PEAKS_H_

#include <cstdint>

#include "common/compress/profile.h"
#include "gpu/device/device.h"

namespace decant {

struct ChannelPeaksArgs {
  RunType type = RunType::kF32;
  const void* x = nullptr;  // element (row, head, i) at row * row_stride + head * head_stride + i
  int64_t row_stride = 0;
  int64_t head_stride = 0;
  int32_t rows = 0;
  int32_t heads = 0;
  int32_t group = 1;  // heads that share a row of peaks; divides heads
  int32_t head_dim = 0;
  float* peaks = nullptr;  // [heads / group, head_dim], raised
};
// Raises every peak to the largest magnitude of its channel over the rows and the group's heads, so that tiles of rows
// add up to the whole: what MiKV's channel balancer divides (arXiv 2402.18096).
void ChannelPeaks(Stream& stream, const ChannelPeaksArgs& args);

void ChannelPeaksHost(Stream& stream, const ChannelPeaksArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_PREFILL_CHANNEL_PEAKS_H_
