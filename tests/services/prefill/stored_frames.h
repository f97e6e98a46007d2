#ifndef DECANT_TESTS_SERVICES_PREFILL_STORED_FRAMES_H_
#define DECANT_TESTS_SERVICES_PREFILL_STORED_FRAMES_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "common/kv/frame.h"
#include "common/kv/geometry.h"
#include "services/prefill/chunk_store.h"

namespace decant {

// A sealed frame of zeros: one chunk of one layer, every token high.
inline std::vector<uint8_t> ZeroFrame(const Geometry& geometry, const Digest& model, FormatId format, int32_t layer,
                                      int32_t chunk, int32_t chunk_tokens) {
  FrameHeader header;
  header.formats[0] = format;
  header.provenance = format == FormatId::kK8V4 ? Provenance::kQuantised : Provenance::kExact;
  header.first_layer = layer;
  header.heads = geometry.kv_heads;
  header.head_dim = geometry.head_dim;
  header.first_position = chunk * chunk_tokens;
  header.span = chunk_tokens;
  header.model_fingerprint = model.Prefix64();
  std::vector<int32_t> counts;
  for (int32_t head = 0; head < geometry.kv_heads; ++head) {
    counts.push_back(chunk_tokens);
    counts.insert(counts.end(), kFrameTiers - 1, 0);
  }
  const FrameLayout layout = LayOutFrame(header, counts);
  std::vector<uint8_t> bytes(static_cast<size_t>(layout.bytes));
  SealFrame(header, layout, bytes.data());
  return bytes;
}

// Gives out its messages one by one, then ends as told; an unfinished one waits for Cancel.
class ScriptedStream final : public ChunkStream {
 public:
  explicit ScriptedStream(std::deque<std::vector<uint8_t>> messages, absl::Status end = absl::OkStatus())
      : messages_(std::move(messages)), end_(std::move(end)) {}

  absl::StatusOr<std::optional<Blob>> Next() override {
    absl::MutexLock lock(&mutex_);
    if (!messages_.empty()) {
      const std::vector<uint8_t> message = std::move(messages_.front());
      messages_.pop_front();
      return Blob::CopyOf({reinterpret_cast<const char*>(message.data()), message.size()});
    }
    if (hangs_) mutex_.Await(absl::Condition(&cancelled_));
    if (cancelled_) return absl::CancelledError("cancelled");
    if (!end_.ok()) return end_;
    return std::nullopt;
  }
  void Cancel() override {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
  }
  void HangAtTheEnd() { hangs_ = true; }
  std::string lost() const override { return lost_; }
  void Lose(std::string why) { lost_ = std::move(why); }

 private:
  std::string lost_;
  absl::Mutex mutex_;
  std::deque<std::vector<uint8_t>> messages_;
  const absl::Status end_;
  bool cancelled_ = false;
  bool hangs_ = false;
};

}  // namespace decant

#endif  // DECANT_TESTS_SERVICES_PREFILL_STORED_FRAMES_H_
