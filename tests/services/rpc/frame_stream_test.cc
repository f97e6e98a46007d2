#include "services/rpc/frame_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/call_once.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/random.h"
#include "decant/v1/pool.grpc.pb.h"
#include "services/rpc/channel.h"
#include "services/rpc/server.h"

namespace decant {
namespace {

absl::Time Soon() { return absl::Now() + absl::Seconds(30); }

FrameOut Payload(uint64_t sequence, std::string bytes) {
  auto owned = std::make_shared<std::string>(std::move(bytes));
  FrameOut frame;
  frame.parts = {{MemorySpace::kHost, owned->data(), static_cast<int64_t>(owned->size())}};
  frame.head = HeadOf(FrameKind::kPayload, sequence, 0, frame.parts);
  frame.keep = owned;
  return frame;
}

std::string Bytes(size_t size, uint64_t seed) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(MixBits(seed, i));
  return bytes;
}

// What the service under test saw and does; shared by the calls it serves.
struct Script {
  absl::Mutex mutex;
  std::vector<std::string> received;
  int ended = 0;
  absl::Notification destroyed;  // the first of them
  absl::once_flag first_destroyed;
  void NoteDestroyed() {
    absl::call_once(first_destroyed, [this] { destroyed.Notify(); });
  }
  std::function<absl::Status(const FrameIn&)> on_message;
  std::string fetch_request;
  std::vector<FrameOut> to_fetch;
  absl::Status fetch_end;
  std::atomic<int> fetched{0};
  bool slow = false;
};

class ScriptReceiver final : public FrameStreamReceiver {
 public:
  explicit ScriptReceiver(Script& script) : script_(script) {}
  ~ScriptReceiver() override { script_.NoteDestroyed(); }
  absl::Status OnMessage(const FrameIn& message) override {
    if (script_.on_message) {
      if (absl::Status status = script_.on_message(message); !status.ok()) return status;
    }
    auto bytes = message.Payload();
    if (!bytes.ok()) return bytes.status();
    absl::MutexLock lock(&script_.mutex);
    script_.received.push_back(*std::move(bytes));
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> OnEnd() override {
    absl::MutexLock lock(&script_.mutex);
    ++script_.ended;
    return "stored";
  }

 private:
  Script& script_;
};

// Says that it has to wait before every message, and is ready elsewhere or at once.
class SlowSource final : public FrameStreamSource {
 public:
  explicit SlowSource(Script& script) : script_(script) {}
  bool Await(std::function<void()> ready) override {
    const int asked = ++asked_;
    may_ = true;
    if (asked % 3 == 0) return false;
    if (asked % 3 == 1) {
      std::thread(std::move(ready)).detach();  // touches nothing once the call may end
    } else {
      ready();
    }
    return true;
  }
  absl::StatusOr<std::optional<FrameOut>> Next() override {
    EXPECT_TRUE(may_.exchange(false)) << "nobody said that it is ready";
    const auto next = static_cast<size_t>(script_.fetched++);
    if (next < script_.to_fetch.size()) return script_.to_fetch[next];
    return std::nullopt;
  }

 private:
  Script& script_;
  std::atomic<bool> may_{false};
  std::atomic<int> asked_{0};
};

class ScriptSource final : public FrameStreamSource {
 public:
  explicit ScriptSource(Script& script) : script_(script) {}
  ~ScriptSource() override { script_.NoteDestroyed(); }
  absl::StatusOr<std::optional<FrameOut>> Next() override {
    if (next_ < script_.to_fetch.size()) {
      ++script_.fetched;
      return std::optional<FrameOut>(script_.to_fetch[next_++]);
    }
    if (!script_.fetch_end.ok()) return script_.fetch_end;
    return std::optional<FrameOut>();
  }

