#include "services/rpc/grpc_link.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "decant/v1/decode.grpc.pb.h"
#include "services/rpc/channel.h"
#include "services/rpc/frame_message.h"
#include "services/rpc/server.h"
#include "services/rpc/status_edge.h"
#include "tests/support/link_conformance.h"
#include "tests/support/recording_sink.h"

namespace decant {
namespace {

using DecodeService = v1::Decode::WithRawCallbackMethod_Transfer<v1::Decode::Service>;

class Receiver final : public DecodeService {
 public:
  Receiver(FrameSink& sink, TransferServeOptions options) : sink_(sink), options_(options) {}
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Transfer(grpc::CallbackServerContext*) override {
    return ServeTransfer(sink_, options_);
  }

 private:
  FrameSink& sink_;
  const TransferServeOptions options_;
};

class GrpcReach {
 public:
  explicit GrpcReach(FrameSink& sink, TransferServeOptions options = {}, GrpcLinkOptions link_options = {},
                     ServerOptions server = {})
      : receiver_(sink, options), link_(channels_, link_options) {
    server.services = {&receiver_};
    auto started = Server::Start(std::move(server));
    if (started.ok()) server_ = std::move(*started);
  }
  FrameLink& link() { return link_; }
  std::string address() const { return server_->address(); }
  Channels& channels() { return channels_; }
  void StopServer() { server_.reset(); }

