#include "gpu/engine/prefix_loader.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/kv/frame.h"
#include "common/kv/reject_reason.h"
#include "gpu/kernels/codec/encode_frames.h"
#include "gpu/kernels/codec/frame_runs.h"

namespace decant {
namespace {

absl::string_view View(StoredFrame frame) { return {reinterpret_cast<const char*>(frame.data()), frame.size()}; }

class FramePrefixLoader final : public PrefixLoader {
 public:
  FramePrefixLoader(Device& device, const PrefixLoaderOptions& options) : device_(device), options_(options) {}

  absl::Status Check(int32_t layer, int32_t chunk, StoredFrame frame) const override {
    return Expand(layer, chunk, frame, nullptr);
  }

  absl::Status Load(Stream& stream, int32_t layer, absl::Span<const StoredFrame> frames,
                    const LayerTap& target) override {
    std::vector<ExpandRun> runs;
    int64_t bytes = 0;
    for (size_t chunk = 0; chunk < frames.size(); ++chunk) {
      const size_t first = runs.size();
      DECANT_RETURN_IF_ERROR(Expand(layer, static_cast<int32_t>(chunk), frames[chunk], &runs));
      for (size_t i = first; i < runs.size(); ++i) {
        runs[i].keys += bytes;
        runs[i].key_meta += bytes;
        runs[i].values += bytes;
        runs[i].value_meta += bytes;
      }
      bytes += static_cast<int64_t>(frames[chunk].size());
    }
    if (static_cast<int64_t>(frames.size()) * options_.chunk_tokens > target.capacity) {
      return absl::InvalidArgumentError(
          absl::StrCat(frames.size(), " chunks of ", options_.chunk_tokens, " tokens, room for ", target.capacity));
    }
    if (runs.empty()) return absl::OkStatus();
    const int64_t run_bytes = static_cast<int64_t>(runs.size() * sizeof(ExpandRun));
    if (bytes + run_bytes > staging_.bytes()) {
      DECANT_ASSIGN_OR_RETURN(staging_, device_.Allocate(bytes + run_bytes));
    }
    int64_t offset = 0;
    for (const StoredFrame frame : frames) {
      stream.Copy(staging_.As<void>(offset), frame.data(), static_cast<int64_t>(frame.size()));
      offset += static_cast<int64_t>(frame.size());
    }
    // Frames are multiples of 16 bytes, so the runs behind them stand aligned.
    stream.Copy(staging_.As<void>(bytes), runs.data(), run_bytes);
    ExpandFramesArgs args;
    args.run_type = options_.run_type;
    args.frames = staging_.As<uint8_t>();
    args.runs = staging_.As<ExpandRun>(bytes);
    args.run_count = static_cast<int32_t>(runs.size());
    args.head_dim = options_.geometry.head_dim;
    args.k = target.k;
    args.v = target.v;
    args.capacity = target.capacity;
    ExpandFrames(stream, args);
    return stream.Synchronize();
  }

 private:
  // Checks one frame and appends its runs, unless `runs` is null.
  absl::Status Expand(int32_t layer, int32_t chunk, StoredFrame bytes, std::vector<ExpandRun>* runs) const {
    DECANT_ASSIGN_OR_RETURN(const FrameView frame, ParseFrame(View(bytes)));
    const FrameHeader& header = frame.header;
    const auto refused = [&](absl::string_view reason, const auto&... parts) {
      return WithRejectReason(
          absl::FailedPreconditionError(
              absl::StrCat("stored frame of layer ", layer, ", chunk ", chunk, ": ", parts..., "; treat it as a miss")),
          reason);
    };
    if (frame.bytes.size() != bytes.size())
      return refused("truncated", bytes.size() - frame.bytes.size(), " bytes behind its end");
    if (header.model_fingerprint != options_.model.Prefix64()) {
      return refused("fingerprint", "model ", absl::Hex(header.model_fingerprint), ", not ",
                     absl::Hex(options_.model.Prefix64()));
    }
    if (header.key_form != KeyForm{} || header.k_norm_applied != options_.k_norm)
      return refused("shape", "another state of its keys");
    if (header.layers != 1 || header.first_head != 0 || header.heads != options_.geometry.kv_heads ||
        header.head_dim != options_.geometry.head_dim) {
      return refused("shape", header.layers, " layers, heads ", header.first_head, " + ", header.heads, " of ",
                     header.head_dim);
    }
    if (header.first_position != chunk * options_.chunk_tokens || header.span != options_.chunk_tokens) {
      return refused("order", "positions ", header.first_position, " + ", header.span);
    }
    if (IsTainted(header.provenance)) return refused("provenance", "provenance ", static_cast<int>(header.provenance));
    std::vector<ExpandRun> checked;
    DECANT_RETURN_IF_ERROR(AppendExpandRuns(frame, layer, checked));
    if (runs != nullptr) runs->insert(runs->end(), checked.begin(), checked.end());
    return absl::OkStatus();
  }

  Device& device_;
  const PrefixLoaderOptions options_;
  Buffer staging_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PrefixLoader>> PrefixLoader::Create(Device& device, const PrefixLoaderOptions& options) {
  if (options.chunk_tokens < 1 || options.geometry.kv_heads < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunks of ", options.chunk_tokens, " tokens, ", options.geometry.kv_heads, " kv heads"));
  }
  return std::make_unique<FramePrefixLoader>(device, options);
}

}  // namespace decant
