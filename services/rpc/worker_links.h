// The ways beside gRPC by which one worker's payloads reach others, chosen by what the two workers describe.
#ifndef DECANT_SERVICES_RPC_WORKER_LINKS_H_
#define DECANT_SERVICES_RPC_WORKER_LINKS_H_

#include <grpcpp/client_context.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/link_kind.h"
#include "common/link/payload_carrier.h"
#include "decant/v1/decode.pb.h"
#include "decant/v1/worker.pb.h"
#include "services/rpc/channel.h"

namespace decant {

// Says in the log why a device lacks a kind of link.
void LogCarriers(absl::string_view kind, const absl::Status& why);

struct WorkerLinksOptions {
  std::string sender;  // names this process to receivers; differs from process to process
  std::string host;    // as HostName
  absl::Duration connect_limit = absl::Seconds(10);
  absl::Duration retry_after = absl::Seconds(30);  // a connection that failed, or a peer that has no such link
  size_t most_peers = 256;                         // that are remembered
};

// Connects on a thread of its own; a transfer that begins meanwhile goes over gRPC. Thread-safe.
class WorkerLinks final : public CarrierSource {
 public:
  // `channels` must outlive it. Without carriers it does nothing and has no thread.
  WorkerLinks(Channels& channels, std::vector<std::unique_ptr<PayloadCarriers>> carriers, WorkerLinksOptions options);
  // Transfers that use its carriers must have ended.
  ~WorkerLinks() override;

  std::vector<LinkKind> kinds() const;
  void Describe(v1::DescribeReply& description) const;  // the kinds, in `links`
  // For TransferServeOptions.
  std::vector<PayloadCarriers*> carriers() const;

  std::shared_ptr<PayloadCarrier> CarrierTo(const std::string& address) override;
  // Waits until the connection to `address` that CarrierTo has begun is made or has failed: what CarrierTo gives then.
  std::shared_ptr<PayloadCarrier> WaitFor(const std::string& address, absl::Time deadline);

  // The receiving end of Decode.Connect.
  absl::StatusOr<v1::ConnectReply> Accept(const v1::ConnectRequest& request);

 private:
  struct Peer {
    std::shared_ptr<PayloadCarrier> carrier;
    bool connecting = false;
    absl::Time retry = absl::InfinitePast();
  };

  // A blocking call on the thread, which the end of this object cuts short.
  class Call;

  void Loop();
  absl::StatusOr<std::shared_ptr<PayloadCarrier>> Connect(const std::string& address);
  absl::StatusOr<LinkEnd> Describe(const std::string& address, absl::Time deadline);
  PayloadCarriers* Find(LinkKind kind) const;
  bool Forget() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Channels& channels_;
  const std::vector<std::unique_ptr<PayloadCarriers>> carriers_;
  const WorkerLinksOptions options_;
  absl::Mutex mutex_;
  std::map<std::string, Peer> peers_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> wanted_ ABSL_GUARDED_BY(mutex_);  // at most one entry a peer
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ClientContext* calling_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::thread thread_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_WORKER_LINKS_H_
