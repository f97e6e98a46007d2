// Two workers' ends of a link whose payloads are carried, in one process: what tests of carriers run on.
#ifndef DECANT_TESTS_SUPPORT_CARRIER_REACH_H_
#define DECANT_TESTS_SUPPORT_CARRIER_REACH_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "decant/v1/decode.grpc.pb.h"
#include "gpu/link/device_mover.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_link.h"
#include "services/rpc/reply.h"
#include "services/rpc/server.h"
#include "services/rpc/worker_links.h"
#include "services/rpc/worker_rpc.h"
#include "tests/support/test_device.h"

namespace decant {

using CarriedDecode =
    v1::Decode::WithRawCallbackMethod_Transfer<v1::Decode::WithCallbackMethod_Connect<v1::Decode::Service>>;

// What a decode worker's server answers to Transfer and Connect.
class CarriedReceiver final : public CarriedDecode {
 public:
  CarriedReceiver(FrameSink& sink, WorkerLinks& links, TransferServeOptions options)
      : sink_(sink), links_(links), options_(std::move(options)) {}
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Transfer(grpc::CallbackServerContext*) override {
    return ServeTransfer(sink_, options_);
  }
  grpc::ServerUnaryReactor* Connect(grpc::CallbackServerContext*, const v1::ConnectRequest* request,
                                    v1::ConnectReply* reply) override {
    auto answer = UnaryAnswer<v1::ConnectReply>::Create(reply);
    answer->Finish(links_.Accept(*request));
    return answer->reactor();
  }

 private:
  FrameSink& sink_;
  WorkerLinks& links_;
  const TransferServeOptions options_;
};

using Carriers = std::vector<std::unique_ptr<PayloadCarriers>>;

// A receiving process: test device, links, server.
class ReceivingEnd {
 public:
  // `make` is called with the end's device.
  template <typename Make>
  ReceivingEnd(FrameSink& sink, const Make& make, TransferServeOptions options = {}, std::string host = "a host")
      : device_(CreateTestDevice(1)), mover_(*device_), links_(channels_, make(*device_), {"receiver", host}) {
    options.carriers = links_.carriers();
    options.mover = &mover_;
    receiver_ = std::make_unique<CarriedReceiver>(sink, links_, std::move(options));
    v1::DescribeReply description;
    links_.Describe(description);
    description.set_host(host);
    worker_ = std::make_unique<WorkerService>(description, [] { return v1::Load(); });
    ServerOptions server;
    server.services = {receiver_.get(), worker_.get()};
    auto started = Server::Start(std::move(server));
    if (started.ok()) server_ = std::move(*started);
  }
  std::string address() const { return server_->address(); }
  Device& device() { return *device_; }
  void Stop() { server_.reset(); }

 private:
  const std::unique_ptr<Device> device_;
  DeviceMover mover_;
  Channels channels_;
  WorkerLinks links_;
  std::unique_ptr<CarriedReceiver> receiver_;
  std::unique_ptr<WorkerService> worker_;
  std::unique_ptr<Server> server_;
};

// A sending process.
class SendingEnd {
 public:
  template <typename Make>
  explicit SendingEnd(const Make& make, GrpcLinkOptions options = {}, std::string name = "sender")
      : device_(CreateTestDevice(1)),
        mover_(*device_),
        links_(channels_, make(*device_), {std::move(name), "a host", absl::Seconds(2), absl::ZeroDuration()}),
        link_(channels_, With(options)) {}
  FrameLink& link() { return link_; }
  WorkerLinks& links() { return links_; }
  Device& device() { return *device_; }
  // The carrier to `address` once it is connected, or null.
  std::shared_ptr<PayloadCarrier> Connect(const std::string& address) {
    if (auto carrier = links_.CarrierTo(address)) return carrier;
    return links_.WaitFor(address, absl::Now() + absl::Seconds(30));
  }

 private:
  GrpcLinkOptions With(GrpcLinkOptions options) {
    options.carriers = &links_;
    options.mover = &mover_;
    return options;
  }

  const std::unique_ptr<Device> device_;
  DeviceMover mover_;
  Channels channels_;
  WorkerLinks links_;
  GrpcLink link_;
};

}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_CARRIER_REACH_H_
