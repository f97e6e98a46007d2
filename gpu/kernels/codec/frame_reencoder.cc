#include "gpu/kernels/codec/frame_reencoder.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "gpu/kernels/codec/reencode_plan.h"

namespace decant {
namespace {

// The runs of a launch: one a KiB is far from short where chunks are 64 tokens, and frames of few tokens have the
// least.
constexpr int64_t kLeastRuns = 4096;
int64_t MostRuns(int64_t batch_bytes) { return std::max(batch_bytes / 1024, kLeastRuns); }
// No stored token, scales included, is shorter: head_dim 8 at 4 and 1 bits takes 13 bytes.
constexpr int64_t kBytesPerPlace = 12;

struct PlannedFrame {
  size_t index = 0;
  FrameView view;
  ReencodePlan plan;
  int64_t in = 0;
  int64_t out = 0;
  size_t first_run = 0;
  size_t end_run = 0;
};

absl::StatusOr<PlannedFrame> Plan(const FrameToReencode& request, const Recipe& target) {
  PlannedFrame planned;
  DECANT_ASSIGN_OR_RETURN(planned.view, ParseFrame(request.frame));
  std::optional<OverlayView> overlay;
  if (!request.overlay.empty()) {
    DECANT_ASSIGN_OR_RETURN(overlay, ParseOverlay(request.overlay));
  }
  DECANT_ASSIGN_OR_RETURN(planned.plan, PlanReencode(planned.view, overlay.has_value() ? &*overlay : nullptr,
                                                     request.prompt_tokens, target));
  return planned;
}

}  // namespace

// Frames of one launch.
class FrameReencoder::Batch {
 public:
  explicit Batch(int64_t bytes) : bytes_(bytes) {}

  // False when it is too full for the frame.
  bool Add(PlannedFrame& planned, const Recipe& target) {
    const size_t runs = runs_.size();
    const size_t places = places_.size();
    planned.in = in_;
    planned.out = out_;
    planned.first_run = runs;
    AppendReencodeRuns(planned.view, planned.plan, target, in_, out_, runs_, places_);
    planned.end_run = runs_.size();
    const int64_t in = in_ + static_cast<int64_t>(planned.view.bytes.size());
    const int64_t out = out_ + planned.plan.layout.bytes;
    const bool too_many_runs = static_cast<int64_t>(runs_.size()) > MostRuns(bytes_);
    const bool too_many_places = static_cast<int64_t>(places_.size()) > bytes_ / kBytesPerPlace;
    if (in > bytes_ || out > bytes_ || too_many_runs || too_many_places) {
      runs_.resize(runs);
      places_.resize(places);
      return false;
    }
    in_ = in;
    out_ = out;
    head_dim_ = planned.view.header.head_dim;
    frames_.push_back(std::move(planned));
    return true;
  }

  bool empty() const { return frames_.empty(); }
  // Frames of one launch have one head_dim.
  bool Fits(const PlannedFrame& planned) const { return empty() || planned.view.header.head_dim == head_dim_; }
  int64_t in() const { return in_; }
  int64_t out() const { return out_; }
  int32_t head_dim() const { return head_dim_; }
  const std::vector<ReencodeRun>& runs() const { return runs_; }
  const std::vector<uint32_t>& places() const { return places_; }
  std::vector<PlannedFrame>& frames() { return frames_; }

