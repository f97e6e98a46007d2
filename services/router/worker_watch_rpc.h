// How workers come and go: Register -> Describe -> WatchLoad. A broken watch is a lost worker, one that ends is a
// worker that drains.
#ifndef DECANT_SERVICES_ROUTER_WORKER_WATCH_RPC_H_
#define DECANT_SERVICES_ROUTER_WORKER_WATCH_RPC_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/router/event_loop.h"
#include "services/router/messages.h"
#include "services/router/router.h"
#include "services/rpc/call.h"
#include "services/rpc/channel.h"

namespace decant {

// Lives on the loop's thread but for its construction and destruction.
class WorkerWatch {
 public:
  // Lent, as in RpcWorld.
  WorkerWatch(EventLoop& loop, Channels& channels, Calls& calls) : loop_(loop), channels_(channels), calls_(calls) {}
  void SetRouter(Router& router) { router_ = &router; }

  // `done` runs once, on the loop: OK when the worker is in use; what Describe or the core said when it can't be.
  // RESOURCE_EXHAUSTED when too many workers are being asked at once.
  void Register(const std::string& address, WorkerFacts::Kind kind, std::function<void(const absl::Status&)> done);

 private:
  struct Watch {
    Call call;
    uint64_t number = 0;
  };
  absl::Status Take(absl::Time now, const WorkerFacts& facts, WorkerFacts::Kind announced);
  void Open(const std::string& address);

  EventLoop& loop_;
  Channels& channels_;
  Calls& calls_;
  Router* router_ = nullptr;
  int32_t describing_ = 0;
  uint64_t watches_opened_ = 0;
  std::map<std::string, Watch> watches_;  // by address; ends with its stream
};

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_WORKER_WATCH_RPC_H_
