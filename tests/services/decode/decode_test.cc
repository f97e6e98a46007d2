#include "services/decode/decode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "absl/synchronization/notification.h"

#include "tests/services/decode/fake_batch.h"

namespace decant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Reader final : public AnswerReceiver {
 public:
  absl::Status Write(const AnswerTokens& tokens) override {
    if (first_index < 0) first_index = tokens.index;
    all.insert(all.end(), tokens.tokens.begin(), tokens.tokens.end());
    if (tokens.last) last = tokens;
    return write_status;
  }
  void Finish(const absl::Status& status) override { end = status; }

  int64_t first_index = -1;
  std::vector<int32_t> all;
  std::optional<AnswerTokens> last;
  std::optional<absl::Status> end;
  absl::Status write_status;
};

class DecodeTest : public ::testing::Test {
 protected:
  void Make(int64_t pages, int32_t waiting_limit = 2) {
    record_.pages = pages;
    DecodeCoreOptions options;
    options.model = Sha256("model");
    options.geometry = Geometry{2, 4, 2, 64};
    options.run_type = RunType::kF32;
    options.max_positions = 1000;
    options.frame_version = 1;
    options.catalogue = *Catalogue::BuiltIn();
    options.waiting_limit = waiting_limit;
    options.landing_bytes = 4 * LandingArea::kSlotBytes;
    options.now = [this] { return now_; };
    core_ = std::make_unique<Decode>(std::make_unique<FakeBatch>(record_), std::move(options));
  }

  Reservation Ask(int32_t prompt, int32_t answer) const {
    Reservation reservation;
    reservation.model = Sha256("model");
    reservation.run_type = RunType::kF32;
    reservation.profile = "full";
    reservation.prompt_tokens = prompt;
    reservation.max_tokens = answer;
    reservation.wait = absl::Seconds(3);
    return reservation;
  }

  // The answer to a reservation is in `slot` after the engine ran.
  uint64_t Reserve(const Reservation& reservation, std::optional<absl::StatusOr<Ticket>>& slot) {
    return core_->Reserve(reservation, [&slot](absl::StatusOr<Ticket> ticket) { slot = std::move(ticket); });
  }
  uint64_t ReserveNow(int32_t prompt, int32_t answer) {
    std::optional<absl::StatusOr<Ticket>> granted;
    Reserve(Ask(prompt, answer), granted);
    core_->RunOnce();
    EXPECT_TRUE(granted.has_value() && granted->ok());
    return (*granted)->id;
  }
  absl::Status Open(uint64_t ticket) { return core_->Open(TransferOpen{ticket, "prefill", Sha256("model"), 1}); }
  absl::Status SendBatch(uint64_t ticket, uint64_t sequence, const std::string& bytes) {
    const BatchHeader header{sequence, 0, static_cast<int64_t>(bytes.size()), 0};
    auto memory = core_->Grant(ticket, header);
    if (!memory.ok()) return memory.status();
    std::memcpy(memory->address, bytes.data(), bytes.size());
    return core_->Landed(ticket, header, *memory);
  }
  static TransferCommit CommitOf(uint64_t ticket, uint64_t batches, int32_t prompt, int32_t first_token) {
    TransferCommit commit;
    commit.ticket = ticket;
    commit.batches = batches;
    commit.prompt_tokens = prompt;
    commit.first_token = first_token;
    return commit;
  }
  // The answer to a commit is in `slot` after the engine ran, unless the commit was refused at once.
  void StartCommit(const TransferCommit& commit, std::optional<absl::Status>& slot) {
    core_->Committed(commit, [&slot](const absl::Status& status) {
      EXPECT_FALSE(slot.has_value());
      slot = status;
    });
  }
  absl::Status Commit(uint64_t ticket, uint64_t batches, int32_t prompt, int32_t first_token) {
    std::optional<absl::Status> answer;
    StartCommit(CommitOf(ticket, batches, prompt, first_token), answer);
    if (!answer.has_value()) core_->RunOnce();
    return answer.value_or(absl::UnknownError("no answer"));
  }

