// What the router does when workers fail, refuse or lie.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/router/router.h"
#include "tests/services/router/router_rig.h"

namespace decant {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(RouterFaultsTest, ResumesAStreamOnAnotherDecodeWorkerWithoutLossOrRepetition) {
  RouterRig rig;
  rig.AddDecode("d2");
  RequestTerms terms;
  terms.stop = {"END"};
  const RequestNumber r = rig.AskUntilPoured("a prompt", terms);
  EXPECT_EQ(rig.world.reserves[0].decode, "d1");
  rig.PrefillOk();
  rig.Say(0, "abE");  // "E" is held back as text
  rig.Lose("d1");
  EXPECT_THAT(rig.world.said, Contains("replanned decode"));
  EXPECT_EQ(rig.world.plans[1].query.prompt_tokens, 11);
  EXPECT_EQ(rig.world.plans[1].query.max_tokens, 5);
  rig.PlanOk();
  EXPECT_EQ(rig.world.reserves[1].decode, "d2");
  EXPECT_EQ(rig.world.reserves[1].query.first_token_index, 3);
  EXPECT_EQ(rig.world.reserves[1].query.prompt_tokens, 11);
  EXPECT_EQ(rig.world.reserves[1].query.max_tokens, 5);
  rig.Grant();
  EXPECT_EQ(rig.world.prefills[1].tokens, LetterTokenizer::Ids("a promptabE"));
  EXPECT_EQ(rig.world.prefills[1].order.position_of_first_token, 11);
  rig.PrefillOk();
  rig.SayLast(3, "NTRYz");
  EXPECT_EQ(rig.Of(r).text(), "abENTRYz");
  EXPECT_EQ(rig.Of(r).tokens(), LetterTokenizer::Ids("abENTRYz"));
  EXPECT_EQ(rig.Of(r).finished->output_tokens, 8);
  EXPECT_EQ(rig.Of(r).finished->prompt_tokens, 8);
  EXPECT_EQ(rig.Of(r).finished->kv.wire, 2000);
}

TEST(RouterFaultsTest, AloneADeadDecodeWorkerMeansUnavailable) {
  RouterRig rig;
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  rig.PrefillOk();
  rig.Say(0, "ab");
  rig.Lose("d1");
  EXPECT_EQ(rig.ErrorOf(r), absl::StatusCode::kUnavailable);
  EXPECT_THAT(rig.MessageOf(r), AllOf(HasSubstr("d1"), HasSubstr("2 of 8"), HasSubstr("no other decode worker")));
  EXPECT_EQ(rig.router.running(), 0);
}

TEST(RouterFaultsTest, ABrokenStreamWithoutNewsOfTheWorkerEndsInUnavailableToo) {
  RouterRig rig;
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  rig.PrefillOk();
  rig.BreakTokens();
  for (int i = 0; i < 3 && rig.ErrorOf(r) == absl::StatusCode::kOk; ++i) {
    rig.PlanOk();
    rig.Reserve(absl::UnavailableError("connection refused"));
  }
  EXPECT_EQ(rig.ErrorOf(r), absl::StatusCode::kUnavailable);
  EXPECT_THAT(rig.MessageOf(r), HasSubstr("4 tries"));
}

TEST(RouterFaultsTest, GoesOnWithTheSameDecodeWorkerWhenOnlyTheStreamBroke) {
  RouterRig rig;
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  rig.PrefillOk();
  rig.Say(0, "ab");
  rig.BreakTokens();
  rig.PlanOk();
  rig.Grant();
  rig.PrefillOk();
  rig.SayLast(2, "cdefgh");
  EXPECT_EQ(rig.Of(r).text(), "abcdefgh");
}

TEST(RouterFaultsTest, PlansAgainWithAnotherPrefillWorkerWhenOneDiesMidTransfer) {
  RouterRig rig;
  rig.AddPrefill("p2");
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  EXPECT_EQ(rig.world.prefills[0].prefill, "p1");
  rig.Lose("p1");
  EXPECT_THAT(rig.world.said, AllOf(Contains("release ticket d1 101"), Contains("cancel tokens"),
                                    Contains("release lease 1"), Contains("replanned prefill")));
  rig.PlanOk();
  rig.Grant();
  EXPECT_EQ(rig.world.prefills[1].prefill, "p2");
  rig.PrefillOk();
  rig.SayLast(0, "abcdefgh");
  EXPECT_EQ(rig.Of(r).text(), "abcdefgh");
  EXPECT_EQ(rig.world.Count("replanned prefill"), 1);
}

TEST(RouterFaultsTest, PrefersWorkersThatHaveNotFailedTheRequest) {
  RouterRig rig;
  rig.AddPrefill("p2");
  rig.AskUntilPoured("a prompt");
  rig.Prefilled(absl::UnavailableError("link broke"));
  ASSERT_EQ(rig.world.plans.size(), 2u);
  ASSERT_EQ(rig.world.plans[1].query.candidates.size(), 1u);
  EXPECT_EQ(rig.world.plans[1].query.candidates[0].prefill, "p2");
}

TEST(RouterFaultsTest, GivesUpAfterAFewTries) {
  RouterRig rig;
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  for (int i = 0; i < 3; ++i) {
    rig.Prefilled(absl::InternalError("out of luck"));
    rig.PlanOk();
    rig.Grant();
  }
  rig.Prefilled(absl::InternalError("out of luck"));
  EXPECT_EQ(rig.ErrorOf(r), absl::StatusCode::kUnavailable);
  EXPECT_THAT(rig.MessageOf(r), AllOf(HasSubstr("4 tries"), HasSubstr("out of luck"), HasSubstr("p1")));
  EXPECT_EQ(rig.world.prefills.size(), 4u);
}

TEST(RouterFaultsTest, WhatAnOlderTrySaysChangesNothing) {
  RouterRig rig;
  rig.AddDecode("d2");
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  rig.Say(0, "ab");
  rig.Lose("d1");
  const auto old = rig.world.token_attempts[0];
  TokenBatch late;
  late.index = 2;
  late.tokens = LetterTokenizer::Ids("ZZ");
  rig.router.Tokens(rig.now, old, late);
  rig.router.TokensEnded(rig.now, old, absl::UnavailableError("late"));
  rig.router.Prefilled(rig.now, rig.world.prefills[0].attempt, RouterRig::DefaultNumbers());
  rig.PlanOk();
  rig.Grant();
  rig.router.Tokens(rig.now, old, late);
  rig.PrefillOk();
  rig.SayLast(2, "cdefgh");
  EXPECT_EQ(rig.Of(r).text(), "abcdefgh");
}

TEST(RouterFaultsTest, AFailedPrefillAfterTheFirstTokenCostsOnlyNumbers) {
  RouterRig rig;
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  rig.Say(0, "ab");
  rig.Lose("p1");
  rig.SayLast(2, "cdefgh");
  EXPECT_EQ(rig.Of(r).text(), "abcdefgh");
  EXPECT_EQ(rig.world.plans.size(), 1u);
}

TEST(RouterFaultsTest, AGapInTheStreamIsAFailedTry) {
  RouterRig rig;
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  rig.Say(0, "ab");
  rig.Say(3, "d");
  EXPECT_EQ(rig.Of(r).text(), "ab");
  EXPECT_THAT(rig.world.said, Contains("replanned decode"));
}

TEST(RouterFaultsTest, TokensOutsideTheVocabularyAreAFailedTry) {
  RouterRig rig;
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  rig.Say(0, std::vector<int32_t>{'a', 1024});
  rig.Say(0, std::vector<int32_t>{-1});
  EXPECT_THAT(rig.Of(r).pieces, IsEmpty());
  EXPECT_THAT(rig.world.said, Contains("replanned decode"));
}

TEST(RouterFaultsTest, AnAnswerThatWasCompleteWhenDecodeDiedIsFinished) {
  RouterRig rig;
  const RequestNumber all = rig.AskUntilPoured("a prompt");
  rig.Say(0, "abcdefgh");
  rig.Lose("d1");
  EXPECT_EQ(rig.Of(all).finished->finish_reason, "length");

  rig.AddDecode("d1");
  const RequestNumber ended = rig.AskUntilPoured("another");
  rig.Say(0, std::vector<int32_t>{'a', LetterTokenizer::kEnd});
  rig.Lose("d1");
  EXPECT_EQ(rig.Of(ended).finished->finish_reason, "stop");
}

TEST(RouterFaultsTest, AsksEveryDecodeWorkerForPagesThenQueuesAtOne) {
  RouterRig rig;
  rig.AddDecode("d2");
  const RequestNumber r = rig.Ask("a prompt");
  rig.PlanOk();
  rig.NoPages();
  rig.NoPages();
  ASSERT_EQ(rig.world.reserves.size(), 3u);
  EXPECT_EQ(rig.world.reserves[0].query.wait, absl::ZeroDuration());
  EXPECT_NE(rig.world.reserves[0].decode, rig.world.reserves[1].decode);
  EXPECT_EQ(rig.world.reserves[2].query.wait, absl::Seconds(10));
  rig.NoPages();
  EXPECT_EQ(rig.ErrorOf(r), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(rig.MessageOf(r), HasSubstr("0 of 10 pages"));
  EXPECT_THAT(rig.world.outcomes, ElementsAre("refused"));
  EXPECT_EQ(rig.world.Count("release lease 1"), 1);
}

TEST(RouterFaultsTest, ARequestThatWaitsForPagesLeavesItsPlaceToOthers) {
  RouterLimits limits = RouterRig::SmallLimits();
  limits.prefills_per_worker = 1;
  RouterRig rig(limits);
  rig.Ask("one");
  rig.Ask("two");
  EXPECT_EQ(rig.world.plans.size(), 1u);
  rig.PlanOk();
  rig.NoPages();
  EXPECT_EQ(rig.world.plans.size(), 2u);
}

TEST(RouterFaultsTest, TakesTheNextPairWhenADecodeWorkerRefuses) {
  RouterRig rig;
  rig.AddDecode("d2");
  const RequestNumber r = rig.Ask("a prompt");
  rig.PlanOk();
  rig.Reserve(absl::FailedPreconditionError("another model"));
  ASSERT_EQ(rig.world.reserves.size(), 2u);
  rig.Grant();
  rig.PrefillOk();
  rig.SayLast(0, "abcdefgh");
  EXPECT_TRUE(rig.Of(r).finished.has_value());
  EXPECT_EQ(rig.world.plans.size(), 1u);
}

TEST(RouterFaultsTest, ARequestThatNoWorkerCanEverHoldIsInvalid) {
  RouterRig rig;
  const RequestNumber r = rig.Ask("a prompt");
  rig.PlanOk();
  rig.Reserve(absl::InvalidArgumentError("needs 20 pages, the worker has 10"));
  EXPECT_EQ(rig.ErrorOf(r), absl::StatusCode::kInvalidArgument);
}

TEST(RouterFaultsTest, TriesElsewhereWhenAReservationIsNotAnswered) {
  RouterRig rig;
  rig.AddDecode("d2");
  rig.Ask("a prompt");
  rig.PlanOk();
  rig.Pass(absl::Seconds(2));
  ASSERT_EQ(rig.world.reserves.size(), 2u);
  EXPECT_EQ(rig.world.Count("cancel reserve"), 1);
  rig.router.Reserved(rig.now, rig.world.reserves[0].attempt, "d1", ReserveAnswer{55, 1, Digest()});
  EXPECT_THAT(rig.world.said, Contains("release ticket d1 55"));
}

TEST(RouterFaultsTest, SaysWhichWorkerIsMissing) {
  NotingWorld world;
  Router router(LetterModel(), RouterRig::SmallLimits(), world);
  PreparedRequest request;
  request.prompt = {1, 2};
  request.terms.max_tokens = 1;
  router.Generate(absl::UnixEpoch(), 1, request);
  EXPECT_THAT(std::string(world.heard[1].error->message()), HasSubstr("no prefill worker"));
  ASSERT_TRUE(router.WorkerRegistered(absl::UnixEpoch(), Worker("p1", WorkerFacts::Kind::kPrefill)).ok());
  router.Generate(absl::UnixEpoch(), 2, request);
  EXPECT_EQ(world.heard[2].error->code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(world.heard[2].error->message()), HasSubstr("no decode worker"));
}

TEST(RouterFaultsTest, ASilentWorkerIsLost) {
  RouterRig rig;
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  rig.now += absl::Seconds(4);
  rig.router.LoadReported(rig.now, "p1", WorkerLoad{});
  rig.now += absl::Seconds(1);
  EXPECT_EQ(rig.router.NextDeadline(), rig.now);
  rig.router.Tick(rig.now);
  EXPECT_FALSE(rig.router.knows("d1"));
  EXPECT_TRUE(rig.router.knows("p1"));
  EXPECT_EQ(rig.ErrorOf(r), absl::StatusCode::kUnavailable);
}

TEST(RouterFaultsTest, AWorkerThatLeavesFinishesWhatItRuns) {
  RouterRig rig;
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  rig.router.WorkerLeft(rig.now, "d1");
  EXPECT_EQ(rig.ErrorOf(rig.Ask("another")), absl::StatusCode::kUnavailable);
  rig.PrefillOk();
  rig.SayLast(0, "abcdefgh");
  EXPECT_EQ(rig.Of(r).text(), "abcdefgh");
}

TEST(RouterFaultsTest, QueuedRequestsAreToldWhenTheLastPrefillWorkerGoes) {
  RouterLimits limits = RouterRig::SmallLimits();
  limits.prefills_per_worker = 1;
  RouterRig rig(limits);
  rig.AskUntilPoured("one");
  const RequestNumber r = rig.Ask("two");
  rig.Lose("p1");
  EXPECT_EQ(rig.ErrorOf(r), absl::StatusCode::kUnavailable);
}

TEST(RouterFaultsTest, AFullPrefillWorkerIsOverloadForTheClient) {
  RouterRig rig;
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  for (int i = 0; i < 3; ++i) {
    rig.Prefilled(absl::ResourceExhaustedError("8 prompts wait"));
    rig.PlanOk();
    rig.Grant();
  }
  rig.Prefilled(absl::ResourceExhaustedError("8 prompts wait"));
  EXPECT_EQ(rig.ErrorOf(r), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace decant
