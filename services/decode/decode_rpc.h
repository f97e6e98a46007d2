// The gRPC edge of a decode worker.
#ifndef DECANT_SERVICES_DECODE_DECODE_RPC_H_
#define DECANT_SERVICES_DECODE_DECODE_RPC_H_

#include <utility>

#include "decant/v1/decode.grpc.pb.h"
#include "services/decode/decode.h"
#include "services/rpc/grpc_link.h"
#include "services/rpc/worker_links.h"

namespace decant {

using DecodeServiceMethods = v1::Decode::WithCallbackMethod_Reserve<
    v1::Decode::WithRawCallbackMethod_Transfer<v1::Decode::WithCallbackMethod_Connect<
        v1::Decode::WithCallbackMethod_Tokens<v1::Decode::WithCallbackMethod_Release<v1::Decode::Service>>>>>;

// Thread-safe.
class DecodeService final : public DecodeServiceMethods {
 public:
  // `core` and `links` must outlive the server that serves this.
  DecodeService(Decode& core, WorkerLinks& links, TransferServeOptions transfers)
      : core_(core), links_(links), transfers_(std::move(transfers)) {}

  grpc::ServerUnaryReactor* Reserve(grpc::CallbackServerContext* context, const v1::ReserveRequest* request,
                                    v1::ReserveReply* reply) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Transfer(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Connect(grpc::CallbackServerContext* context, const v1::ConnectRequest* request,
                                    v1::ConnectReply* reply) override;
  grpc::ServerWriteReactor<v1::TokenEvent>* Tokens(grpc::CallbackServerContext* context,
                                                   const v1::TokensRequest* request) override;
  grpc::ServerUnaryReactor* Release(grpc::CallbackServerContext* context, const v1::ReleaseTicketRequest* request,
                                    v1::ReleaseTicketReply* reply) override;

 private:
  Decode& core_;
  WorkerLinks& links_;
  const TransferServeOptions transfers_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_DECODE_DECODE_RPC_H_
