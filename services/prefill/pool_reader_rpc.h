// Stored frames read where they lie: in the memory of a pool on this host (Pool.Locate).
#ifndef DECANT_SERVICES_PREFILL_POOL_READER_RPC_H_
#define DECANT_SERVICES_PREFILL_POOL_READER_RPC_H_

#include <grpcpp/channel.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "decant/v1/pool.pb.h"
#include "services/prefill/chunk_store.h"
#include "services/prefill/pool_memory.h"

namespace decant {

// Thread-safe; what Read gives holds it.
class PoolReader : public std::enable_shared_from_this<PoolReader> {
 public:
  // Starts the fetch that brings frames as messages.
  using Send = std::function<std::unique_ptr<ChunkStream>()>;

  // Whether the memory of this pool may be readable: not when it was not a short while ago.
  bool Reads(const std::string& pool);
  // Copies the frames out of the pool's memory, each verified; where that can't be, it gives what `send` brings.
  std::unique_ptr<ChunkStream> Read(const std::string& pool, std::shared_ptr<grpc::Channel> channel,
                                    v1::FetchRequest request, absl::Time deadline, Send send);

 private:
  class Stream;
  void SendFrom(const std::string& pool, const absl::Status& why);

  PoolMemory memory_;
  const std::shared_ptr<SpareMemory> spare_ = std::make_shared<SpareMemory>();
  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, absl::Time> sends_until_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace decant

#endif  // DECANT_SERVICES_PREFILL_POOL_READER_RPC_H_
