#include "services/prefill/prefix_fetch.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/kv/batch.h"
#include "common/kv/reject_reason.h"

namespace decant {

PrefixFetch::PrefixFetch(absl::StatusOr<std::unique_ptr<ChunkStream>> stream, const PrefixLoader& checker,
                         Options options)
    : options_(std::move(options)), checker_(checker), deadline_(options_.now() + options_.limit) {
  absl::MutexLock lock(&mutex_);
  if (!stream.ok()) {
    closed_layers_ = options_.layers;
    miss_ = WithRejectReason(
        absl::UnavailableError(absl::StrCat("the pool did not answer: ", stream.status().message())), "pool");
    return;
  }
  stream_ = std::move(stream).value();
  usable_ = static_cast<int32_t>(options_.formats.size());
  frames_.assign(static_cast<size_t>(options_.layers), std::vector<StoredFrame>(options_.formats.size()));
  provenance_.assign(options_.formats.size(), Provenance::kExact);
  thread_ = std::thread([this] { Loop(); });
}

PrefixFetch::~PrefixFetch() {
  if (stream_ != nullptr) stream_->Cancel();
  if (thread_.joinable()) thread_.join();
}

void PrefixFetch::Loop() {
  absl::Status end;
  while (true) {
    auto message = stream_->Next();
    if (!message.ok()) {
      end = WithRejectReason(message.status(), absl::IsDeadlineExceeded(message.status()) ? "late" : "pool");
      break;
    }
    if (!message->has_value()) break;
    end = Take(std::move(**message));
    if (!end.ok()) break;
  }
  absl::MutexLock lock(&mutex_);
  // Whatever has not come by now will not come.
  if (!end.ok() && closed_layers_ < options_.layers && miss_.ok()) miss_ = end;
  CloseLayersBefore(options_.layers);
}

absl::Status PrefixFetch::Take(Blob message) {
  // Kept before anything points into it: a reader may take the frames while later ones are still being checked, and
  // whatever ends this function early must not take their bytes away.
  absl::string_view bytes;
  {
    absl::MutexLock lock(&mutex_);
    bytes = messages_.emplace_back(std::move(message)).view();
  }
  auto parts = SplitBatch(bytes);
  if (!parts.ok()) {
    // Which chunk the damage hit cannot be told: everything that this message was to bring is missing.
    absl::MutexLock lock(&mutex_);
    if (miss_.ok()) miss_ = parts.status();
    return absl::OkStatus();
  }
  for (const BatchPart& part : *parts) {
    const FrameHeader& header = part.frame.header;
    const int32_t layer = header.first_layer;
    const int32_t chunk = header.first_position / options_.chunk_tokens;
    if (layer < 0 || layer >= options_.layers || chunk < 0 || chunk >= static_cast<int32_t>(options_.formats.size())) {
      const absl::Status unasked = WithRejectReason(
          absl::FailedPreconditionError(
              absl::StrCat("the pool sent a frame of layer ", layer, " and chunk ", chunk, ", which nobody asked for")),
          "unasked");
      absl::MutexLock lock(&mutex_);
      Cut(0, unasked);  // a pool that answers another question is not to be trusted at all
      return unasked;
    }
    const StoredFrame frame(reinterpret_cast<const uint8_t*>(part.frame.bytes.data()), part.frame.bytes.size());
    absl::Status good = checker_.Check(layer, chunk, frame);
    if (good.ok() && header.formats[kHigh] != options_.formats[static_cast<size_t>(chunk)]) {
      good = WithRejectReason(absl::FailedPreconditionError("the stored frame is in another format than the plan says"),
                              "format");
    }
    absl::MutexLock lock(&mutex_);
    if (layer < closed_layers_) continue;  // too late: what a reader has taken may not change
    CloseLayersBefore(layer);
    if (!good.ok()) {
      Cut(chunk, good);
      continue;
    }
    frames_[static_cast<size_t>(layer)][static_cast<size_t>(chunk)] = frame;
    Provenance& worst = provenance_[static_cast<size_t>(chunk)];
    worst = std::max(worst, header.provenance);
    if (chunk + 1 == usable_) CloseLayersBefore(layer + 1);
  }
  absl::MutexLock lock(&mutex_);
  return usable_ > 0 ? absl::OkStatus() : absl::NotFoundError("no stored chunk is usable");
}

void PrefixFetch::Cut(int32_t usable, const absl::Status& why) {
  if (usable >= usable_) return;
  usable_ = usable;
  if (!miss_.ok()) return;
  miss_ = WithRejectReason(absl::Status(why.code(), absl::StrCat("chunk ", usable, ": ", why.message())),
                           RejectReasonOf(why));
}

void PrefixFetch::CloseLayersBefore(int32_t layer) {
  for (; closed_layers_ < layer; ++closed_layers_) {
    const auto& row = frames_[static_cast<size_t>(closed_layers_)];
    for (int32_t chunk = 0; chunk < usable_; ++chunk) {
      if (!row[static_cast<size_t>(chunk)].empty()) continue;
      const std::string lost = stream_->lost();
      const std::string missing = absl::StrCat("its frame of layer ", closed_layers_, " did not come");
      Cut(chunk, WithRejectReason(absl::NotFoundError(lost.empty() ? missing : lost), "missing"));
      break;
    }
  }
}

int32_t PrefixFetch::WaitLayer(int32_t layer) {
  absl::MutexLock lock(&mutex_);
  const int32_t before = usable_;
  const auto ready = [this, layer, before]()
                         ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closed_layers_ > layer || usable_ < before; };
  if (!mutex_.AwaitWithTimeout(absl::Condition(&ready), deadline_ - options_.now())) {
    Cut(0, WithRejectReason(absl::DeadlineExceededError(
                                absl::StrCat("not all frames came within ", absl::FormatDuration(options_.limit))),
                            "late"));
    stream_->Cancel();
  }
  return usable_;
}

bool PrefixFetch::complete() const {
  absl::MutexLock lock(&mutex_);
  return closed_layers_ == options_.layers;
}

std::vector<StoredFrame> PrefixFetch::Frames(int32_t layer, int32_t chunks) const {
  absl::MutexLock lock(&mutex_);
  const auto& row = frames_[static_cast<size_t>(layer)];
  return std::vector<StoredFrame>(row.begin(), row.begin() + chunks);
}

Provenance PrefixFetch::provenance(int32_t chunk) const {
  absl::MutexLock lock(&mutex_);
  return provenance_[static_cast<size_t>(chunk)];
}

std::string PrefixFetch::miss_reason() const {
  absl::MutexLock lock(&mutex_);
  return std::string(miss_.message());
}

std::string PrefixFetch::miss_label() const {
  absl::MutexLock lock(&mutex_);
  return miss_.ok() ? "" : std::string(RejectReasonOf(miss_));
}

}  // namespace decant
