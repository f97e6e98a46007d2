// The host schedules of the operations of this room.
#ifndef DECANT_GPU_KERNELS_CODEC_CODEC_HOST_H_
#define DECANT_GPU_KERNELS_CODEC_CODEC_HOST_H_

#include "gpu/kernels/codec/append_token.h"
#include "gpu/kernels/codec/code_blocks.h"
#include "gpu/kernels/codec/encode_frames.h"
#include "gpu/kernels/codec/reencode_frames.h"
#include "gpu/kernels/codec/settle_rows.h"
#include "gpu/kernels/codec/shape_keys.h"

namespace decant {

void AppendTokenHost(Stream& stream, const AppendTokenArgs& args);
void EncodeBlocksHost(Stream& stream, const EncodeBlocksArgs& args);
void DecodeBlocksHost(Stream& stream, const DecodeBlocksArgs& args);
void EncodeFramesHost(Stream& stream, const EncodeFramesArgs& args);
void ExpandFramesHost(Stream& stream, const ExpandFramesArgs& args);
void ReencodeFramesHost(Stream& stream, const ReencodeFramesArgs& args);
void FitKeyBalanceHost(Stream& stream, const FitKeyBalanceArgs& args);
void ShapeKeysHost(Stream& stream, const ShapeKeysArgs& args);
void SettleRowsHost(Stream& stream, const SettleRowsArgs& args);
int64_t SettleRowsScratchBytesHost(Device& device, const Geometry& geometry, FormatId low, int32_t most_high_tokens);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_CODEC_HOST_H_
