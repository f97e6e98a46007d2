// The gRPC edge of a decode worker.
#ifndef DECANT_SERVICES_DECODE_DECODE_RPC_H_
#define DECANT_SERVICES_DECODE_DECODE_RPC_H_

#include "decant/v1/decode.grpc.pb.h"
#include "services/decode/decode.h"
#include "services/rpc/grpc_link.h"

namespace decant {

using DecodeServiceMethods = v1::Decode::WithCallbackMethod_Reserve<v1::Decode::WithRawCallbackMethod_Transfer<
    v1::Decode::WithCallbackMethod_Tokens<v1::Decode::WithCallbackMethod_Release<v1::Decode::Service>>>>;

// Thread-safe.
class DecodeService final : public DecodeServiceMethods {
 public:
  // `core` must outlive the server that serves this.
  DecodeService(Decode& core, TransferServeOptions transfers) : core_(core), transfers_(transfers) {}

  grpc::ServerUnaryReactor* Reserve(grpc::CallbackServerContext* context, const v1::ReserveRequest* request,
                                    v1::ReserveReply* reply) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Transfer(grpc::CallbackServerContext* context) override;
  grpc::ServerWriteReactor<v1::TokenEvent>* Tokens(grpc::CallbackServerContext* context,
                                                   const v1::TokensRequest* request) override;
  grpc::ServerUnaryReactor* Release(grpc::CallbackServerContext* context, const v1::ReleaseTicketRequest* request,
                                    v1::ReleaseTicketReply* reply) override;

 private:
  Decode& core_;
  const TransferServeOptions transfers_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_DECODE_DECODE_RPC_H_
