// FrameLink over the bidirectional stream Decode.Transfer.
#ifndef DECANT_SERVICES_RPC_GRPC_LINK_H_
#define DECANT_SERVICES_RPC_GRPC_LINK_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/link/frame_link.h"
#include "common/link/payload_carrier.h"
#include "services/rpc/channel.h"

namespace decant {

inline constexpr char kGrpcLinkKind[] = "grpc";

struct GrpcLinkOptions {
  // Batches taken from the caller and not yet acknowledged; one always has room.
  int window = 64;
  int64_t window_bytes = int64_t{8} << 20;
  // Off only to measure what checksums cost; both ends must agree.
  bool checksums = true;
  absl::Duration transfer_limit = absl::Seconds(300);  // of a whole transfer
  // Null: everything goes with the messages. Both must outlive the link.
  CarrierSource* carriers = nullptr;
  MemoryMover* mover = nullptr;  // null: parts must be host memory
  // For a carrier to move one batch; what takes longer goes with the messages.
  absl::Duration carry_limit = absl::Seconds(2);
};

// The sending side. Thread-safe; `channels` must outlive it and its senders. Senders block the thread that calls them,
// which must not be one of gRPC's. A call that returns with an error first waits until gRPC
// holds none of the parts any more, which a dead peer can delay by the keepalive time (about 15 s).
class GrpcLink final : public FrameLink {
 public:
  explicit GrpcLink(Channels& channels, GrpcLinkOptions options = {});

  absl::string_view kind() const override { return kGrpcLinkKind; }
  absl::StatusOr<std::unique_ptr<FrameSender>> Open(const std::string& address, const TransferOpen& open,
                                                    absl::Time deadline) override;

 private:
  Channels& channels_;
  const GrpcLinkOptions options_;
};

struct TransferServeOptions {
  int window = 64;                              // batches that may be announced and not landed; more is an error
  int64_t max_batch_bytes = int64_t{32} << 20;  // a larger announcement is refused
  bool checksums = true;
  absl::Duration idle_limit = absl::Seconds(10);  // without any message from the sender
  // How long a batch may wait for memory: Grant is asked again with growing pauses until then.
  absl::Duration grant_limit = absl::Seconds(10);
  std::vector<PayloadCarriers*> carriers;  // that senders may use; they must outlive the server, as must `mover`
  MemoryMover* mover = nullptr;            // null: landing memory must be host memory
  absl::Duration carry_limit = absl::Seconds(2);
};

// Serves one call of Decode.Transfer: return it from WithRawCallbackMethod_Transfer. `sink` must outlive the server.
// The sink's calls of this transfer come one after another on gRPC's threads and, where batches are carried, on those
// of the carriers.
grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ServeTransfer(FrameSink& sink,
                                                                           TransferServeOptions options = {});

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_GRPC_LINK_H_
