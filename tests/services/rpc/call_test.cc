#include "services/rpc/call.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "decant/v1/decode.grpc.pb.h"
#include "services/rpc/channel.h"
#include "services/rpc/reply.h"
#include "services/rpc/server.h"

namespace decant {
namespace {

absl::Time Soon() { return absl::Now() + absl::Seconds(30); }

// Answers by hand: each call waits until the test says how it ends.
class ByHand final : public v1::Decode::CallbackService {
 public:
  grpc::ServerUnaryReactor* Reserve(grpc::CallbackServerContext* context, const v1::ReserveRequest* request,
                                    v1::ReserveReply* reply) override {
    auto answer = UnaryAnswer<v1::ReserveReply>::Create(reply);
    deadline = DeadlineOf(*context);
    if (request->request_id() == "at once") {
      v1::ReserveReply result;
      result.set_ticket(42);
      answer->Finish(result);
      answer->Finish(absl::InternalError("a second answer"));
    } else {
      answer->OnCancel([this, answer] {
        answer->Finish(absl::CancelledError("stopped"));
        cancelled.Notify();
      });
      reserve = answer;
      started.Notify();
    }
    return answer->reactor();
  }
  grpc::ServerWriteReactor<v1::TokenEvent>* Tokens(grpc::CallbackServerContext*,
                                                   const v1::TokensRequest* request) override {
    auto stream = StreamAnswer<v1::TokenEvent>::Create(request->ticket());
    tokens = stream;
    stream->OnCancel([this] { cancelled.Notify(); });
    started.Notify();
    return stream->reactor();
  }

  absl::Time deadline;
  std::shared_ptr<UnaryAnswer<v1::ReserveReply>> reserve;
  std::shared_ptr<StreamAnswer<v1::TokenEvent>> tokens;
  absl::Notification started;
  absl::Notification cancelled;
};

class CallTest : public ::testing::Test {
 protected:
  CallTest() {
    ServerOptions options;
    options.services = {&service_};
    server_ = *Server::Start(std::move(options));
    stub_ = v1::Decode::NewStub(channels_.Get(server_->address()));
  }
  ~CallTest() override { calls_.CancelAndWait(); }

  Call Reserve(const std::string& request_id, std::function<void(absl::StatusOr<v1::ReserveReply>)> done,
               absl::Time deadline = Soon()) {
    v1::ReserveRequest request;
    request.set_request_id(request_id);
    return calls_.Unary(stub_->async(), &v1::Decode::Stub::async::Reserve, request, deadline, std::move(done));
  }
  // Messages are recorded in seen_; `end_` is notified after the status was recorded.
  Call Tokens(uint64_t queue) {
    v1::TokensRequest request;
    request.set_ticket(queue);
    return calls_.Read(
        stub_->async(), &v1::Decode::Stub::async::Tokens, request, Soon(),
        [this](const v1::TokenEvent& event) {
          EXPECT_FALSE(end_.HasBeenNotified());
          absl::MutexLock lock(&mutex_);
          seen_.push_back(event.index());
        },
        [this](const absl::Status& status) {
          status_ = status;
          end_.Notify();
        });
  }
  bool AwaitSeen(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto reached = [this, count] { return seen_.size() >= count; };
    return mutex_.AwaitWithTimeout(absl::Condition(&reached), absl::Seconds(30));
  }
  static v1::TokenEvent Event(int64_t index) {
    v1::TokenEvent event;
    event.set_index(index);
    return event;
  }

