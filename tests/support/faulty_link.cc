#include "tests/support/faulty_link.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "common/base/status_macros.h"

namespace decant {
namespace {

class FaultySender final : public FrameSender {
 public:
  FaultySender(std::unique_ptr<FrameSender> sender, const std::vector<Fault>& script,
               const std::function<void(absl::Duration)>& wait)
      : script_(script), wait_(wait), sender_(std::move(sender)) {}

  absl::Status Send(uint32_t layer, absl::Span<const ConstMemoryRef> parts, absl::Time deadline) override {
    auto bytes = std::make_unique<std::string>();
    for (const ConstMemoryRef& part : parts) {
      bytes->append(static_cast<const char*>(part.address), static_cast<size_t>(part.bytes));
    }
    int copies = 1;
    bool hold = false;
    for (const Fault& fault : script_) {
      if (fault.batch != sends_) continue;
      switch (fault.kind) {
        case FaultKind::kDrop:
          copies = 0;
          break;
        case FaultKind::kDelay:
          wait_(fault.delay);
          break;
        case FaultKind::kCorrupt:
          Flip(*bytes, fault.at_bit);
          break;
        case FaultKind::kTruncate:
          bytes->resize(bytes->size() - std::min(bytes->size(), static_cast<size_t>(fault.bytes)));
          break;
        case FaultKind::kDuplicate:
          copies = 2;
          break;
        case FaultKind::kReorder:
          hold = true;
          break;
        case FaultKind::kBreak:
          sender_->Abort(absl::UnavailableError("the link broke on the script's demand"));
          return absl::UnavailableError("the link broke on the script's demand");
      }
    }
    ++sends_;
    if (hold) {
      held_ = Held{layer, std::move(bytes)};
      return absl::OkStatus();
    }
    for (int i = 0; i < copies; ++i) DECANT_RETURN_IF_ERROR(SendBytes(layer, *bytes, deadline));
    kept_.push_back(std::move(bytes));
    return SendHeld(deadline);
  }
  absl::Status Flush(absl::Time deadline) override {
    DECANT_RETURN_IF_ERROR(sender_->Flush(deadline));
    kept_.clear();
    return absl::OkStatus();
  }
  absl::Status Commit(TransferCommit commit, absl::Time deadline) override {
    DECANT_RETURN_IF_ERROR(SendHeld(deadline));
    return sender_->Commit(commit, deadline);
  }
  void Abort(const absl::Status& why) override { sender_->Abort(why); }
  int64_t wire_bytes() const override { return sender_->wire_bytes(); }

 private:
  struct Held {
    uint32_t layer;
    std::unique_ptr<std::string> bytes;
  };

  static void Flip(std::string& bytes, int64_t at_bit) {
    if (bytes.empty()) return;
    char& byte = bytes[static_cast<size_t>(at_bit / 8) % bytes.size()];
    byte = static_cast<char>(byte ^ (1 << (at_bit % 8)));
  }
  absl::Status SendBytes(uint32_t layer, const std::string& bytes, absl::Time deadline) {
    const ConstMemoryRef part{MemorySpace::kHost, bytes.data(), static_cast<int64_t>(bytes.size())};
    return sender_->Send(layer, {&part, 1}, deadline);
  }
  absl::Status SendHeld(absl::Time deadline) {
    if (!held_.has_value()) return absl::OkStatus();
    Held held = std::move(*held_);
    held_.reset();
    DECANT_RETURN_IF_ERROR(SendBytes(held.layer, *held.bytes, deadline));
    kept_.push_back(std::move(held.bytes));
    return absl::OkStatus();
  }

  const std::vector<Fault> script_;
  const std::function<void(absl::Duration)> wait_;
  std::vector<std::unique_ptr<std::string>> kept_;  // what the link may still read; outlives it
  std::optional<Held> held_;
  uint64_t sends_ = 0;
  std::unique_ptr<FrameSender> sender_;
};

}  // namespace

FaultyLink::FaultyLink(FrameLink& link, std::vector<Fault> script, std::function<void(absl::Duration)> wait)
    : link_(link), script_(std::move(script)), wait_(std::move(wait)) {}

absl::StatusOr<std::unique_ptr<FrameSender>> FaultyLink::Open(const std::string& address, const TransferOpen& open,
                                                              absl::Time deadline) {
  DECANT_ASSIGN_OR_RETURN(std::unique_ptr<FrameSender> sender, link_.Open(address, open, deadline));
  return std::make_unique<FaultySender>(std::move(sender), script_, wait_);
}

}  // namespace decant
