// FrameLink inside one process: copies straight into the sink's memory on the sender's thread.
#ifndef DECANT_COMMON_LINK_LOOPBACK_LINK_H_
#define DECANT_COMMON_LINK_LOOPBACK_LINK_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/link/frame_link.h"

namespace decant {

// Every batch is announced, granted, copied and acknowledged before Send returns. Thread-safe.
class LoopbackLink final : public FrameLink {
 public:
  // `now` is the clock deadlines are held against; `wait` lets about the given time pass before a refused Grant is
  // asked again. Both may be called from several threads.
  LoopbackLink(std::function<absl::Time()> now, std::function<void(absl::Duration)> wait);

  // `sink` is reached at `address` until Remove, and must outlive the transfers opened to it.
  void Add(const std::string& address, FrameSink& sink);
  void Remove(const std::string& address);

  absl::string_view kind() const override { return "loopback"; }
  // UNAVAILABLE when no sink has that address, else what the sink answers.
  absl::StatusOr<std::unique_ptr<FrameSender>> Open(const std::string& address, const TransferOpen& open,
                                                    absl::Time deadline) override;

 private:
  const std::function<absl::Time()> now_;
  const std::function<void(absl::Duration)> wait_;
  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, FrameSink*> sinks_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace decant

#endif  // DECANT_COMMON_LINK_LOOPBACK_LINK_H_
