// Counts every call a server handles, by method and code, without the services doing anything.
#ifndef DECANT_SERVICES_RPC_CALL_COUNTER_H_
#define DECANT_SERVICES_RPC_CALL_COUNTER_H_

#include <grpcpp/support/server_interceptor.h>

#include <memory>

#include "services/rpc/metrics.h"

namespace decant {

// `metrics` must outlive the server.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> CountCalls(Metrics& metrics);

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_CALL_COUNTER_H_
