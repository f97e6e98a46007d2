#ifndef DECANT_GPU_KERNELS_CODEC_CODE_BLOCKS_H_
#define DECANT_GPU_KERNELS_CODEC_CODE_BLOCKS_H_

#include <cstdint>

#include "common/compress/code/block.h"
#include "gpu/device/device.h"

namespace decant {

// One segment and its block (common/compress/code/block.h), anywhere in the two memories: byte offsets.
struct SegmentBlock {
  Coder coder = Coder::kRaw;  // of encoding; a block says its own
  int64_t segment = 0;
  int64_t segment_bytes = 0;
  int64_t block = 0;        // encoding: room for MaxBlockBytes(segment_bytes)
  int64_t block_bytes = 0;  // decoding
};

struct EncodeBlocksArgs {
  const uint8_t* segments = nullptr;
  const SegmentBlock* runs = nullptr;
  int32_t run_count = 0;
  uint8_t* blocks = nullptr;
  int64_t* block_bytes = nullptr;  // [run_count], out
};
// EncodeBlock for each, without shared tables: the same bytes. Positions (Coder::kPositions) are for the host device;
// elsewhere their blocks are raw.
void EncodeBlocks(Stream& stream, const EncodeBlocksArgs& args);

enum class BlockOutcome : int32_t {
  kDecoded = 0,
  kDamaged = 1,    // DecodeBlock would say DATA_LOSS
  kForTheHost = 2  // positions on another device, or a block coded by a shared table
};

struct DecodeBlocksArgs {
  const uint8_t* blocks = nullptr;
  const SegmentBlock* runs = nullptr;
  int32_t run_count = 0;
  uint8_t* segments = nullptr;
  BlockOutcome* outcomes = nullptr;  // [run_count], out; a segment that was not decoded is meaningless
};
// DecodeBlock for each. Never reads or writes outside a run's block and segment, whatever a block holds.
void DecodeBlocks(Stream& stream, const DecodeBlocksArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_CODE_BLOCKS_H_
