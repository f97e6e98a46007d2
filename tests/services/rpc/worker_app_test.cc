// A whole worker of no kind on loopback: what every worker does around its own service.
#include "services/rpc/worker_app.h"

#include <gtest/gtest.h>

#include "common/kv/frame.h"
#include "decant/v1/pool.grpc.pb.h"
#include "services/rpc/metrics.h"
#include "services/rpc/status_edge.h"

namespace decant {
namespace {

class IdleRole final : public WorkerRole {
 public:
  explicit IdleRole(int& drains) : drains_(drains) {}
  Metrics& metrics() override { return metrics_; }
  grpc::Service* service() override { return &service_; }
  v1::DescribeReply Describe() const override {
    v1::DescribeReply description;
    description.set_kind(v1::WORKER_KIND_PREFILL);
    description.set_device("none");
    description.add_links(v1::LINK_KIND_GRPC);
    return description;
  }
  v1::Load Load() const override {
    v1::Load load;
    load.set_running(started_ ? 7 : 0);
    return load;
  }
  void Start() override { started_ = true; }
  void Drain(absl::Time /*limit*/) override { ++drains_; }

 private:
  int& drains_;
  bool started_ = false;
  Metrics metrics_;
  v1::Pool::Service service_;  // stands for the own service of a role; refuses every call
};

class WorkerAppTest : public testing::Test {
 protected:
  static WorkerOptions Options() {
    WorkerOptions options;
    options.metrics = "";
    options.link_bits_per_s = 5e9;
    return options;
  }

  int drains_ = 0;
  Channels channels_;
};

TEST_F(WorkerAppTest, SaysWhatItIsAndHowItIsReached) {
  WorkerApp app(Options(), std::make_unique<IdleRole>(drains_));
  ASSERT_TRUE(app.Start().ok());
  const auto stub = v1::Worker::NewStub(channels_.Get(app.address()));
  grpc::ClientContext context;
  context.set_deadline(ToGrpc(absl::Now() + absl::Seconds(30)));
  v1::DescribeReply reply;
  ASSERT_TRUE(stub->Describe(&context, v1::DescribeRequest(), &reply).ok());
  EXPECT_EQ(reply.kind(), v1::WORKER_KIND_PREFILL);
  EXPECT_EQ(reply.device(), "none");
  EXPECT_EQ(reply.host(), HostName());
  EXPECT_EQ(reply.link_bits_per_s(), 5e9);
  EXPECT_EQ(reply.frame_version(), kFrameVersion);
  ASSERT_EQ(reply.links_size(), 1);
  EXPECT_EQ(reply.links(0), v1::LINK_KIND_GRPC);
}

TEST_F(WorkerAppTest, TellsItsLoadUntilItDrains) {
  WorkerApp app(Options(), std::make_unique<IdleRole>(drains_));
  ASSERT_TRUE(app.Start().ok());
  const auto stub = v1::Worker::NewStub(channels_.Get(app.address()));
  grpc::ClientContext context;
  context.set_deadline(ToGrpc(absl::Now() + absl::Seconds(30)));
  const auto watch = stub->WatchLoad(&context, v1::WatchLoadRequest());
  v1::Load load;
  ASSERT_TRUE(watch->Read(&load));
  EXPECT_EQ(load.running(), 7);
  app.Drain();
  while (watch->Read(&load)) continue;
  EXPECT_TRUE(watch->Finish().ok());
  EXPECT_EQ(drains_, 1);
}

TEST_F(WorkerAppTest, IsNotStartedTwiceAndHasNoAddressBefore) {
  WorkerApp app(Options(), std::make_unique<IdleRole>(drains_));
  EXPECT_EQ(app.address(), "");
  app.Drain();
  ASSERT_TRUE(app.Start().ok());
  EXPECT_EQ(app.Start().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace decant
