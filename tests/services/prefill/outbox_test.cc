#include "services/prefill/outbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "absl/synchronization/notification.h"

namespace decant {
namespace {

using ::testing::ElementsAre;

// What went over the link, shared with the test because the outbox owns the sender.
struct Wire {
  absl::Mutex mutex;
  std::vector<std::pair<uint32_t, std::string>> batches;
  bool committed = false;
  absl::Duration commit_left;  // until the deadline of the commit
  absl::Status aborted;
  absl::Status answer;  // to every Send
  bool blocked = false;
  bool waiting = false;    // a Send is blocked
  bool cancelled = false;  // which ends it

  size_t count() {
    absl::MutexLock lock(&mutex);
    return batches.size();
  }
  void WaitFor(size_t batches_wanted) {
    absl::MutexLock lock(&mutex);
    const auto enough = [&] { return batches.size() >= batches_wanted; };
    mutex.Await(absl::Condition(&enough));
  }
};

class FakeSender final : public FrameSender {
 public:
  explicit FakeSender(Wire& wire) : wire_(wire) {}
  absl::Status Send(uint32_t layer, absl::Span<const ConstMemoryRef> parts, absl::Time /*deadline*/) override {
    std::string bytes;
    for (const ConstMemoryRef& part : parts) {
      bytes.append(static_cast<const char*>(part.address), static_cast<size_t>(part.bytes));
    }
    absl::MutexLock lock(&wire_.mutex);
    const auto free = [this] { return !wire_.blocked || wire_.cancelled; };
    wire_.waiting = true;
    wire_.mutex.Await(absl::Condition(&free));
    if (wire_.cancelled) return absl::CancelledError("cut short");
    wire_.batches.emplace_back(layer, bytes);
    return wire_.answer;
  }
  absl::Status Flush(absl::Time /*deadline*/) override { return absl::OkStatus(); }
  absl::Status Commit(TransferCommit /*commit*/, absl::Time deadline) override {
    absl::MutexLock lock(&wire_.mutex);
    wire_.commit_left = deadline - absl::Now();
    wire_.committed = true;
    return absl::OkStatus();
  }
  void Abort(const absl::Status& why) override {
    absl::MutexLock lock(&wire_.mutex);
    wire_.aborted = why;
  }
  void Cancel() override {
    absl::MutexLock lock(&wire_.mutex);
    wire_.cancelled = true;
  }
  int64_t wire_bytes() const override { return 42; }

