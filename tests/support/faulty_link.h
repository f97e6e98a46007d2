// A FrameLink that spoils what is sent through it, on a script.
//
// The faults are made above the wrapped link, whose own checksum and numbering are therefore right: what is tested is
// the receiver's knowledge of what a whole transfer must hold, frame by frame.
#ifndef DECANT_TESTS_SUPPORT_FAULTY_LINK_H_
#define DECANT_TESTS_SUPPORT_FAULTY_LINK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/link/frame_link.h"

namespace decant {

enum class FaultKind {
  kDrop,       // the batch is not sent
  kDelay,      // `wait(delay)` before it
  kCorrupt,    // bit `at_bit` of the batch is flipped
  kTruncate,   // the last `bytes` bytes are missing
  kDuplicate,  // sent twice
  kReorder,    // sent after the next one, or before the commit when there is none
  kBreak,      // the transfer is aborted with UNAVAILABLE instead
};

struct Fault {
  FaultKind kind = FaultKind::kDrop;
  uint64_t batch = 0;  // counts the sends of each transfer from 0
  absl::Duration delay = absl::ZeroDuration();
  int64_t at_bit = 0;
  int64_t bytes = 1;
};

// Every transfer opened through it meets the same script. Thread-safe as the wrapped link is; `link` must outlive it.
class FaultyLink final : public FrameLink {
 public:
  FaultyLink(FrameLink& link, std::vector<Fault> script, std::function<void(absl::Duration)> wait);

  absl::string_view kind() const override { return link_.kind(); }
  absl::StatusOr<std::unique_ptr<FrameSender>> Open(const std::string& address, const TransferOpen& open,
                                                    absl::Time deadline) override;

 private:
  FrameLink& link_;
  const std::vector<Fault> script_;
  const std::function<void(absl::Duration)> wait_;
};

}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_FAULTY_LINK_H_
