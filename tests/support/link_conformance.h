// What every FrameLink must do, as one suite: instantiate it with a type that is built from a FrameSink and has link()
// and address().
#ifndef DECANT_TESTS_SUPPORT_LINK_CONFORMANCE_H_
#define DECANT_TESTS_SUPPORT_LINK_CONFORMANCE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/crc32c.h"
#include "common/base/random.h"
#include "common/link/frame_link.h"
#include "tests/support/faulty_link.h"
#include "tests/support/recording_sink.h"

namespace decant {

inline std::string RandomBytes(size_t size, uint64_t seed) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(MixBits(seed, i));
  return bytes;
}

inline ConstMemoryRef Ref(const std::string& bytes) {
  return {MemorySpace::kHost, bytes.data(), static_cast<int64_t>(bytes.size())};
}

inline TransferOpen OpenOf(uint64_t ticket) {
  TransferOpen open;
  open.ticket = ticket;
  open.sender = "127.0.0.1:7";
  open.model_fingerprint = Sha256("a model");
  open.frame_version = 3;
  return open;
}

inline absl::Time Soon() { return absl::Now() + absl::Seconds(30); }

template <typename Reach>
class LinkConformance : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<FrameSender>> Open(uint64_t ticket) {
    return reach_.link().Open(reach_.address(), OpenOf(ticket), Soon());
  }
  // Sends each batch, then flushes: the first error, wherever the link reports it.
  static absl::Status SendAll(FrameSender& sender, const std::vector<std::string>& batches) {
    for (size_t i = 0; i < batches.size(); ++i) {
      const ConstMemoryRef part = Ref(batches[i]);
      if (absl::Status sent = sender.Send(static_cast<uint32_t>(i), {&part, 1}, Soon()); !sent.ok()) return sent;
    }
    return sender.Flush(Soon());
  }

  RecordingSink sink_;
  Reach reach_{sink_};
};

TYPED_TEST_SUITE_P(LinkConformance);

TYPED_TEST_P(LinkConformance, DeliversBatchesInOrderAndCommits) {
  const std::vector<std::string> batches = {RandomBytes(1000, 1), RandomBytes(70000, 2), RandomBytes(300, 3)};
  auto sender = this->Open(7);
  ASSERT_TRUE(sender.ok()) << sender.status();
  ASSERT_TRUE(this->SendAll(**sender, batches).ok());
  TransferCommit commit;
  commit.prompt_tokens = 11;
  commit.first_token = 42;
  commit.prefix_tokens_reused = 4;
  commit.tokens_computed = 7;
  commit.finished = true;
  ASSERT_TRUE((*sender)->Commit(commit, Soon()).ok());

  const ReceivedTransfer got = this->sink_.Received(7);
  EXPECT_EQ(got.open.sender, "127.0.0.1:7");
  EXPECT_EQ(got.open.model_fingerprint, Sha256("a model"));
  EXPECT_EQ(got.open.frame_version, 3u);
  EXPECT_EQ(got.batches, batches);
  for (size_t i = 0; i < batches.size(); ++i) {
    EXPECT_EQ(got.headers[i].sequence, i);
    EXPECT_EQ(got.headers[i].layer, i);
    EXPECT_EQ(got.headers[i].crc32c, Crc32c(batches[i].data(), batches[i].size()));
  }
  ASSERT_TRUE(got.commit.has_value());
  EXPECT_EQ(got.commit->ticket, 7u);
  EXPECT_EQ(got.commit->batches, 3u);
  EXPECT_EQ(got.commit->payload_bytes, 71300);
  EXPECT_EQ(got.commit->prompt_tokens, 11);
  EXPECT_EQ(got.commit->first_token, 42);
  EXPECT_EQ(got.commit->prefix_tokens_reused, 4);
  EXPECT_EQ(got.commit->tokens_computed, 7);
  EXPECT_TRUE(got.commit->finished);
  EXPECT_EQ(got.aborted, 0);
  EXPECT_GE((*sender)->wire_bytes(), 71300);
  EXPECT_LT((*sender)->wire_bytes(), 72500);
}

TYPED_TEST_P(LinkConformance, CommitsWithoutAnyBatch) {
  auto sender = this->Open(1);
  ASSERT_TRUE(sender.ok()) << sender.status();
  EXPECT_TRUE((*sender)->Commit({}, Soon()).ok());
  EXPECT_EQ(this->sink_.Received(1).commit->batches, 0u);
}

