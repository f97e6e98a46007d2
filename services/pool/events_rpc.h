// The followers of the pool's events: one stream each, filled from the journal as fast as its client reads.
//
// A stream keeps one batch. What its client has not read yet stays in the journal, which is bounded; a client too slow
// for that is told to begin anew. So nobody makes the pool wait or grow.
#ifndef DECANT_SERVICES_POOL_EVENTS_RPC_H_
#define DECANT_SERVICES_POOL_EVENTS_RPC_H_

#include <cstdint>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "decant/v1/pool.grpc.pb.h"
#include "services/pool/shared_pool.h"

namespace decant {

// Thread-safe. Its calls end before it does.
class EventStreams {
 public:
  explicit EventStreams(std::shared_ptr<SharedPool> pool, size_t most_streams = 256);
  ~EventStreams();

  // RESOURCE_EXHAUSTED above most_streams, OUT_OF_RANGE for the run of another process, UNAVAILABLE after EndAll.
  grpc::ServerWriteReactor<v1::EventBatch>* Follow(const v1::EventsRequest& request);
  // Ends every stream with UNAVAILABLE and takes no more.
  void EndAll();

 private:
  class Stream;

  void Loop();
  absl::Status Admit(const v1::EventsRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(Stream* stream);

  const std::shared_ptr<SharedPool> pool_;
  const size_t most_streams_;
  const uint64_t run_;
  absl::Mutex mutex_;
  absl::flat_hash_set<Stream*> streams_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_EVENTS_RPC_H_
