#include <functional>

#include "common/base/check.h"
#include "gpu/kernels/codec/codec_host.h"

namespace decant {

void EncodeBlocksHost(Stream& stream, const EncodeBlocksArgs& args) {
  const HostAccess access(stream);
  const auto encode = [&args](int64_t index, int) {
    const SegmentBlock& run = args.runs[index];
    const auto size = static_cast<size_t>(run.segment_bytes);
    const absl::Span<uint8_t> out(args.blocks + run.block, static_cast<size_t>(MaxBlockBytes(run.segment_bytes)));
    const auto bytes = EncodeBlock(run.coder, {args.segments + run.segment, size}, out);
    DECANT_CHECK_MSG(bytes.ok(), "%s", bytes.status().ToString().c_str());
    args.block_bytes[index] = *bytes;
  };
  stream.device().ParallelFor(args.run_count, std::cref(encode));
}

void DecodeBlocksHost(Stream& stream, const DecodeBlocksArgs& args) {
  const HostAccess access(stream);
  const auto decode = [&args](int64_t index, int) {
    const SegmentBlock& run = args.runs[index];
    const absl::Status status = DecodeBlock({args.blocks + run.block, static_cast<size_t>(run.block_bytes)},
                                            {args.segments + run.segment, static_cast<size_t>(run.segment_bytes)});
    args.outcomes[index] = status.ok()                                              ? BlockOutcome::kDecoded
                           : status.code() == absl::StatusCode::kFailedPrecondition ? BlockOutcome::kForTheHost
                                                                                    : BlockOutcome::kDamaged;
  };
  stream.device().ParallelFor(args.run_count, std::cref(decode));
}

}  // namespace decant
