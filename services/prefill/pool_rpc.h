// The pool over gRPC: Pool.Fetch and Pool.Publish.
#ifndef DECANT_SERVICES_PREFILL_POOL_RPC_H_
#define DECANT_SERVICES_PREFILL_POOL_RPC_H_

#include <memory>

#include "services/prefill/chunk_store.h"
#include "services/rpc/channel.h"
#include "services/rpc/worker_rpc.h"

namespace decant {

// Thread-safe.
class PoolClient final : public ChunkSource, public ChunkSink {
 public:
  // `channels` must outlive it.
  PoolClient(Channels& channels, ServedModel model) : channels_(channels), model_(std::move(model)) {}

  absl::StatusOr<std::unique_ptr<ChunkStream>> Fetch(const FetchOrder& order, absl::Time deadline) override;
  absl::StatusOr<PublishCounts> Publish(const Publication& publication, absl::Time deadline) override;

 private:
  Channels& channels_;
  const ServedModel model_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_PREFILL_POOL_RPC_H_