TYPED_TEST_P(LinkConformance, DeliversAnEmptyBatch) {
  auto sender = this->Open(1);
  ASSERT_TRUE(sender.ok()) << sender.status();
  ASSERT_TRUE((*sender)->Send(5, {}, Soon()).ok());
  ASSERT_TRUE((*sender)->Commit({}, Soon()).ok());
  EXPECT_EQ(this->sink_.Received(1).batches, std::vector<std::string>{""});
  EXPECT_EQ(this->sink_.Received(1).headers[0].layer, 5u);
}

TYPED_TEST_P(LinkConformance, JoinsManyParts) {
  std::vector<std::string> pieces;
  std::vector<ConstMemoryRef> parts;
  std::string whole;
  for (size_t i = 0; i < 300; ++i) pieces.push_back(RandomBytes(i * 7 % 61, i));
  for (const std::string& piece : pieces) {
    parts.push_back(Ref(piece));
    whole += piece;
  }
  auto sender = this->Open(1);
  ASSERT_TRUE(sender.ok()) << sender.status();
  ASSERT_TRUE((*sender)->Send(0, parts, Soon()).ok());
  ASSERT_TRUE((*sender)->Commit({}, Soon()).ok());
  EXPECT_EQ(this->sink_.Received(1).batches, std::vector<std::string>{whole});
}

TYPED_TEST_P(LinkConformance, DeliversOddSizes) {
  std::vector<std::string> batches;
  for (const size_t size :
       {1u, 2u, 127u, 128u, 129u, 3071u, 3072u, 3073u, 16383u, 16384u, 16385u, 1048575u, 1048577u}) {
    batches.push_back(RandomBytes(size, size));
  }
  auto sender = this->Open(1);
  ASSERT_TRUE(sender.ok()) << sender.status();
  ASSERT_TRUE(this->SendAll(**sender, batches).ok());
  ASSERT_TRUE((*sender)->Commit({}, Soon()).ok());
  EXPECT_TRUE(this->sink_.Received(1).batches == batches);
}