  absl::Time now_ = absl::UnixEpoch();
  FakeBatch::Record record_;
  std::unique_ptr<Decode> core_;
};

TEST_F(DecodeTest, ACommitWaitsForNoThread) {
  Make(100);
  const uint64_t ticket = ReserveNow(10, 5);
  ASSERT_TRUE(Open(ticket).ok());
  ASSERT_TRUE(SendBatch(ticket, 0, "frames").ok());
  std::optional<absl::Status> answer, second;
  StartCommit(CommitOf(ticket, 1, 10, 50), answer);  // on the only thread there is
  EXPECT_FALSE(answer.has_value());
  EXPECT_THAT(record_.imported, IsEmpty());
  StartCommit(CommitOf(ticket, 1, 10, 50), second);
  EXPECT_EQ(second->code(), absl::StatusCode::kFailedPrecondition) << *second;
  core_->RunOnce();
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(answer->ok()) << *answer;
  EXPECT_THAT(record_.imported, ElementsAre("frames"));
}

TEST_F(DecodeTest, ACommitThatIsAbortedMeanwhileNeverJoins) {
  Make(100);
  const uint64_t ticket = ReserveNow(10, 5);
  ASSERT_TRUE(Open(ticket).ok());
  std::optional<absl::Status> answer;
  StartCommit(CommitOf(ticket, 0, 10, 50), answer);
  core_->Aborted(ticket, absl::CancelledError("the sender went away"));
  core_->RunOnce();
  EXPECT_FALSE(answer.has_value());
  EXPECT_EQ(core_->load().running, 0);
  EXPECT_EQ(record_.reserved, 0);
}

TEST_F(DecodeTest, ACommitOutstandingAtTheEndIsAnswered) {
  Make(100);
  const uint64_t ticket = ReserveNow(10, 5);
  ASSERT_TRUE(Open(ticket).ok());
  std::optional<absl::Status> answer;
  StartCommit(CommitOf(ticket, 0, 10, 50), answer);
  core_.reset();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->code(), absl::StatusCode::kUnavailable);
}

TEST_F(DecodeTest, StreamsAnAnswerFromItsFirstTokenAndFreesItsPages) {
  Make(100);
  const uint64_t ticket = ReserveNow(10, 4);
  auto reader = std::make_shared<Reader>();
  ASSERT_TRUE(core_->Subscribe(ticket, reader).ok());
  ASSERT_TRUE(Open(ticket).ok());
  ASSERT_TRUE(SendBatch(ticket, 0, "frames").ok());
  ASSERT_TRUE(Commit(ticket, 1, 10, 50).ok());
  while (core_->RunOnce()) {
  }
  EXPECT_THAT(record_.imported, ElementsAre("frames"));
  EXPECT_THAT(reader->all, ElementsAre(50, 51, 52, 53));
  ASSERT_TRUE(reader->last.has_value());
  EXPECT_EQ(reader->last->finish_reason, "length");
  EXPECT_EQ(reader->last->resident_bytes, 14000);
  EXPECT_EQ(reader->last->full_bytes, 13 * 4 * 2 * 2 * 64);
  EXPECT_EQ(reader->last->counts.high, 7);
  EXPECT_TRUE(reader->end->ok());
  EXPECT_EQ(record_.reserved, 0);
}

TEST_F(DecodeTest, KeepsTokensForAReaderThatComesAfterTheEnd) {
  Make(100);
  const uint64_t ticket = ReserveNow(10, 2);
  ASSERT_TRUE(Open(ticket).ok());
  ASSERT_TRUE(Commit(ticket, 0, 10, 5).ok());
  while (core_->RunOnce()) {
  }
  EXPECT_EQ(record_.reserved, 0);
  auto reader = std::make_shared<Reader>();
  ASSERT_TRUE(core_->Subscribe(ticket, reader).ok());
  core_->RunOnce();
  EXPECT_THAT(reader->all, ElementsAre(5, 6));
  EXPECT_TRUE(reader->end->ok());
  EXPECT_EQ(core_->Subscribe(ticket, reader).code(), absl::StatusCode::kNotFound);
}

