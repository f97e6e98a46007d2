// Write-behind: brings computed chunks to the pool on a thread of its own, when nobody waits for it.
#ifndef DECANT_SERVICES_PREFILL_PUBLISHER_H_
#define DECANT_SERVICES_PREFILL_PUBLISHER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/prefill/chunk_store.h"

namespace decant {

struct PublisherOptions {
  int64_t limit_bytes = 0;       // held by publications waiting or under way, at most
  absl::Duration publish_limit;  // for one of them
  std::function<absl::Time()> now = absl::Now;
  // Told of every publication that was tried, on the publisher's thread; may be empty.
  std::function<void(const Publication&, const absl::Status&)> tried;
};

// Thread-safe.
class Publisher {
 public:
  // `sink` must outlive it.
  Publisher(ChunkSink& sink, PublisherOptions options);
  // Drops what waits and cancels `sink`.
  ~Publisher();
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  // Bytes that Add would take now.
  int64_t room_bytes() const;
  // False, and nothing is kept, when there is no room: the pool is too slow, and a miss later costs less than waiting.
  bool Add(Publication publication);
  // Waits until nothing is left, at the latest at `deadline`. Time passes while it waits, whatever options.now says.
  void Flush(absl::Time deadline);

 private:
  void Loop();

  ChunkSink& sink_;
  const PublisherOptions options_;
  mutable absl::Mutex mutex_;
  std::deque<Publication> queue_ ABSL_GUARDED_BY(mutex_);
  int64_t held_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_PREFILL_PUBLISHER_H_
