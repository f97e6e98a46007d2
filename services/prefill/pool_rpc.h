// The pool over gRPC: Pool.Locate, Pool.Fetch and Pool.Publish.
#ifndef DECANT_SERVICES_PREFILL_POOL_RPC_H_
#define DECANT_SERVICES_PREFILL_POOL_RPC_H_

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "services/prefill/chunk_store.h"
#include "services/prefill/pool_reader_rpc.h"
#include "services/rpc/channel.h"
#include "services/rpc/frame_stream.h"
#include "services/rpc/worker_rpc.h"

namespace decant {

// Frames of a pool on this host are read from its memory, others come as messages. Thread-safe.
class PoolClient final : public ChunkSource, public ChunkSink {
 public:
  // `channels` must outlive it.
  PoolClient(Channels& channels, ServedModel model) : channels_(channels), model_(std::move(model)) {}

  absl::StatusOr<std::unique_ptr<ChunkStream>> Fetch(const FetchOrder& order, absl::Time deadline) override;
  absl::StatusOr<PublishCounts> Publish(const Publication& publication, absl::Time deadline) override;
  void Cancel() override;

 private:
  Channels& channels_;
  const ServedModel model_;
  const std::shared_ptr<PoolReader> reader_ = std::make_shared<PoolReader>();
  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<FrameUpload*> uploads_ ABSL_GUARDED_BY(mutex_);  // under way
};

}  // namespace decant

#endif  // DECANT_SERVICES_PREFILL_POOL_RPC_H_