TEST_F(DecodeTest, EndsWithTheFirstTokenWhenItIsAnEndToken) {
  Make(100);
  Reservation ask = Ask(10, 20);
  ask.end_tokens = {9};
  std::optional<absl::StatusOr<Ticket>> granted;
  Reserve(ask, granted);
  core_->RunOnce();
  const uint64_t ticket = (*granted)->id;
  auto reader = std::make_shared<Reader>();
  ASSERT_TRUE(core_->Subscribe(ticket, reader).ok());
  ASSERT_TRUE(Open(ticket).ok());
  ASSERT_TRUE(Commit(ticket, 0, 10, 9).ok());
  core_->RunOnce();
  EXPECT_THAT(reader->all, ElementsAre(9));
  EXPECT_EQ(reader->last->finish_reason, "stop");
  EXPECT_EQ(record_.reserved, 0);
  EXPECT_EQ(record_.steps, 0);
}

TEST_F(DecodeTest, QueuesReservationsInOrderThenRefuses) {
  Make(20, 2);
  const uint64_t first = ReserveNow(10, 5);
  std::optional<absl::StatusOr<Ticket>> second, third, fourth;
  Reserve(Ask(10, 5), second);
  Reserve(Ask(2, 1), third);  // would fit, but is not first
  Reserve(Ask(10, 5), fourth);
  ASSERT_TRUE(fourth.has_value());
  EXPECT_EQ(fourth->status().code(), absl::StatusCode::kResourceExhausted);
  core_->RunOnce();
  EXPECT_FALSE(second.has_value());
  EXPECT_FALSE(third.has_value());
  EXPECT_EQ(core_->load().waiting, 2);
  core_->Release(first);
  core_->RunOnce();
  EXPECT_TRUE(second.has_value() && second->ok());
  EXPECT_TRUE(third.has_value() && third->ok());
}

