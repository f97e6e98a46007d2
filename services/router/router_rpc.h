// The router behind gRPC: the Generation service, the core on its own thread, and its world.
#ifndef DECANT_SERVICES_ROUTER_ROUTER_RPC_H_
#define DECANT_SERVICES_ROUTER_ROUTER_RPC_H_

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "decant/v1/generation.grpc.pb.h"
#include "services/router/event_loop.h"
#include "services/router/metrics.h"
#include "services/router/pool_shards.h"
#include "services/router/request_check.h"
#include "services/router/router.h"
#include "services/router/worker_watch_rpc.h"
#include "services/router/world_rpc.h"
#include "services/rpc/call.h"
#include "services/rpc/channel.h"
#include "services/rpc/metrics.h"

namespace decant {

struct RouterNodeOptions {
  RouterModel model;  // its tokenizer must outlive the node
  RouterLimits limits;
  std::string pool;                                 // as ResolveTargets takes it; empty: none
  absl::Duration resolve_every = absl::Seconds(5);  // a DNS name of it
  size_t pieces_behind = 1024;                      // of a slow client, until its request is cancelled
  absl::Duration worker_ttl = absl::Seconds(3);     // how often workers must repeat Register, at least
};

// Serve its service with a Server that ends before the node does. Thread-safe.
class RouterNode final : public v1::Generation::CallbackService {
 public:
  RouterNode(RouterNodeOptions options, Metrics& metrics);
  ~RouterNode() override;

  // For ServerOptions.on_drain: refuses new requests and returns when the running ones have ended, at `limit` at the
  // latest.
  void DrainUntil(absl::Time limit);

  grpc::ServerWriteReactor<v1::GenerateEvent>* Generate(grpc::CallbackServerContext* context,
                                                        const v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* Explain(grpc::CallbackServerContext* context, const v1::ExplainRequest* request,
                                    v1::ExplainReply* reply) override;
  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context, const v1::RegisterRequest* request,
                                     v1::RegisterReply* reply) override;
  grpc::ServerUnaryReactor* Hint(grpc::CallbackServerContext* context, const v1::HintRequest* request,
                                 v1::HintReply* reply) override;
  grpc::ServerUnaryReactor* UpdateWorkflow(grpc::CallbackServerContext* context, const v1::WorkflowRequest* request,
                                           v1::WorkflowReply* reply) override;

 private:
  // The tenant of a call. FAILED_PRECONDITION for any but the default one while there is no secret to tell them apart
  // with; errors as TenantOf.
  absl::StatusOr<std::string> CallerOf(const grpc::CallbackServerContext& context) const;
  void AfterEvents();
  // Follows the pool's name in DNS, on a thread of its own.
  void WatchPool();
  void SetPools(absl::StatusOr<std::vector<std::string>> addresses);
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return running_ == 0; }

  const RouterNodeOptions options_;
  const RouterMetrics metrics_;
  EventLoop loop_;
  Channels channels_;
  Calls calls_;
  PoolShards shards_;  // on the loop's thread only, once it runs
  RpcWorld world_;
  WorkerWatch watch_;
  Router router_;  // on the loop's thread only
  std::atomic<RequestNumber> last_number_{0};
  std::atomic<int32_t> open_{0};  // requests from their arrival to their end: what may be tokenised is bounded too
  std::atomic<int32_t> hints_open_{0};  // of those and workflow updates
  absl::Mutex mutex_;
  int32_t running_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread pool_watch_;  // joinable when the pool has a DNS name
};

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_ROUTER_RPC_H_