TYPED_TEST_P(LinkConformance, AbortsWithDataLossWhenABitFlipsOnTheWay) {
  std::vector<std::string> batches = {RandomBytes(5000, 1), RandomBytes(5000, 2)};
  // The grant comes after the checksum was taken and before the bytes move.
  this->sink_.at_grant = [&](uint64_t, const BatchHeader& header) {
    if (header.sequence == 1) batches[1][4321] = static_cast<char>(batches[1][4321] ^ 16);
    return absl::OkStatus();
  };
  auto sender = this->Open(1);
  ASSERT_TRUE(sender.ok()) << sender.status();
  EXPECT_EQ(this->SendAll(**sender, batches).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ((*sender)->Commit({}, Soon()).code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(this->sink_.AwaitEnd(1));
  const ReceivedTransfer got = this->sink_.Received(1);
  EXPECT_EQ(got.batches.size(), 1u);
  EXPECT_EQ(got.aborted, 1);
  EXPECT_EQ(got.why.code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(got.commit.has_value());
}

TYPED_TEST_P(LinkConformance, TellsTheSenderWhyItWasRefused) {
  this->sink_.at_open = [](const TransferOpen&) { return absl::FailedPreconditionError("another model"); };
  const auto sender = this->Open(1);
  EXPECT_EQ(sender.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(sender.status().message()), ::testing::HasSubstr("another model"));
  EXPECT_EQ(this->sink_.Received(1).aborted, 0);
}

TYPED_TEST_P(LinkConformance, AsksAgainForMemoryUntilItIsGranted) {
  std::atomic<int> refusals{0};
  this->sink_.at_grant = [&](uint64_t, const BatchHeader&) {
    return refusals++ < 5 ? absl::ResourceExhaustedError("no memory now") : absl::OkStatus();
  };
  auto sender = this->Open(1);
  ASSERT_TRUE(sender.ok()) << sender.status();
  const std::vector<std::string> batches = {RandomBytes(100, 1), RandomBytes(100, 2), RandomBytes(100, 3)};
  ASSERT_TRUE(this->SendAll(**sender, batches).ok());
  EXPECT_TRUE((*sender)->Commit({}, Soon()).ok());
  EXPECT_EQ(this->sink_.Received(1).batches, batches);
  EXPECT_EQ(refusals, 5 + 3);
}

TYPED_TEST_P(LinkConformance, GivesUpAtTheDeadlineWhenMemoryNeverComes) {
  this->sink_.at_grant = [](uint64_t, const BatchHeader&) { return absl::ResourceExhaustedError("no memory ever"); };
  auto sender = this->Open(1);
  ASSERT_TRUE(sender.ok()) << sender.status();
  const std::string bytes = RandomBytes(100, 1);
  const ConstMemoryRef part = Ref(bytes);
  const absl::Time deadline = absl::Now() + absl::Milliseconds(100);
  absl::Status status = (*sender)->Send(0, {&part, 1}, deadline);
  if (status.ok()) status = (*sender)->Flush(deadline);
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
  EXPECT_EQ((*sender)->Send(0, {&part, 1}, Soon()).code(), absl::StatusCode::kDeadlineExceeded);
  ASSERT_TRUE(this->sink_.AwaitEnd(1));
  EXPECT_EQ(this->sink_.Received(1).aborted, 1);
}

TYPED_TEST_P(LinkConformance, RefusesAGrantThatIsTooSmall) {
  this->sink_.grant_short_by = 1;
  auto sender = this->Open(1);
  ASSERT_TRUE(sender.ok()) << sender.status();
  EXPECT_EQ(this->SendAll(**sender, {RandomBytes(100, 1)}).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(this->sink_.AwaitEnd(1));
  EXPECT_EQ(this->sink_.Received(1).aborted, 1);
}

TYPED_TEST_P(LinkConformance, StopsWhenTheReceiverAborts) {
  this->sink_.at_landed = [](uint64_t, const BatchHeader& header) {
    return header.sequence == 2 ? absl::NotFoundError("the ticket has ended") : absl::OkStatus();
  };
  auto sender = this->Open(1);
  ASSERT_TRUE(sender.ok()) << sender.status();
  const absl::Status status = this->SendAll(**sender, std::vector<std::string>(20, RandomBytes(3000, 1)));
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
  ASSERT_TRUE(this->sink_.AwaitEnd(1));
  EXPECT_EQ(this->sink_.Received(1).aborted, 1);
  EXPECT_EQ(this->sink_.Received(1).batches.size(), 2u);
}

TYPED_TEST_P(LinkConformance, AbortsWhenTheSenderIsDestroyed) {
  {
    auto sender = this->Open(1);
    ASSERT_TRUE(sender.ok()) << sender.status();
    ASSERT_TRUE(this->SendAll(**sender, {RandomBytes(3000, 1)}).ok());
  }
  ASSERT_TRUE(this->sink_.AwaitEnd(1));
  const ReceivedTransfer got = this->sink_.Received(1);
  EXPECT_EQ(got.aborted, 1);
  EXPECT_FALSE(got.commit.has_value());
}

TYPED_TEST_P(LinkConformance, TellsTheReceiverWhyTheSenderGaveUp) {
  auto sender = this->Open(1);
  ASSERT_TRUE(sender.ok()) << sender.status();
  (*sender)->Abort(absl::CancelledError("the client left"));
  EXPECT_EQ((*sender)->Flush(Soon()).code(), absl::StatusCode::kCancelled);
  sender->reset();
  ASSERT_TRUE(this->sink_.AwaitEnd(1));
  EXPECT_EQ(this->sink_.Received(1).aborted, 1);
  EXPECT_EQ(this->sink_.Received(1).why, absl::CancelledError("the client left"));
}

TYPED_TEST_P(LinkConformance, CommitsExactlyOnce) {
  std::atomic<int> commits{0};
  this->sink_.at_commit = [&](const TransferCommit&) {
    ++commits;
    return absl::OkStatus();
  };
  auto sender = this->Open(1);
  ASSERT_TRUE(sender.ok()) << sender.status();
  const std::string bytes = RandomBytes(10, 1);
  const ConstMemoryRef part = Ref(bytes);
  ASSERT_TRUE((*sender)->Commit({}, Soon()).ok());
  EXPECT_FALSE((*sender)->Commit({}, Soon()).ok());
  EXPECT_FALSE((*sender)->Send(0, {&part, 1}, Soon()).ok());
  (*sender)->Abort(absl::CancelledError("too late"));
  sender->reset();
  EXPECT_EQ(commits, 1);
  EXPECT_EQ(this->sink_.Received(1).aborted, 0);
}

TYPED_TEST_P(LinkConformance, AbortsWhenTheReceiverRefusesTheCommit) {
  this->sink_.at_commit = [](const TransferCommit&) { return absl::FailedPreconditionError("layer 3 is missing"); };
  auto sender = this->Open(1);
  ASSERT_TRUE(sender.ok()) << sender.status();
  ASSERT_TRUE(this->SendAll(**sender, {RandomBytes(10, 1)}).ok());
  EXPECT_EQ((*sender)->Commit({}, Soon()).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(this->sink_.AwaitEnd(1));
  EXPECT_EQ(this->sink_.Received(1).aborted, 1);
}

TYPED_TEST_P(LinkConformance, CarriesTicketsConcurrently) {
  constexpr uint64_t kTickets = 6;
  std::vector<std::vector<std::string>> batches(kTickets);
  for (uint64_t t = 0; t < kTickets; ++t) {
    for (uint64_t b = 0; b < 12; ++b) batches[t].push_back(RandomBytes(1000 * b + t, 100 * t + b));
  }
  std::vector<absl::Status> ends(kTickets);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kTickets; ++t) {
    threads.emplace_back([&, t] {
      auto sender = this->Open(t);
      ends[t] = sender.ok() ? this->SendAll(**sender, batches[t]) : sender.status();
      if (ends[t].ok()) ends[t] = (*sender)->Commit({}, Soon());
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (uint64_t t = 0; t < kTickets; ++t) {
    EXPECT_TRUE(ends[t].ok()) << ends[t];
    EXPECT_TRUE(this->sink_.Received(t).batches == batches[t]) << t;
    EXPECT_TRUE(this->sink_.Received(t).commit.has_value()) << t;
  }
  EXPECT_FALSE(this->sink_.overlapped());
}

TYPED_TEST_P(LinkConformance, CarriesWhatAFaultyLinkMakesOfATransfer) {
  std::vector<absl::Duration> waits;
  FaultyLink faulty(this->reach_.link(),
                    {{.kind = FaultKind::kDrop, .batch = 0},
                     {.kind = FaultKind::kCorrupt, .batch = 1, .at_bit = 8},
                     {.kind = FaultKind::kTruncate, .batch = 2, .bytes = 2},
                     {.kind = FaultKind::kDuplicate, .batch = 3},
                     {.kind = FaultKind::kReorder, .batch = 4},
                     {.kind = FaultKind::kDelay, .batch = 5, .delay = absl::Seconds(3)}},
                    [&](absl::Duration time) { waits.push_back(time); });
  auto sender = faulty.Open(this->reach_.address(), OpenOf(1), Soon());
  ASSERT_TRUE(sender.ok()) << sender.status();
  ASSERT_TRUE(this->SendAll(**sender, {"drop", "aAa", "truncate", "twice", "after", "before"}).ok());
  ASSERT_TRUE((*sender)->Commit({}, Soon()).ok());
  EXPECT_EQ(this->sink_.Received(1).batches,
            (std::vector<std::string>{"a@a", "trunca", "twice", "twice", "before", "after"}));
  EXPECT_EQ(waits, std::vector<absl::Duration>{absl::Seconds(3)});
}

TYPED_TEST_P(LinkConformance, BreaksOnAFaultyLink) {
  FaultyLink faulty(this->reach_.link(), {{.kind = FaultKind::kBreak, .batch = 1}}, [](absl::Duration) {});
  auto sender = faulty.Open(this->reach_.address(), OpenOf(1), Soon());
  ASSERT_TRUE(sender.ok()) << sender.status();
  EXPECT_EQ(this->SendAll(**sender, {"one", "two", "three"}).code(), absl::StatusCode::kUnavailable);
  ASSERT_TRUE(this->sink_.AwaitEnd(1));
  EXPECT_EQ(this->sink_.Received(1).aborted, 1);
  EXPECT_LE(this->sink_.Received(1).batches.size(), 1u);
}

REGISTER_TYPED_TEST_SUITE_P(LinkConformance, DeliversBatchesInOrderAndCommits, CommitsWithoutAnyBatch,
                            DeliversAnEmptyBatch, JoinsManyParts, DeliversOddSizes,
                            AbortsWithDataLossWhenABitFlipsOnTheWay, TellsTheSenderWhyItWasRefused,
                            AsksAgainForMemoryUntilItIsGranted, GivesUpAtTheDeadlineWhenMemoryNeverComes,
                            RefusesAGrantThatIsTooSmall, StopsWhenTheReceiverAborts, AbortsWhenTheSenderIsDestroyed,
                            TellsTheReceiverWhyTheSenderGaveUp, CommitsExactlyOnce,
                            AbortsWhenTheReceiverRefusesTheCommit, CarriesTicketsConcurrently,
                            CarriesWhatAFaultyLinkMakesOfATransfer, BreaksOnAFaultyLink);

}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_LINK_CONFORMANCE_H_