TEST_F(DecodeTest, RefusesAReservationThatWaitedTooLong) {
  Make(20);
  ReserveNow(10, 5);
  std::optional<absl::StatusOr<Ticket>> late;
  Reserve(Ask(10, 5), late);
  core_->RunOnce();
  now_ += absl::Milliseconds(2999);
  core_->RunOnce();
  EXPECT_FALSE(late.has_value());
  now_ += absl::Milliseconds(1);
  core_->RunOnce();
  ASSERT_TRUE(late.has_value());
  EXPECT_EQ(late->status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(core_->load().waiting, 0);
}

TEST_F(DecodeTest, ATicketSaysWhichProfileItIsFor) {
  Make(20);
  std::optional<absl::StatusOr<Ticket>> answer;
  Reservation ask = Ask(10, 5);
  ask.profile_digest = Catalogue::BuiltIn()->Find("full")->digest;
  Reserve(ask, answer);
  core_->RunOnce();
  ASSERT_TRUE(answer.has_value() && answer->ok());
  EXPECT_EQ((*answer)->profile, ask.profile_digest);
}

TEST_F(DecodeTest, RefusesWhatCannotBe) {
  Make(20);
  std::optional<absl::StatusOr<Ticket>> answer;
  Reservation ask = Ask(10, 5);
  ask.model = Sha256("other");
  Reserve(ask, answer);
  EXPECT_EQ(answer->status().code(), absl::StatusCode::kFailedPrecondition);
  ask = Ask(10, 5);
  ask.run_type = RunType::kBf16;
  Reserve(ask, answer);
  EXPECT_EQ(answer->status().code(), absl::StatusCode::kFailedPrecondition);
  ask = Ask(10, 5);
  ask.profile = "no such";
  Reserve(ask, answer);
  EXPECT_EQ(answer->status().code(), absl::StatusCode::kNotFound);
  ask = Ask(10, 5);
  ask.profile_digest = Sha256("another profile of that name");
  Reserve(ask, answer);
  EXPECT_EQ(answer->status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(answer->status().message()), HasSubstr("--profiles-dir"));
  for (const auto& [prompt, tokens] : {std::pair{0, 5}, {5, 0}, {999, 2}, {-1, 5}, {5, INT32_MAX}, {INT32_MIN, 1}}) {
    Reserve(Ask(prompt, tokens), answer);
    EXPECT_EQ(answer->status().code(), absl::StatusCode::kInvalidArgument) << prompt << " " << tokens;
  }
  Reserve(Ask(100, 5), answer);  // more pages than there are
  core_->RunOnce();
  EXPECT_EQ(answer->status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(core_->load().waiting, 0);
}

TEST_F(DecodeTest, ReleasesAReservationAtItsDeadline) {
  Make(20);
  const uint64_t ticket = ReserveNow(10, 5);
  auto reader = std::make_shared<Reader>();
  ASSERT_TRUE(core_->Subscribe(ticket, reader).ok());
  now_ += absl::Seconds(60);
  core_->RunOnce();
  EXPECT_EQ(record_.reserved, 0);
  EXPECT_EQ(reader->end->code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Open(ticket).code(), absl::StatusCode::kNotFound);
}

TEST_F(DecodeTest, ProgressRenewsATransferAndSilenceEndsIt) {
  Make(20);
  const uint64_t ticket = ReserveNow(10, 5);
  ASSERT_TRUE(Open(ticket).ok());
  now_ += absl::Seconds(4);
  ASSERT_TRUE(SendBatch(ticket, 0, "x").ok());
  now_ += absl::Seconds(4);
  ASSERT_TRUE(SendBatch(ticket, 1, "").ok());  // a sign of life
  now_ += absl::Seconds(4);
  core_->RunOnce();
  EXPECT_GT(record_.reserved, 0);
  now_ += absl::Seconds(1);
  core_->RunOnce();
  EXPECT_EQ(record_.reserved, 0);
  EXPECT_EQ(SendBatch(ticket, 2, "x").code(), absl::StatusCode::kDeadlineExceeded);
  core_->Aborted(ticket, absl::UnavailableError("gone"));
  EXPECT_EQ(SendBatch(ticket, 2, "x").code(), absl::StatusCode::kNotFound);
}

TEST_F(DecodeTest, AskingForRoomInAFullLandingAreaIsASignOfLife) {
  Make(100);
  const uint64_t first = ReserveNow(10, 5);
  const uint64_t second = ReserveNow(10, 5);
  ASSERT_TRUE(Open(first).ok());
  const BatchHeader whole{0, 0, 4 * LandingArea::kSlotBytes, 0};
  ASSERT_TRUE(core_->Grant(first, whole).ok());
  ASSERT_TRUE(Open(second).ok());
  for (int i = 0; i < 3; ++i) {
    now_ += absl::Seconds(4);
    core_->RunOnce();
    EXPECT_EQ(core_->Grant(second, whole).status().code(), absl::StatusCode::kResourceExhausted) << i;
  }
  core_->Aborted(first, absl::CancelledError(""));
  EXPECT_TRUE(core_->Grant(second, whole).ok());
}

TEST_F(DecodeTest, ADamagedBatchEndsTheTransferBeforeItCommits) {
  Make(20);
  const uint64_t ticket = ReserveNow(10, 5);
  ASSERT_TRUE(Open(ticket).ok());
  ASSERT_TRUE(SendBatch(ticket, 0, "\xff").ok());  // the frame inside is wrong, its CRC is not
  EXPECT_EQ(Commit(ticket, 1, 10, 5).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(record_.reserved, 0);
  core_->Aborted(ticket, absl::DataLossError("x"));
  EXPECT_THAT(record_.imported, IsEmpty());
}

TEST_F(DecodeTest, RefusesWrongTransfers) {
  Make(100);
  const uint64_t ticket = ReserveNow(10, 5);
  EXPECT_EQ(core_->Open(TransferOpen{ticket, "p", Sha256("other"), 1}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(core_->Open(TransferOpen{ticket, "p", Sha256("model"), 2}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Open(ticket + 1).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(SendBatch(ticket, 0, "x").code(), absl::StatusCode::kFailedPrecondition);  // not open
  ASSERT_TRUE(Open(ticket).ok());
  EXPECT_EQ(Open(ticket).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(SendBatch(ticket, 1, "x").code(), absl::StatusCode::kFailedPrecondition);  // out of order
  ASSERT_TRUE(SendBatch(ticket, 0, "x").ok());
  EXPECT_EQ(SendBatch(ticket, 0, "x").code(), absl::StatusCode::kFailedPrecondition);  // twice
  EXPECT_EQ(Commit(ticket, 2, 10, 5).code(), absl::StatusCode::kFailedPrecondition);   // one batch is missing
  EXPECT_EQ(Commit(ticket, 1, 11, 5).code(), absl::StatusCode::kFailedPrecondition);   // another prompt
}

TEST_F(DecodeTest, GivesLandingMemoryBackWhateverHappens) {
  Make(100);
  const uint64_t ticket = ReserveNow(10, 5);
  ASSERT_TRUE(Open(ticket).ok());
  const BatchHeader half{0, 0, 2 * LandingArea::kSlotBytes, 0};
  ASSERT_TRUE(core_->Grant(ticket, half).ok());
  BatchHeader header{1, 0, 3 * LandingArea::kSlotBytes, 0};
  EXPECT_EQ(core_->Grant(ticket, header).status().code(), absl::StatusCode::kResourceExhausted);
  header.bytes = 5 * LandingArea::kSlotBytes;
  EXPECT_EQ(core_->Grant(ticket, header).status().code(), absl::StatusCode::kInvalidArgument);
  core_->Release(ticket);  // with a grant outstanding: the link may still write there
  core_->RunOnce();
  const uint64_t other = ReserveNow(10, 5);
  ASSERT_TRUE(Open(other).ok());
  header = BatchHeader{0, 0, 4 * LandingArea::kSlotBytes, 0};
  EXPECT_EQ(core_->Grant(other, header).status().code(), absl::StatusCode::kResourceExhausted);
  core_->Aborted(ticket, absl::CancelledError(""));
  EXPECT_TRUE(core_->Grant(other, header).ok());
}

TEST_F(DecodeTest, AReaderThatIsGoneFreesThePagesBeforeTheNextStep) {
  Make(100);
  const uint64_t ticket = ReserveNow(10, 50);
  auto reader = std::make_shared<Reader>();
  ASSERT_TRUE(core_->Subscribe(ticket, reader).ok());
  ASSERT_TRUE(Open(ticket).ok());
  ASSERT_TRUE(Commit(ticket, 0, 10, 5).ok());
  core_->RunOnce();
  const int64_t steps = record_.steps;
  core_->Release(ticket);
  core_->RunOnce();
  EXPECT_EQ(record_.steps, steps);
  EXPECT_EQ(record_.reserved, 0);
  EXPECT_EQ(reader->end->code(), absl::StatusCode::kCancelled);
}

TEST_F(DecodeTest, AReaderThatFailsToReadIsGivenUp) {
  Make(100);
  const uint64_t ticket = ReserveNow(10, 50);
  auto reader = std::make_shared<Reader>();
  reader->write_status = absl::ResourceExhaustedError("4096 behind");
  ASSERT_TRUE(core_->Subscribe(ticket, reader).ok());
  ASSERT_TRUE(Open(ticket).ok());
  (void)Commit(ticket, 0, 10, 5);
  core_->RunOnce();
  EXPECT_EQ(record_.reserved, 0);
}

TEST_F(DecodeTest, AnAnswerThatNobodyReadsIsGivenUp) {
  Make(2000);
  const uint64_t ticket = ReserveNow(10, 900);
  ASSERT_TRUE(Open(ticket).ok());
  ASSERT_TRUE(Commit(ticket, 0, 10, 5).ok());
  now_ += absl::Seconds(60);
  core_->RunOnce();
  EXPECT_EQ(record_.reserved, 0);
}

TEST_F(DecodeTest, ResumedAnswersGoOnCounting) {
  Make(100);
  Reservation ask = Ask(10, 2);
  ask.first_token_index = 17;
  std::optional<absl::StatusOr<Ticket>> granted;
  Reserve(ask, granted);
  core_->RunOnce();
  auto reader = std::make_shared<Reader>();
  ASSERT_TRUE(core_->Subscribe((*granted)->id, reader).ok());
  EXPECT_EQ(core_->Subscribe((*granted)->id, reader).code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(Open((*granted)->id).ok());
  ASSERT_TRUE(Commit((*granted)->id, 0, 10, 5).ok());
  while (core_->RunOnce()) {
  }
  EXPECT_EQ(reader->first_index, 17);
  EXPECT_EQ(reader->last->index, 18);
}

TEST_F(DecodeTest, DrainingRefusesAndLetsRunningAnswersEnd) {
  Make(20);
  const uint64_t ticket = ReserveNow(10, 5);
  std::optional<absl::StatusOr<Ticket>> waiting, late;
  Reserve(Ask(10, 5), waiting);
  core_->RunOnce();
  core_->Drain(absl::InfinitePast());
  Reserve(Ask(1, 1), late);
  EXPECT_EQ(late->status().code(), absl::StatusCode::kUnavailable);
  core_->RunOnce();
  EXPECT_EQ(waiting->status().code(), absl::StatusCode::kUnavailable);
  auto reader = std::make_shared<Reader>();
  ASSERT_TRUE(core_->Subscribe(ticket, reader).ok());
  ASSERT_TRUE(Open(ticket).ok());
  ASSERT_TRUE(Commit(ticket, 0, 10, 1).ok());
  while (core_->RunOnce()) {
  }
  EXPECT_EQ(reader->all.size(), 5u);
  core_->Drain(absl::InfiniteFuture());  // nothing is left to wait for
}

TEST_F(DecodeTest, EverybodyLearnsThatTheWorkerStops) {
  Make(20);
  std::optional<absl::StatusOr<Ticket>> waiting;
  const uint64_t ticket = ReserveNow(10, 5);
  Reserve(Ask(10, 5), waiting);
  auto reader = std::make_shared<Reader>();
  ASSERT_TRUE(core_->Subscribe(ticket, reader).ok());
  core_.reset();
  EXPECT_EQ(waiting->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(reader->end->code(), absl::StatusCode::kUnavailable);
}

TEST_F(DecodeTest, RunsOnItsOwnThread) {
  Make(100);
  core_->Start();
  absl::Notification granted, finished;
  uint64_t ticket = 0;
  core_->Reserve(Ask(10, 3), [&](absl::StatusOr<Ticket> answer) {
    ticket = answer->id;
    granted.Notify();
  });
  granted.WaitForNotification();
  ASSERT_TRUE(Open(ticket).ok());
  ASSERT_TRUE(SendBatch(ticket, 0, "frames").ok());
  TransferCommit commit;
  commit.ticket = ticket;
  commit.batches = 1;
  commit.prompt_tokens = 10;
  commit.first_token = 3;
  absl::Notification committed;
  core_->Committed(commit, [&](const absl::Status& status) {
    EXPECT_TRUE(status.ok()) << status;
    committed.Notify();
  });
  committed.WaitForNotification();
  class Waiting final : public AnswerReceiver {
   public:
    explicit Waiting(absl::Notification& done) : done_(done) {}
    absl::Status Write(const AnswerTokens& /*tokens*/) override { return absl::OkStatus(); }
    void Finish(const absl::Status& /*end*/) override { done_.Notify(); }

   private:
    absl::Notification& done_;
  };
  ASSERT_TRUE(core_->Subscribe(ticket, std::make_shared<Waiting>(finished)).ok());
  finished.WaitForNotification();
  core_->Drain(absl::InfiniteFuture());
  EXPECT_EQ(record_.reserved, 0);
}

}  // namespace
}  // namespace decant