  ByHand service_;
  std::unique_ptr<Server> server_;
  Channels channels_;
  std::unique_ptr<v1::Decode::Stub> stub_;
  absl::Mutex mutex_;
  std::vector<int64_t> seen_;
  absl::Status status_;
  absl::Notification end_;
  Calls calls_;
};

TEST_F(CallTest, BringsAReply) {
  absl::Notification done;
  absl::StatusOr<v1::ReserveReply> got;
  Reserve("at once", [&](absl::StatusOr<v1::ReserveReply> reply) {
    got = std::move(reply);
    done.Notify();
  });
  done.WaitForNotification();
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->ticket(), 42u);
  // The client's deadline has travelled: it is sooner than what the server would allow.
  EXPECT_LT(service_.deadline, absl::Now() + absl::Seconds(200));
}

TEST_F(CallTest, AnOkStatusInPlaceOfAReplyIsAnErrorAndEndsNoProcess) {
  absl::Notification done;
  absl::Status status;
  Reserve("wait", [&](const absl::StatusOr<v1::ReserveReply>& reply) {
    status = reply.status();
    done.Notify();
  });
  service_.started.WaitForNotification();
  service_.reserve->Finish(absl::OkStatus());
  done.WaitForNotification();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
}

TEST_F(CallTest, CancelsAUnaryCallOnBothSides) {
  absl::Notification done;
  absl::Status status;
  const Call call = Reserve("wait", [&](const absl::StatusOr<v1::ReserveReply>& reply) {
    status = reply.status();
    done.Notify();
  });
  service_.started.WaitForNotification();
  call.Cancel();
  call.Cancel();
  done.WaitForNotification();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  service_.cancelled.WaitForNotification();
  call.Cancel();
}

TEST_F(CallTest, EndsAtItsDeadline) {
  absl::Notification done;
  absl::Status status;
  Reserve(
      "wait",
      [&](const absl::StatusOr<v1::ReserveReply>& reply) {
        status = reply.status();
        done.Notify();
      },
      absl::Now() + absl::Milliseconds(50));
  done.WaitForNotification();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(CallTest, ReportsAServerThatIsNotThere) {
  server_.reset();
  absl::Notification done;
  absl::Status status;
  Reserve("at once", [&](const absl::StatusOr<v1::ReserveReply>& reply) {
    status = reply.status();
    done.Notify();
  });
  done.WaitForNotification();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(CallTest, StreamsMessagesInOrderThenTheEnd) {
  Tokens(100);
  service_.started.WaitForNotification();
  std::vector<int64_t> sent;
  for (int64_t i = 0; i < 50; ++i) {
    ASSERT_TRUE(service_.tokens->Write(Event(i)).ok());
    sent.push_back(i);
  }
  service_.tokens->Finish(absl::ResourceExhaustedError("enough"));
  EXPECT_EQ(service_.tokens->Write(Event(50)).code(), absl::StatusCode::kCancelled);
  end_.WaitForNotification();
  EXPECT_EQ(seen_, sent);
  EXPECT_EQ(status_, absl::ResourceExhaustedError("enough"));
}

TEST_F(CallTest, EndsAStreamWhoseReaderFallsBehind) {
  // Every message is large, so that the transport's own windows fill up and the queue of two does too.
  v1::TokenEvent large;
  for (int i = 0; i < 1 << 20; ++i) large.add_tokens(1 << 28);
  absl::Notification release;
  v1::TokensRequest request;
  request.set_ticket(2);
  const Call call = calls_.Read(
      stub_->async(), &v1::Decode::Stub::async::Tokens, request, Soon(),
      [&](const v1::TokenEvent&) { release.WaitForNotification(); },
      [this](const absl::Status& status) {
        status_ = status;
        end_.Notify();
      });
  service_.started.WaitForNotification();
  absl::Status written;
  for (int i = 0; i < 40 && written.ok(); ++i) written = service_.tokens->Write(large);
  EXPECT_EQ(written.code(), absl::StatusCode::kResourceExhausted) << written;
  release.Notify();
  end_.WaitForNotification();
  EXPECT_EQ(status_.code(), absl::StatusCode::kResourceExhausted) << status_;
}

TEST_F(CallTest, CancelsAStreamOnBothSides) {
  const Call call = Tokens(100);
  service_.started.WaitForNotification();
  ASSERT_TRUE(service_.tokens->Write(Event(0)).ok());
  ASSERT_TRUE(AwaitSeen(1));
  call.Cancel();
  end_.WaitForNotification();
  EXPECT_EQ(status_.code(), absl::StatusCode::kCancelled);
  service_.cancelled.WaitForNotification();
  EXPECT_TRUE(service_.tokens->cancelled());
}

TEST_F(CallTest, TellsACancellationThatCameBeforeAnybodyAsked) {
  const Call call = Tokens(100);
  service_.started.WaitForNotification();
  call.Cancel();
  service_.cancelled.WaitForNotification();
  bool told = false;
  service_.tokens->OnCancel([&] { told = true; });
  // Either the call is over already, or the callback has run at once.
  EXPECT_TRUE(told || !service_.tokens->Write(Event(0)).ok());
  end_.WaitForNotification();
}

TEST_F(CallTest, WaitsForEveryDoneWhenItsOwnerGoes) {
  int ended = 0;
  {
    Calls calls;
    v1::ReserveRequest request;
    calls.Unary(stub_->async(), &v1::Decode::Stub::async::Reserve, request, Soon(),
                [&](const absl::StatusOr<v1::ReserveReply>&) { ++ended; });
    service_.started.WaitForNotification();
    EXPECT_EQ(calls.running(), 1);
    calls.CancelAndWait();
    EXPECT_EQ(calls.running(), 0);
    calls.Unary(stub_->async(), &v1::Decode::Stub::async::Reserve, request, Soon(),
                [&](const absl::StatusOr<v1::ReserveReply>& reply) {
                  EXPECT_EQ(reply.status().code(), absl::StatusCode::kCancelled);
                  ++ended;
                });
    EXPECT_EQ(ended, 2);
  }
}

TEST(ChannelsTest, KeepsTheMostRecentlyUsedOnes) {
  Channels channels(2);
  const auto a = channels.Get("127.0.0.1:1");
  const auto b = channels.Get("127.0.0.1:2");
  EXPECT_EQ(channels.Get("127.0.0.1:1"), a);
  const auto c = channels.Get("127.0.0.1:3");
  EXPECT_EQ(channels.Get("127.0.0.1:1"), a);
  EXPECT_EQ(channels.Get("127.0.0.1:3"), c);
  EXPECT_NE(channels.Get("127.0.0.1:2"), b);
}

}  // namespace
}  // namespace decant
