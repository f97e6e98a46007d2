// The gRPC edge of a prefill worker.
#ifndef DECANT_SERVICES_PREFILL_PREFILL_RPC_H_
#define DECANT_SERVICES_PREFILL_PREFILL_RPC_H_

#include "decant/v1/prefill.grpc.pb.h"
#include "services/prefill/prefill.h"

namespace decant {

// Thread-safe.
class PrefillService final : public v1::Prefill::CallbackService {
 public:
  // `core` must outlive the server that serves this.
  explicit PrefillService(decant::Prefill& core) : core_(core) {}

  grpc::ServerUnaryReactor* Prefill(grpc::CallbackServerContext* context, const v1::PrefillRequest* request,
                                    v1::PrefillReply* reply) override;

 private:
  decant::Prefill& core_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_PREFILL_PREFILL_RPC_H_
