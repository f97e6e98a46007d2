// The CUDA schedules of the operations of this room.
#ifndef DECANT_GPU_KERNELS_CODEC_CODEC_CUDA_H_
#define DECANT_GPU_KERNELS_CODEC_CODEC_CUDA_H_

#include "gpu/kernels/codec/append_token.h"
#include "gpu/kernels/codec/code_blocks.h"
#include "gpu/kernels/codec/encode_frames.h"
#include "gpu/kernels/codec/reencode_frames.h"
#include "gpu/kernels/codec/settle_rows.h"
#include "gpu/kernels/codec/shape_keys.h"

namespace decant {

void AppendTokenCuda(Stream& stream, const AppendTokenArgs& args);
void EncodeBlocksCuda(Stream& stream, const EncodeBlocksArgs& args);
void DecodeBlocksCuda(Stream& stream, const DecodeBlocksArgs& args);
void EncodeFramesCuda(Stream& stream, const EncodeFramesArgs& args);
void ExpandFramesCuda(Stream& stream, const ExpandFramesArgs& args);
void ReencodeFramesCuda(Stream& stream, const ReencodeFramesArgs& args);
void FitKeyBalanceCuda(Stream& stream, const FitKeyBalanceArgs& args);
void ShapeKeysCuda(Stream& stream, const ShapeKeysArgs& args);
void SettleRowsCuda(Stream& stream, const SettleRowsArgs& args);
int64_t SettleRowsScratchBytesCuda(const Geometry& geometry, FormatId low, int32_t most_high_tokens);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_CODEC_CUDA_H_