 private:
  const int64_t bytes_;
  int64_t in_ = 0;
  int64_t out_ = 0;
  int32_t head_dim_ = 0;
  std::vector<PlannedFrame> frames_;
  std::vector<ReencodeRun> runs_;
  std::vector<uint32_t> places_;
};

FrameReencoder::FrameReencoder(Device& device, int64_t batch_bytes)
    : device_(device), batch_bytes_(batch_bytes), stream_(device.NewStream()) {}

absl::StatusOr<std::unique_ptr<FrameReencoder>> FrameReencoder::Create(Device& device, int64_t batch_bytes) {
  if (batch_bytes < kFrameAlignment) {
    return absl::InvalidArgumentError(absl::StrCat("batches of ", batch_bytes, " bytes"));
  }
  std::unique_ptr<FrameReencoder> reencoder(new FrameReencoder(device, batch_bytes));
  const int64_t runs = MostRuns(batch_bytes);
  DECANT_ASSIGN_OR_RETURN(reencoder->in_, device.Allocate(batch_bytes));
  DECANT_ASSIGN_OR_RETURN(reencoder->out_, device.Allocate(batch_bytes));
  DECANT_ASSIGN_OR_RETURN(reencoder->runs_, device.Allocate(runs * static_cast<int64_t>(sizeof(ReencodeRun))));
  DECANT_ASSIGN_OR_RETURN(reencoder->places_, device.Allocate(batch_bytes / kBytesPerPlace * 4));
  DECANT_ASSIGN_OR_RETURN(reencoder->errors_, device.Allocate(runs * static_cast<int64_t>(sizeof(StoredError))));
  return reencoder;
}

void FrameReencoder::Run(Batch& batch, std::vector<absl::StatusOr<ReencodedFrame>>& results) {
  if (batch.empty()) return;
  for (const PlannedFrame& frame : batch.frames()) {
    stream_->Copy(in_.As<uint8_t>(frame.in), frame.view.bytes.data(), static_cast<int64_t>(frame.view.bytes.size()));
  }
  const size_t runs = batch.runs().size();
  stream_->Copy(runs_.As<void>(), batch.runs().data(), static_cast<int64_t>(runs * sizeof(ReencodeRun)));
  stream_->Copy(places_.As<void>(), batch.places().data(), static_cast<int64_t>(batch.places().size() * 4));
  ReencodeFramesArgs args;
  args.in = in_.As<uint8_t>();
  args.places = places_.As<uint32_t>();
  args.runs = runs_.As<ReencodeRun>();
  args.run_count = static_cast<int32_t>(runs);
  args.head_dim = batch.head_dim();
  args.out = out_.As<uint8_t>();
  args.errors = errors_.As<StoredError>();
  ReencodeFrames(*stream_, args);
  ++launches_;
  std::vector<StoredError> errors(runs);
  stream_->Copy(errors.data(), errors_.As<void>(), static_cast<int64_t>(runs * sizeof(StoredError)));
  for (const PlannedFrame& frame : batch.frames()) {
    ReencodedFrame& result = *(results[frame.index] = ReencodedFrame());
    result.frame.resize(static_cast<size_t>(frame.plan.layout.bytes));
    stream_->Copy(result.frame.data(), out_.As<uint8_t>(frame.out), frame.plan.layout.bytes);
  }
  const absl::Status done = stream_->Synchronize();
  for (PlannedFrame& frame : batch.frames()) {
    if (!done.ok()) {
      results[frame.index] = done;
      continue;
    }
    ReencodedFrame& result = *results[frame.index];
    result.header = frame.plan.header;
    result.dropped = frame.plan.dropped;
    for (size_t run = frame.first_run; run < frame.end_run; run += 2) {
      result.header.key_error.squared_difference += errors[run].squared_difference;
      result.header.value_error.squared_difference += errors[run + 1].squared_difference;
    }
    auto* bytes = reinterpret_cast<uint8_t*>(result.frame.data());
    WriteHostParts(frame.view, frame.plan, bytes);
    SealFrame(result.header, frame.plan.layout, bytes);
  }
}

std::vector<absl::StatusOr<ReencodedFrame>> FrameReencoder::Reencode(absl::Span<const FrameToReencode> frames,
                                                                     const Recipe& target) {
  std::vector<absl::StatusOr<ReencodedFrame>> results(frames.size());
  std::optional<Batch> batch(batch_bytes_);
  for (size_t i = 0; i < frames.size(); ++i) {
    absl::StatusOr<PlannedFrame> planned = Plan(frames[i], target);
    if (!planned.ok()) {
      results[i] = planned.status();
      continue;
    }
    planned->index = i;
    if (batch->Fits(*planned) && batch->Add(*planned, target)) continue;
    Run(*batch, results);
    batch.emplace(batch_bytes_);
    if (batch->Add(*planned, target)) continue;
    results[i] =
        absl::ResourceExhaustedError(absl::StrCat("a frame of ", planned->view.bytes.size(), " bytes that becomes ",
                                                  planned->plan.layout.bytes, " in batches of ", batch_bytes_));
  }
  Run(*batch, results);
  return results;
}

}  // namespace decant
