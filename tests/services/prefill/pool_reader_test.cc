// Frames that a worker reads out of a pool's memory: from a whole pool, and from one that answers nonsense.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "decant/v1/pool.grpc.pb.h"
#include "services/pool/frame_memory.h"
#include "services/prefill/pool_rpc.h"
#include "services/rpc/channel.h"
#include "services/rpc/frame_stream.h"
#include "services/rpc/server.h"
#include "services/rpc/status_edge.h"

namespace decant {
namespace {

using testing::HasSubstr;

// One message.
class Message final : public FrameStreamSource {
 public:
  absl::StatusOr<std::optional<FrameOut>> Next() override {
    if (std::exchange(told_, true)) return std::nullopt;
    return SmallFrame(FrameKind::kPayload, "sent");
  }

 private:
  bool told_ = false;
};

using ServiceBase = v1::Pool::WithCallbackMethod_Locate<v1::Pool::WithRawCallbackMethod_Fetch<v1::Pool::Service>>;
class FakePool final : public ServiceBase {
 public:
  grpc::ServerUnaryReactor* Locate(grpc::CallbackServerContext* context, const v1::FetchRequest*,
                                   v1::FramePlaces* reply) override {
    ++located;
    *reply = places;
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    if (hangs) {
      absl::MutexLock lock(&mutex_);
      hanging_.push_back(reactor);
    } else {
      reactor->Finish(ToGrpc(status));
    }
    return reactor;
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Fetch(grpc::CallbackServerContext*, const grpc::ByteBuffer*) override {
    ++fetched;
    return ServeFrameDownload(std::make_unique<Message>());
  }

  void StopHanging() {
    absl::MutexLock lock(&mutex_);
    for (grpc::ServerUnaryReactor* reactor : hanging_) reactor->Finish(grpc::Status::OK);
    hanging_.clear();
  }

  v1::FramePlaces places;
  absl::Status status;
  std::atomic<bool> hangs = false;
  std::atomic<int> located = 0;
  std::atomic<int> fetched = 0;

 private:
  absl::Mutex mutex_;
  std::vector<grpc::ServerUnaryReactor*> hanging_ ABSL_GUARDED_BY(mutex_);
};

class PoolReaderTest : public testing::Test {
 protected:
  void SetUp() override {
    ServerOptions options;
    options.services = {&pool_};
    server_ = Server::Start(std::move(options)).value();
    pool_.places.set_memory(memory_->handle());
    pool_.places.set_memory_id(memory_->id());
    Add(frame_);
  }
  void Add(const Blob& blob) {
    pool_.places.add_offset(*memory_->OffsetOf(blob));
    pool_.places.add_bytes(static_cast<uint64_t>(blob.bytes()));
    pool_.places.add_crc32c(blob.crc32c());
  }
  // What comes, or why nothing more does.
  std::string Fetch() {
    FetchOrder order;
    order.pool_address = server_->address();
    const auto stream = client_->Fetch(order, absl::Now() + absl::Seconds(60));
    std::string all;
    while (true) {
      const auto piece = (*stream)->Next();
      if (!piece.ok()) return piece.status().ToString();
      if (!piece->has_value()) break;
      absl::StrAppend(&all, (*piece)->view());
    }
    return (*stream)->lost().empty() ? all : all + ", lost: " + (*stream)->lost();
  }

  const std::shared_ptr<FrameMemory> memory_ = FrameMemory::Create(int64_t{4} << 20).value();
  const Blob frame_ = Blob::CopyOf("read", memory_.get());
  FakePool pool_;
  std::unique_ptr<Server> server_;
  Channels channels_;
  std::unique_ptr<PoolClient> client_ = std::make_unique<PoolClient>(channels_, ServedModel());
};

TEST_F(PoolReaderTest, FramesAreReadWhereTheyLie) {
  Add(Blob::CopyOf(" on", memory_.get()));
  EXPECT_EQ(Fetch(), "read on");
  pool_.places.set_lost("the disk is gone");
  EXPECT_EQ(Fetch(), "read on, lost: the disk is gone");
  EXPECT_EQ(pool_.fetched, 0);
}

TEST_F(PoolReaderTest, NothingIsAPrefixToo) {
  pool_.places.clear_offset();
  pool_.places.clear_bytes();
  pool_.places.clear_crc32c();
  EXPECT_EQ(Fetch(), "");
}

TEST_F(PoolReaderTest, WhereItCannotReadTheFramesAreSent) {
  const v1::FramePlaces good = pool_.places;
  for (const absl::Status& refusal :
       {absl::FailedPreconditionError("elsewhere"), absl::UnimplementedError("an older pool")}) {
    pool_.status = refusal;
    EXPECT_EQ(Fetch(), "sent");
    client_ = std::make_unique<PoolClient>(channels_, ServedModel());
  }
  pool_.status = absl::OkStatus();
  pool_.places.set_memory("/proc/1/fd/77");  // of another host
  EXPECT_EQ(Fetch(), "sent");
  // And it is not asked again for each request.
  pool_.places = good;
  const int located = pool_.located;
  EXPECT_EQ(Fetch(), "sent");
  EXPECT_EQ(pool_.located, located);
}

TEST_F(PoolReaderTest, OtherErrorsAreTheFetchs) {
  pool_.status = absl::NotFoundError("lease 7 has ended");
  EXPECT_THAT(Fetch(), HasSubstr("lease 7 has ended"));
  pool_.status = absl::OkStatus();
  pool_.places.add_offset(0);
  EXPECT_THAT(Fetch(), HasSubstr("contradict"));
  pool_.places.mutable_offset()->RemoveLast();
  pool_.places.set_crc32c(0, 1);
  EXPECT_THAT(Fetch(), HasSubstr("not those of the frame"));
  pool_.places.set_offset(0, uint64_t{1} << 40);
  EXPECT_THAT(Fetch(), HasSubstr("of a region of"));
  EXPECT_EQ(pool_.fetched, 0);
}

TEST_F(PoolReaderTest, APoolThatHangsIsGivenUp) {
  pool_.hangs = true;
  FetchOrder order;
  order.pool_address = server_->address();
  const auto stream = client_->Fetch(order, absl::Now() + absl::Seconds(60));
  (*stream)->Cancel();
  EXPECT_EQ((*stream)->Next().status().code(), absl::StatusCode::kCancelled);
  const auto late = client_->Fetch(order, absl::Now() + absl::Milliseconds(20));
  EXPECT_EQ((*late)->Next().status().code(), absl::StatusCode::kDeadlineExceeded);
  pool_.hangs = false;
  pool_.StopHanging();
}

}  // namespace
}  // namespace decant
