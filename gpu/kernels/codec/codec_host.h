// The host schedules of append_token.h and encode_frames.h.
#ifndef DECANT_GPU_KERNELS_CODEC_CODEC_HOST_H_
#define DECANT_GPU_KERNELS_CODEC_CODEC_HOST_H_

#include "gpu/kernels/codec/append_token.h"
#include "gpu/kernels/codec/encode_frames.h"

namespace decant {

void AppendTokenHost(Stream& stream, const AppendTokenArgs& args);
void EncodeFramesHost(Stream& stream, const EncodeFramesArgs& args);
void ExpandFramesHost(Stream& stream, const ExpandFramesArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_CODEC_HOST_H_