 private:
  Wire& wire_;
};

std::vector<OutboxPiece> PieceOf(uint32_t layer, const std::string& bytes) {
  OutboxPiece piece;
  piece.layer = layer;
  piece.parts.push_back({MemorySpace::kHost, bytes.data(), static_cast<int64_t>(bytes.size())});
  piece.bytes = static_cast<int64_t>(bytes.size());
  return {piece};
}

std::unique_ptr<Outbox> MakeOutbox(Wire& wire, OutboxOptions options = {}) {
  return std::make_unique<Outbox>(std::make_unique<FakeSender>(wire), options);
}

TEST(OutboxTest, ASendToAReceiverThatHangsIsCutShort) {
  Wire wire;
  wire.blocked = true;
  const std::string bytes = "aa";
  auto outbox = std::make_unique<Outbox>(std::make_unique<FakeSender>(wire), OutboxOptions());
  ASSERT_TRUE(outbox->Add(PieceOf(0, bytes), nullptr, absl::InfiniteFuture()).ok());
  outbox->Release();
  {
    absl::MutexLock lock(&wire.mutex);
    wire.mutex.Await(absl::Condition(&wire.waiting));
  }
  outbox.reset();  // returns, though nobody ever unblocks the sender
  EXPECT_TRUE(wire.cancelled);
  EXPECT_FALSE(wire.committed);
}

TEST(OutboxTest, SendsNothingBeforeRelease) {
  Wire wire;
  const std::string wrong = "wrong prefix", right = "layer 0";
  {
    auto outbox = MakeOutbox(wire);
    ASSERT_TRUE(outbox->Add(PieceOf(0, wrong), nullptr, absl::InfiniteFuture()).ok());
    outbox->Restart();
    ASSERT_TRUE(outbox->Add(PieceOf(0, right), nullptr, absl::InfiniteFuture()).ok());
    EXPECT_EQ(wire.count(), 0u);
    outbox->Release();
    wire.WaitFor(1);
  }
  EXPECT_THAT(wire.batches, ElementsAre(std::pair(0u, right)));
  EXPECT_EQ(wire.aborted.code(), absl::StatusCode::kCancelled);
}

TEST(OutboxTest, GathersWhatWaitsUpToABatch) {
  Wire wire;
  wire.blocked = true;
  OutboxOptions options;
  options.batch_bytes = 4;
  const std::string a = "a", b = "bb", c = "cc", d = "dddddd";
  auto outbox = MakeOutbox(wire, options);
  uint32_t layer = 0;
  for (const std::string* bytes : {&a, &b, &c, &d}) {
    ASSERT_TRUE(outbox->Add(PieceOf(layer++, *bytes), nullptr, absl::InfiniteFuture()).ok());
  }
  outbox->Release();
  {
    absl::MutexLock lock(&wire.mutex);
    wire.blocked = false;
  }
  wire.WaitFor(3);
  EXPECT_THAT(wire.batches, ElementsAre(std::pair(1u, "abb"), std::pair(2u, "cc"), std::pair(3u, "dddddd")));
}

TEST(OutboxTest, CommitsAfterTheLastBatchAndSaysWhatItTook) {
  Wire wire;
  const std::string bytes = "layer";
  auto outbox = MakeOutbox(wire);
  absl::Notification done;
  TransferEnd end;
  ASSERT_TRUE(outbox->Add(PieceOf(0, bytes), nullptr, absl::InfiniteFuture()).ok());
  outbox->Release();
  outbox->Commit(TransferCommit(), absl::InfiniteFuture(), [&](const TransferEnd& e) {
    end = e;
    done.Notify();
  });
  done.WaitForNotification();
  EXPECT_TRUE(outbox->WaitEnded(absl::InfiniteFuture()));
  outbox.reset();
  EXPECT_TRUE(end.status.ok());
  EXPECT_EQ(end.wire_bytes, 42);
  EXPECT_TRUE(wire.committed);
  EXPECT_LE(wire.commit_left, OutboxOptions().commit_limit);  // though the caller would wait for ever
  EXPECT_TRUE(wire.aborted.ok());
  EXPECT_EQ(wire.batches.size(), 1u);
}

TEST(OutboxTest, WaitingForTheEndHasADeadline) {
  Wire wire;
  auto outbox = MakeOutbox(wire);
  EXPECT_FALSE(outbox->WaitEnded(absl::InfinitePast()));
  outbox->Abort(absl::CancelledError("no more"));
  EXPECT_TRUE(outbox->WaitEnded(absl::InfiniteFuture()));
}

TEST(OutboxTest, ABrokenLinkEndsEverything) {
  Wire wire;
  wire.answer = absl::UnavailableError("gone");
  const std::string bytes = "layer";
  auto outbox = MakeOutbox(wire);
  ASSERT_TRUE(outbox->Add(PieceOf(0, bytes), nullptr, absl::InfiniteFuture()).ok());
  outbox->Release();
  EXPECT_TRUE(outbox->WaitEnded(absl::InfiniteFuture()));
  EXPECT_EQ(outbox->Add(PieceOf(1, bytes), nullptr, absl::InfiniteFuture()).code(), absl::StatusCode::kUnavailable);
  absl::Status end;
  outbox->Commit(TransferCommit(), absl::InfiniteFuture(), [&](const TransferEnd& e) { end = e.status; });
  EXPECT_EQ(end.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(wire.aborted.code(), absl::StatusCode::kUnavailable);
}

TEST(OutboxTest, AFullQueueMakesTheProducerWaitUntilItsDeadline) {
  Wire wire;
  OutboxOptions options;
  options.queue_bytes = 4;
  const std::string bytes = "12345";
  auto outbox = MakeOutbox(wire, options);
  ASSERT_TRUE(outbox->Add(PieceOf(0, bytes), nullptr, absl::InfiniteFuture()).ok());
  EXPECT_TRUE(outbox->full());
  EXPECT_EQ(outbox->Add(PieceOf(1, bytes), nullptr, absl::InfinitePast()).code(), absl::StatusCode::kDeadlineExceeded);
  outbox->Release();
  wire.WaitFor(1);
  EXPECT_TRUE(outbox->Add(PieceOf(1, bytes), nullptr, absl::InfiniteFuture()).ok());
}

TEST(OutboxTest, GivesASignOfLifeWhileNothingIsToSend) {
  Wire wire;
  OutboxOptions options;
  options.sign_of_life = absl::Milliseconds(1);
  auto outbox = MakeOutbox(wire, options);
  wire.WaitFor(2);
  absl::MutexLock lock(&wire.mutex);
  EXPECT_EQ(wire.batches[0].second, "");
}

TEST(OutboxTest, LetsSentMemoryGoWhenItIsAcknowledged) {
  Wire wire;
  OutboxOptions options;
  options.unacknowledged_bytes = 4;
  const std::string bytes = "12345";
  auto outbox = MakeOutbox(wire, options);
  outbox->Release();
  auto keep = std::make_shared<int>(0);
  absl::Notification freed;
  std::shared_ptr<const void> watched(keep.get(), [&freed](const void*) { freed.Notify(); });
  ASSERT_TRUE(outbox->Add(PieceOf(0, bytes), std::move(watched), absl::InfiniteFuture()).ok());
  freed.WaitForNotification();
}

}  // namespace
}  // namespace decant