 private:
  Script& script_;
  size_t next_ = 0;
};

class PoolService final
    : public v1::Pool::WithRawCallbackMethod_Publish<v1::Pool::WithRawCallbackMethod_Fetch<v1::Pool::Service>> {
 public:
  explicit PoolService(Script& script) : script_(script) {}
  grpc::ServerReadReactor<grpc::ByteBuffer>* Publish(grpc::CallbackServerContext*, grpc::ByteBuffer* reply) override {
    return ServeFrameUpload(reply, std::make_unique<ScriptReceiver>(script_));
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Fetch(grpc::CallbackServerContext*,
                                                    const grpc::ByteBuffer* request) override {
    script_.fetch_request = ToString(*request);
    if (script_.slow) return ServeFrameDownload(std::make_unique<SlowSource>(script_));
    return ServeFrameDownload(std::make_unique<ScriptSource>(script_));
  }

 private:
  Script& script_;
};

class FrameStreamTest : public ::testing::Test {
 protected:
  FrameStreamTest() : service_(script_) {
    ServerOptions options;
    options.services = {&service_};
    server_ = *Server::Start(std::move(options));
  }
  std::unique_ptr<FrameUpload> Upload(absl::Time deadline = Soon()) {
    return FrameUpload::Start(channels_.Get(server_->address()), kPublishMethod, deadline);
  }
  std::unique_ptr<FrameDownload> Download(const std::string& request = "", absl::Time deadline = Soon()) {
    return FrameDownload::Start(channels_.Get(server_->address()), kFetchMethod, request, deadline);
  }

  Script script_;
  PoolService service_;
  Channels channels_;
  std::unique_ptr<Server> server_;
};

TEST_F(FrameStreamTest, UploadsMessagesInOrderAndBringsTheReply) {
  auto upload = Upload();
  std::vector<std::string> sent;
  for (uint64_t i = 0; i < 40; ++i) {
    sent.push_back(Bytes(i * 5003 % 70001, i));
    ASSERT_TRUE(upload->Write(Payload(i, sent.back())).ok());
  }
  const auto reply = upload->Finish();
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(*reply, "stored");
  EXPECT_TRUE(script_.received == sent);
  EXPECT_EQ(script_.ended, 1);
}

TEST_F(FrameStreamTest, UploadsNothingAtAll) {
  const auto reply = Upload()->Finish();
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(*reply, "stored");
}

TEST_F(FrameStreamTest, DoesNotCallABrokenUploadComplete) {
  {
    auto upload = Upload();
    ASSERT_TRUE(upload->Write(Payload(0, "half of it")).ok());
  }
  // The call may end before the server has heard of it, or after its first message; never with OnEnd.
  Upload()->Finish().IgnoreError();
  server_.reset();
  EXPECT_LE(script_.ended, 1);
  EXPECT_LE(script_.received.size(), 1u);
}

TEST_F(FrameStreamTest, TellsTheUploaderWhyItWasRefused) {
  script_.on_message = [](const FrameIn& message) {
    return message.head().sequence == 2 ? absl::DataLossError("frame 2 fails its checks") : absl::OkStatus();
  };
  auto upload = Upload();
  absl::Status status;
  for (uint64_t i = 0; i < 1000 && status.ok(); ++i) status = upload->Write(Payload(i, Bytes(1000, i)));
  EXPECT_EQ(status, absl::DataLossError("frame 2 fails its checks"));
  EXPECT_EQ(upload->Finish().status(), absl::DataLossError("frame 2 fails its checks"));
  EXPECT_EQ(script_.received.size(), 2u);
  EXPECT_EQ(script_.ended, 0);
}

TEST_F(FrameStreamTest, RefusesAnUploadOfMessagesThatWentMissing) {
  auto upload = Upload();
  FrameOut commit;
  commit.head.kind = FrameKind::kCommit;
  commit.head.sequence = 3;
  ASSERT_TRUE(upload->Write(Payload(0, "one")).ok());
  ASSERT_TRUE(upload->Write(commit).ok());
  EXPECT_EQ(upload->Finish().status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(script_.ended, 0);
}

TEST_F(FrameStreamTest, CancelsAnUpload) {
  auto upload = Upload();
  upload->Cancel();
  EXPECT_EQ(upload->Finish().status().code(), absl::StatusCode::kCancelled);
}

TEST_F(FrameStreamTest, DownloadsMessagesInOrder) {
  std::vector<std::string> sent;
  for (uint64_t i = 0; i < 40; ++i) {
    sent.push_back(Bytes(i * 5003 % 70001, i));
    script_.to_fetch.push_back(Payload(i, sent.back()));
  }
  auto download = Download("the request");
  for (uint64_t i = 0; i < 40; ++i) {
    auto message = download->Next();
    ASSERT_TRUE(message.ok() && message->has_value()) << message.status();
    EXPECT_EQ((*message)->head().sequence, i);
    std::string bytes(static_cast<size_t>((*message)->payload_bytes()), '\0');
    ASSERT_TRUE((*message)->Land(bytes.data()).ok());
    EXPECT_TRUE(bytes == sent[i]) << i;
  }
  auto end = download->Next();
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_FALSE(end->has_value());
  EXPECT_EQ(script_.fetch_request, "the request");
}

TEST_F(FrameStreamTest, TellsTheDownloaderWhyItEnded) {
  script_.to_fetch = {Payload(0, "one")};
  script_.fetch_end = absl::NotFoundError("the lease has ended");
  auto download = Download();
  auto first = download->Next();
  ASSERT_TRUE(first.ok() && first->has_value()) << first.status();
  EXPECT_EQ(download->Next().status(), absl::NotFoundError("the lease has ended"));
}

TEST_F(FrameStreamTest, DoesNotReadFarAheadOfTheDownloader) {
  // 128 MiB in all; windows, read-ahead and socket buffers hold less than half of it.
  script_.to_fetch.assign(128, Payload(0, std::string(1 << 20, 'x')));
  auto download = Download();
  ASSERT_TRUE(download->Next().ok());
  absl::SleepFor(absl::Milliseconds(200));
  EXPECT_LT(script_.fetched, 64);
  download.reset();
  script_.destroyed.WaitForNotification();
}

TEST_F(FrameStreamTest, ASourceMayWaitBeforeEveryMessage) {
  script_.slow = true;
  for (uint64_t i = 0; i < 20; ++i) script_.to_fetch.push_back(Payload(i, Bytes(1000, i)));
  auto download = Download();
  for (uint64_t i = 0; i < 20; ++i) {
    auto message = download->Next();
    ASSERT_TRUE(message.ok() && message->has_value()) << message.status();
    EXPECT_EQ((*message)->Payload().value(), Bytes(1000, i));
  }
  auto end = download->Next();
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_FALSE(end->has_value());
}

TEST_F(FrameStreamTest, EndsADownloadAtItsDeadline) {
  script_.to_fetch.assign(1000, Payload(0, std::string(1 << 20, 'x')));
  auto download = Download("", absl::Now() + absl::Milliseconds(100));
  absl::Status status;
  while (status.ok()) {
    status = download->Next().status();
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(FrameStreamTest, ReportsAPoolThatIsNotThere) {
  auto upload = Upload();
  server_.reset();
  absl::Status status;
  for (uint64_t i = 0; i < 1000 && status.ok(); ++i) status = upload->Write(Payload(i, "x"));
  EXPECT_FALSE(upload->Finish().ok());
}

}  // namespace
}  // namespace decant