 private:
  Receiver receiver_;
  std::unique_ptr<Server> server_;
  Channels channels_;
  GrpcLink link_;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Grpc, LinkConformance, GrpcReach);

// Speaks the protocol message by message, so that a test can break it.
class RawSender {
 public:
  explicit RawSender(GrpcReach& reach) {
    context_.set_deadline(ToGrpc(Soon()));
    const auto channel = reach.channels().Get(reach.address());
    stream_.reset(grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
        channel.get(),
        grpc::internal::RpcMethod("/decant.v1.Decode/Transfer", grpc::internal::RpcMethod::BIDI_STREAMING, channel),
        &context_));
  }
  RawSender& Write(const FrameOut& frame) { return WriteBytes(EncodeFrame(frame)); }
  RawSender& WriteBytes(const grpc::ByteBuffer& buffer) {
    stream_->Write(buffer);
    return *this;
  }
  RawSender& Open(uint64_t ticket) {
    v1::TransferOpen open;
    open.set_ticket(ticket);
    open.set_model_fingerprint(std::string(32, 'f'));
    Write(SmallFrame(FrameKind::kOpen, open.SerializeAsString()));
    return Expect(FrameKind::kOpened);
  }
  RawSender& Announce(uint64_t sequence, const std::string& bytes) {
    const ConstMemoryRef part = Ref(bytes);
    FrameOut announce;
    announce.head.kind = FrameKind::kAnnounce;
    announce.ahead = {HeadOf(FrameKind::kAnnounce, sequence, 0, {&part, 1})};
    return Write(announce);
  }
  RawSender& Payload(uint64_t sequence, const std::string& bytes, uint64_t batches = 1) {
    FrameOut payload;
    payload.parts = {Ref(bytes)};
    payload.head.kind = FrameKind::kPayload;
    payload.head.sequence = sequence;
    payload.head.batches = batches;
    return Write(payload);
  }
  RawSender& Commit(uint64_t ticket, uint64_t batches, int64_t bytes) {
    v1::TransferCommit commit;
    commit.set_ticket(ticket);
    commit.set_batches(batches);
    commit.set_payload_bytes(bytes);
    return Write(SmallFrame(FrameKind::kCommit, commit.SerializeAsString()));
  }
  RawSender& Expect(FrameKind kind) {
    grpc::ByteBuffer buffer;
    EXPECT_TRUE(stream_->Read(&buffer));
    EXPECT_EQ(FrameIn::Parse(buffer)->head().kind, kind);
    return *this;
  }
  // Reads until the receiver has granted and landed so many.
  RawSender& Await(uint64_t granted, uint64_t landed) {
    grpc::ByteBuffer buffer;
    FrameHead head;
    while ((head.granted < granted || head.landed < landed) && stream_->Read(&buffer)) {
      head = FrameIn::Parse(buffer)->head();
    }
    EXPECT_EQ(head.granted, granted);
    EXPECT_EQ(head.landed, landed);
    return *this;
  }
  void HalfClose() { stream_->WritesDone(); }
  void Cancel() { context_.TryCancel(); }
  absl::Status End() {
    grpc::ByteBuffer rest;
    while (stream_->Read(&rest)) rest.Clear();
    return FromGrpc(stream_->Finish());
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> stream_;
};

struct Breach {
  std::string name;
  std::function<void(RawSender&)> send;
  absl::StatusCode code;
};

class GrpcBreachTest : public ::testing::TestWithParam<Breach> {};

TEST_P(GrpcBreachTest, EndsTheTransferOnce) {
  RecordingSink sink;
  TransferServeOptions options;
  options.window = 2;
  options.max_batch_bytes = 1000;
  GrpcReach reach(sink, options);
  RawSender raw(reach);
  raw.Open(9);
  GetParam().send(raw);
  EXPECT_EQ(raw.End().code(), GetParam().code);
  ASSERT_TRUE(sink.AwaitEnd(9));
  EXPECT_EQ(sink.Received(9).aborted, 1);
  EXPECT_FALSE(sink.Received(9).commit.has_value());
}

INSTANTIATE_TEST_SUITE_P(
    Wire, GrpcBreachTest,
    ::testing::Values(
        Breach{"PayloadWithoutAnnouncement", [](RawSender& raw) { raw.Payload(0, "abc"); },
               absl::StatusCode::kInvalidArgument},
        Breach{"AnnouncementOutOfOrder", [](RawSender& raw) { raw.Announce(1, "abc"); },
               absl::StatusCode::kInvalidArgument},
        Breach{"AnnouncementTwice", [](RawSender& raw) { raw.Announce(0, "abc").Announce(0, "abc"); },
               absl::StatusCode::kInvalidArgument},
        Breach{"PayloadOutOfOrder",
               [](RawSender& raw) {
                 raw.Announce(0, "abc").Announce(1, "def").Await(2, 0);
                 raw.Payload(1, "def");
               },
               absl::StatusCode::kInvalidArgument},
        Breach{"PayloadTwice",
               [](RawSender& raw) {
                 raw.Announce(0, "abc").Await(1, 0).Payload(0, "abc").Await(1, 1);
                 raw.Payload(0, "abc");
               },
               absl::StatusCode::kInvalidArgument},
        Breach{"PayloadTruncated", [](RawSender& raw) { raw.Announce(0, "abc").Await(1, 0).Payload(0, "ab"); },
               absl::StatusCode::kDataLoss},
        Breach{"PayloadTooLong", [](RawSender& raw) { raw.Announce(0, "abc").Await(1, 0).Payload(0, "abcd"); },
               absl::StatusCode::kDataLoss},
        Breach{"PayloadCorrupt", [](RawSender& raw) { raw.Announce(0, "abc").Await(1, 0).Payload(0, "abd"); },
               absl::StatusCode::kDataLoss},
        Breach{"PayloadOfNoBatch", [](RawSender& raw) { raw.Announce(0, "").Await(1, 0).Payload(0, "", 0); },
               absl::StatusCode::kInvalidArgument},
        Breach{"PayloadOfMoreBatchesThanGranted",
               [](RawSender& raw) { raw.Announce(0, "abc").Await(1, 0).Payload(0, "abcdef", 2); },
               absl::StatusCode::kInvalidArgument},
        Breach{"SecondBatchOfAPayloadTruncated",
               [](RawSender& raw) { raw.Announce(0, "abc").Announce(1, "def").Await(2, 0).Payload(0, "abcde", 2); },
               absl::StatusCode::kDataLoss},
        Breach{"SecondBatchOfAPayloadCorrupt",
               [](RawSender& raw) { raw.Announce(0, "abc").Announce(1, "def").Await(2, 0).Payload(0, "abcdee", 2); },
               absl::StatusCode::kDataLoss},
        Breach{"BatchTooLarge", [](RawSender& raw) { raw.Announce(0, std::string(1001, 'x')); },
               absl::StatusCode::kInvalidArgument},
        Breach{"WindowOverrun", [](RawSender& raw) { raw.Announce(0, "a").Announce(1, "b").Announce(2, "c"); },
               absl::StatusCode::kResourceExhausted},
        Breach{"CommitOfTooFewBatches",
               [](RawSender& raw) {
                 raw.Announce(0, "abc").Await(1, 0).Payload(0, "abc").Await(1, 1);
                 raw.Commit(9, 0, 0);
               },
               absl::StatusCode::kDataLoss},
        Breach{"CommitWithABatchUnderWay", [](RawSender& raw) { raw.Announce(0, "abc").Await(1, 0).Commit(9, 0, 0); },
               absl::StatusCode::kDataLoss},
        Breach{"CommitOfAnotherTicket", [](RawSender& raw) { raw.Commit(8, 0, 0); }, absl::StatusCode::kDataLoss},
        Breach{"CommitOfGarbage", [](RawSender& raw) { raw.Write(SmallFrame(FrameKind::kCommit, "\xff\xff")); },
               absl::StatusCode::kInvalidArgument},
        Breach{"OpenTwice",
               [](RawSender& raw) { raw.Write(SmallFrame(FrameKind::kOpen, v1::TransferOpen().SerializeAsString())); },
               absl::StatusCode::kInvalidArgument},
        Breach{"ReceiversKind", [](RawSender& raw) { raw.Write(SmallFrame(FrameKind::kAck, "")); },
               absl::StatusCode::kInvalidArgument},
        Breach{"MalformedBytes",
               [](RawSender& raw) {
                 const grpc::Slice slice("\x7a\x7f", 2);
                 raw.WriteBytes(grpc::ByteBuffer(&slice, 1));
               },
               absl::StatusCode::kInvalidArgument},
        Breach{"HalfClose", [](RawSender& raw) { raw.HalfClose(); }, absl::StatusCode::kCancelled},
        Breach{"Cancel", [](RawSender& raw) { raw.Cancel(); }, absl::StatusCode::kCancelled}),
    [](const auto& test) { return test.param.name; });

TEST(GrpcLinkTest, RefusesATransferThatDoesNotStartWithOpen) {
  RecordingSink sink;
  GrpcReach reach(sink);
  EXPECT_EQ(RawSender(reach).Announce(0, "abc").End().code(), absl::StatusCode::kInvalidArgument);
  RawSender garbled(reach);
  garbled.Write(SmallFrame(FrameKind::kOpen, "no fingerprint"));
  EXPECT_EQ(garbled.End().code(), absl::StatusCode::kInvalidArgument);
}

TEST(GrpcLinkTest, EndsATransferWhoseSenderFallsSilent) {
  RecordingSink sink;
  TransferServeOptions options;
  options.idle_limit = absl::Milliseconds(50);
  GrpcReach reach(sink, options);
  RawSender raw(reach);
  raw.Open(9);
  EXPECT_EQ(raw.End().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(sink.Received(9).aborted, 1);
}

TEST(GrpcLinkTest, RefusesABatchThatGetsNoMemoryWithinTheGrantLimit) {
  RecordingSink sink;
  sink.at_grant = [](uint64_t, const BatchHeader&) { return absl::ResourceExhaustedError("all pages are taken"); };
  TransferServeOptions options;
  options.grant_limit = absl::Milliseconds(30);
  GrpcReach reach(sink, options);
  auto sender = reach.link().Open(reach.address(), OpenOf(1), Soon());
  ASSERT_TRUE(sender.ok()) << sender.status();
  ASSERT_TRUE((*sender)->Send(0, {}, Soon()).ok());
  const absl::Status status = (*sender)->Flush(Soon());
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("all pages are taken"));
}

TEST(GrpcLinkTest, KeepsSeveralBatchesInFlight) {
  RecordingSink sink;
  GrpcReach reach(sink);
  // Memory for batch 0 comes only after batch 2 was announced: a sender that waits for each batch would stand still.
  auto sender = reach.link().Open(reach.address(), OpenOf(1), Soon());
  ASSERT_TRUE(sender.ok()) << sender.status();
  absl::Mutex mutex;
  bool sent_all = false;
  sink.at_grant = [&](uint64_t, const BatchHeader&) {
    absl::MutexLock lock(&mutex);
    return sent_all ? absl::OkStatus() : absl::ResourceExhaustedError("not yet");
  };
  const std::string bytes = RandomBytes(100, 1);
  const ConstMemoryRef part = Ref(bytes);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE((*sender)->Send(0, {&part, 1}, Soon()).ok());
  {
    absl::MutexLock lock(&mutex);
    sent_all = true;
  }
  const absl::Status committed = (*sender)->Commit({}, Soon());
  EXPECT_TRUE(committed.ok()) << committed;
  EXPECT_EQ(sink.Received(1).batches.size(), 4u);
}

TEST(GrpcLinkTest, LandsSeveralBatchesOfOneMessage) {
  RecordingSink sink;
  GrpcReach reach(sink);
  RawSender raw(reach);
  raw.Open(9).Announce(0, "abc").Announce(1, "").Announce(2, "defg").Await(3, 0).Payload(0, "abcdefg", 3);
  raw.Await(3, 3).Commit(9, 3, 7).Expect(FrameKind::kCommitted);
  EXPECT_TRUE(raw.End().ok());
  EXPECT_EQ(sink.Received(9).batches, (std::vector<std::string>{"abc", "", "defg"}));
}

TEST(GrpcLinkTest, DeliversBatchesAboveTheUsualMessageLimit) {
  RecordingSink sink;
  GrpcReach reach(sink);
  auto sender = reach.link().Open(reach.address(), OpenOf(1), Soon());
  ASSERT_TRUE(sender.ok()) << sender.status();
  const std::string bytes = RandomBytes((size_t{5} << 20) + 1, 1);
  const ConstMemoryRef part = Ref(bytes);
  ASSERT_TRUE((*sender)->Send(0, {&part, 1}, Soon()).ok());
  const absl::Status committed = (*sender)->Commit({}, Soon());
  EXPECT_TRUE(committed.ok()) << committed;
  EXPECT_TRUE(sink.Received(1).batches == std::vector<std::string>{bytes});
}

// The receiver's end refuses a message at its head, so that the sender's end still holds most of it.
TEST(GrpcLinkTest, LetsGoOfWhatWasNeverSent) {
  RecordingSink sink;
  ServerOptions server;
  server.max_message_bytes = 1 << 20;
  GrpcReach reach(sink, {}, {}, std::move(server));
  auto sender = reach.link().Open(reach.address(), OpenOf(1), Soon());
  ASSERT_TRUE(sender.ok()) << sender.status();
  const std::string bytes((size_t{1} << 20) + 1, 'x');
  const ConstMemoryRef part = Ref(bytes);
  absl::Status status;
  for (int i = 0; i < 30 && status.ok(); ++i) status = (*sender)->Send(0, {&part, 1}, Soon());
  if (status.ok()) status = (*sender)->Flush(Soon());
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  sender->reset();
  ASSERT_TRUE(sink.AwaitEnd(1));
  EXPECT_EQ(sink.Received(1).aborted, 1);
}

// The sink's answer to a commit, given by the test.
struct LateAnswer {
  explicit LateAnswer(RecordingSink& sink) {
    sink.at_answer = [this](std::function<void()> give) {
      answer = std::move(give);
      asked.Notify();
    };
  }
  absl::Notification asked;
  std::function<void()> answer;
};

TEST(GrpcLinkTest, ACommitMayBeAnsweredLaterFromAnyThread) {
  RecordingSink sink;
  LateAnswer late(sink);
  GrpcReach reach(sink);
  RawSender raw(reach);
  raw.Open(9).Commit(9, 0, 0);
  late.asked.WaitForNotification();
  late.answer();
  raw.Expect(FrameKind::kCommitted);
  EXPECT_TRUE(raw.End().ok());
  EXPECT_EQ(sink.Received(9).aborted, 0);
}

TEST(GrpcLinkTest, ASenderGoneBeforeTheAnswerToItsCommitAbortsOnce) {
  RecordingSink sink;
  LateAnswer late(sink);
  GrpcReach reach(sink);
  RawSender raw(reach);
  raw.Open(9).Commit(9, 0, 0);
  late.asked.WaitForNotification();
  raw.Cancel();
  ASSERT_TRUE(sink.AwaitEnd(9));
  EXPECT_EQ(raw.End().code(), absl::StatusCode::kCancelled);
  late.answer();
  EXPECT_EQ(sink.Received(9).aborted, 1);
}

TEST(GrpcLinkTest, ACommitThatIsNeverAnsweredEndsAtTheIdleLimit) {
  RecordingSink sink;
  LateAnswer late(sink);
  TransferServeOptions options;
  options.idle_limit = absl::Milliseconds(30);
  GrpcReach reach(sink, options);
  RawSender raw(reach);
  raw.Open(9).Commit(9, 0, 0);
  EXPECT_EQ(raw.End().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(sink.Received(9).aborted, 1);
}

TEST(GrpcLinkTest, ReportsAReceiverThatIsNotThere) {
  RecordingSink sink;
  GrpcReach reach(sink);
  const std::string address = reach.address();
  reach.StopServer();
  EXPECT_EQ(reach.link().Open(address, OpenOf(1), Soon()).status().code(), absl::StatusCode::kUnavailable);
}

TEST(GrpcLinkTest, AbortsBothEndsWhenTheServerStops) {
  RecordingSink sink;
  GrpcReach reach(sink);
  auto sender = reach.link().Open(reach.address(), OpenOf(1), Soon());
  ASSERT_TRUE(sender.ok()) << sender.status();
  reach.StopServer();
  EXPECT_EQ(sink.Received(1).aborted, 1);
  EXPECT_FALSE((*sender)->Commit({}, Soon()).ok());
}

TEST(GrpcLinkTest, DoesNotLookAtChecksumsWhenToldSo) {
  RecordingSink sink;
  TransferServeOptions serve;
  serve.checksums = false;
  GrpcLinkOptions link;
  link.checksums = false;
  GrpcReach reach(sink, serve, link);
  auto sender = reach.link().Open(reach.address(), OpenOf(1), Soon());
  ASSERT_TRUE(sender.ok()) << sender.status();
  const std::string bytes = RandomBytes(5000, 1);
  const ConstMemoryRef part = Ref(bytes);
  ASSERT_TRUE((*sender)->Send(0, {&part, 1}, Soon()).ok());
  ASSERT_TRUE((*sender)->Commit({}, Soon()).ok());
  EXPECT_EQ(sink.Received(1).batches, std::vector<std::string>{bytes});
  EXPECT_EQ(sink.Received(1).headers[0].crc32c, 0u);
}

}  // namespace
}  // namespace decant
