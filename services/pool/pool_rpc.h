// The pool's gRPC edge: proto -> struct -> call -> proto. Publish and Fetch move raw bytes.
#ifndef DECANT_SERVICES_POOL_POOL_RPC_H_
#define DECANT_SERVICES_POOL_POOL_RPC_H_

#include <memory>

#include "decant/v1/pool.grpc.pb.h"
#include "services/pool/events_rpc.h"
#include "services/pool/shared_pool.h"

namespace decant {

using PoolServiceBase = v1::Pool::WithCallbackMethod_Plan<v1::Pool::WithCallbackMethod_Report<
    v1::Pool::WithCallbackMethod_Release<v1::Pool::WithCallbackMethod_UpdateWorkflow<
        v1::Pool::WithCallbackMethod_Hint<v1::Pool::WithCallbackMethod_Locate<v1::Pool::WithCallbackMethod_Events<
            v1::Pool::WithRawCallbackMethod_Publish<v1::Pool::WithRawCallbackMethod_Fetch<v1::Pool::Service>>>>>>>>>;

class PoolService final : public PoolServiceBase {
 public:
  explicit PoolService(std::shared_ptr<SharedPool> pool) : pool_(std::move(pool)), events_(pool_) {}

  // For ServerOptions.on_drain: streams of events have no end of their own.
  void EndStreams() { events_.EndAll(); }

  grpc::ServerUnaryReactor* Plan(grpc::CallbackServerContext* context, const v1::PlanRequest* request,
                                 v1::PlanReply* reply) override;
  grpc::ServerUnaryReactor* Locate(grpc::CallbackServerContext* context, const v1::FetchRequest* request,
                                   v1::FramePlaces* reply) override;
  grpc::ServerUnaryReactor* Report(grpc::CallbackServerContext* context, const v1::ReportRequest* request,
                                   v1::ReportReply* reply) override;
  grpc::ServerUnaryReactor* Release(grpc::CallbackServerContext* context, const v1::ReleaseLeaseRequest* request,
                                    v1::ReleaseLeaseReply* reply) override;
  grpc::ServerUnaryReactor* UpdateWorkflow(grpc::CallbackServerContext* context, const v1::WorkflowUpdate* request,
                                           v1::WorkflowReply* reply) override;
  grpc::ServerUnaryReactor* Hint(grpc::CallbackServerContext* context, const v1::PoolHintRequest* request,
                                 v1::PoolHintReply* reply) override;
  grpc::ServerWriteReactor<v1::EventBatch>* Events(grpc::CallbackServerContext* context,
                                                   const v1::EventsRequest* request) override;
  grpc::ServerReadReactor<grpc::ByteBuffer>* Publish(grpc::CallbackServerContext* context,
                                                     grpc::ByteBuffer* reply) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Fetch(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request) override;

 private:
  const std::shared_ptr<SharedPool> pool_;
  EventStreams events_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_POOL_RPC_H_
