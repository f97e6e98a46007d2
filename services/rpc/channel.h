// Client channels, tuned for frames and kept by address.
#ifndef DECANT_SERVICES_RPC_CHANNEL_H_
#define DECANT_SERVICES_RPC_CHANNEL_H_

#include <grpcpp/channel.h>
#include <grpcpp/support/channel_arguments.h>

#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace decant {

// The largest message sent or received, unless a server is told otherwise.
inline constexpr int kMaxMessageBytes = 64 << 20;

// Adds large HTTP/2 frames and windows, keepalive so that a dead peer is noticed within about 15 s, fast reconnection.
// Servers use the same.
void Tune(grpc::ChannelArguments& arguments);

// Keeps gRPC's callback threads for the life of the process; Channels and Server::Start call it. Without it, gRPC 1.51
// joins those threads when its last channel and server go, and aborts when one of them drops the last channel.
void KeepCallbackThreads();

// At most `limit` channels; the least recently used one is let go first (calls running on it go on). Thread-safe.
class Channels {
 public:
  explicit Channels(size_t limit = 64);
  Channels(const Channels&) = delete;
  Channels& operator=(const Channels&) = delete;

  // Connects lazily; never null.
  std::shared_ptr<grpc::Channel> Get(const std::string& address);

 private:
  using Kept = std::pair<std::string, std::shared_ptr<grpc::Channel>>;

  const size_t limit_;
  absl::Mutex mutex_;
  std::list<Kept> recent_ ABSL_GUARDED_BY(mutex_);  // most recently used first
  absl::flat_hash_map<std::string, std::list<Kept>::iterator> by_address_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_CHANNEL_H_
