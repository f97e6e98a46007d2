// The life of one request, step by step.
#include "services/router/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/index/keys.h"
#include "tests/services/router/router_rig.h"

namespace decant {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

RequestTerms Terms(const std::string& profile, double floor = 0) {
  RequestTerms terms;
  terms.profile = profile;
  terms.fidelity_floor = floor;
  return terms;
}

TEST(RouterTest, TakesARequestThroughEveryStep) {
  RouterRig rig;
  RequestTerms terms;
  terms.max_tokens = 4;
  terms.request_id = "r1";
  const RequestNumber r = rig.Ask("a prompt", terms);
  ASSERT_EQ(rig.world.plans.size(), 1u);
  EXPECT_EQ(rig.world.plans[0].query.prompt_tokens, 8);
  EXPECT_EQ(rig.world.plans[0].query.chunk_keys.size(), 2u);

  rig.PlanOk();
  ASSERT_EQ(rig.world.reserves.size(), 1u);
  EXPECT_EQ(rig.world.reserves[0].decode, "d1");
  EXPECT_EQ(rig.world.reserves[0].query.profile, "k8v4");
  EXPECT_EQ(rig.world.reserves[0].query.profile_digest, Sha256("the pool's k8v4"));
  EXPECT_EQ(rig.world.reserves[0].query.max_tokens, 4);
  EXPECT_THAT(rig.world.prefills, IsEmpty());  // no reservation, no prefill

  rig.Grant();
  ASSERT_EQ(rig.world.prefills.size(), 1u);
  EXPECT_EQ(rig.world.prefills[0].tokens, LetterTokenizer::Ids("a prompt"));
  EXPECT_EQ(rig.world.prefills[0].order.ticket, 101u);
  EXPECT_EQ(rig.world.prefills[0].order.profile_digest, Sha256("decode's k8v4"));
  EXPECT_EQ(rig.world.prefills[0].order.position_of_first_token, 8);
  EXPECT_TRUE(rig.world.prefills[0].order.publish);
  EXPECT_THAT(rig.world.said, ElementsAre("tokens d1 101"));
  EXPECT_EQ(rig.Of(r).started->profile, "k8v4");
  EXPECT_EQ(rig.Of(r).started->reason, "cheapest");

  rig.now += absl::Milliseconds(30);
  rig.Say(0, "x");
  rig.PrefillOk();
  rig.now += absl::Milliseconds(30);
  rig.Say(1, "yz");
  rig.SayLast(3, "!");
  ASSERT_TRUE(rig.Of(r).finished.has_value());
  const FinishedNotice& finished = *rig.Of(r).finished;
  EXPECT_EQ(rig.Of(r).text(), "xyz!");
  EXPECT_EQ(finished.finish_reason, "length");
  EXPECT_EQ(finished.output_tokens, 4);
  EXPECT_EQ(finished.ttft_ms, 30);
  EXPECT_EQ(finished.total_ms, 60);
  EXPECT_EQ(finished.kv.full, 4000);
  EXPECT_EQ(finished.kv.wire, 1000);
  EXPECT_EQ(finished.kv.resident, 2000);
  EXPECT_EQ(finished.tiers.high, 61);
  EXPECT_EQ(finished.tiers.pruned, 10);
  EXPECT_EQ(rig.world.ends, 1);
  EXPECT_EQ(rig.router.running(), 0);
  EXPECT_EQ(rig.world.Count("release lease 1"), 1);
  EXPECT_EQ(rig.world.Count("cancel tokens"), 0);
  ASSERT_EQ(rig.world.reports.size(), 1u);
  EXPECT_EQ(rig.world.reports[0].ttft_ms, 30);
  EXPECT_THAT(rig.world.outcomes, ElementsAre("length"));
}

TEST(RouterTest, ExplainTellsTheWholeStoryAndNoToken) {
  RouterRig rig;
  RequestTerms terms;
  terms.request_id = "r1";
  rig.Ask("a prompt", terms);
  EXPECT_EQ(rig.router.Explain("", "r1")->state, "running");
  rig.PlanOk();
  rig.Grant();
  rig.Say(0, "x");
  rig.PrefillOk();
  rig.SayLast(1, "y", "stop");
  const auto explanation = rig.router.Explain("", "r1");
  ASSERT_TRUE(explanation.ok());
  EXPECT_EQ(explanation->state, "finished");
  EXPECT_EQ(explanation->prefill, "p1");
  EXPECT_EQ(explanation->decode, "d1");
  EXPECT_EQ(explanation->predicted_ttft_ms, 12);
  EXPECT_EQ(explanation->prefix_miss_reason, "nothing stored");
  ASSERT_EQ(explanation->alternatives.size(), 1u);
  std::vector<std::string> hops;
  for (const Hop& hop : explanation->hops) hops.push_back(hop.name);
  EXPECT_THAT(hops, ElementsAre("tokenise", "queue", "plan", "reserve", "first_token", "prefill", "prefill.load",
                                "prefill.compute", "prefill.encode", "prefill.wire", "stream"));
  EXPECT_EQ(rig.router.Explain("another tenant", "r1").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(rig.router.Explain("", "r2").status().code(), absl::StatusCode::kNotFound);
}

// Of what was planned only what prefill could reuse.
TEST(RouterTest, ExplainTellsWhereTheReusedPrefixCameFrom) {
  RouterRig rig;
  RequestTerms terms;
  terms.request_id = "r1";
  rig.Ask("abcdefghijklmnopqrstu", terms);  // five chunks of four and a token
  PlanAnswer plan = rig.DefaultPlan();
  const auto& keys = rig.world.plans[0].query.chunk_keys;
  plan.plans[0].reused_tokens = 20;
  for (size_t i = 0; i < 5; ++i) {
    PlannedPart part{keys[i], static_cast<int32_t>(i) * 4, 4, "full", {}, 10};
    part.quality = 1;
    part.provenance = Provenance::kExact;
    part.tier = i < 2 ? "host" : "disk";
    if (i >= 3) {
      part.profile = "k4v2";
      part.encoded_from = {"full", "k8v4"};
      part.quality = 0.7;
      part.provenance = Provenance::kQuantised;
    }
    plan.prefix.push_back(part);
  }
  rig.Plan(plan);
  rig.Grant();
  rig.Say(0, "x");
  PrefillAnswer numbers = RouterRig::DefaultNumbers();
  numbers.prefix_tokens_reused = 16;
  rig.Prefilled(numbers);
  rig.SayLast(1, "y", "stop");
  const std::vector<ReusedPart> parts = rig.router.Explain("", "r1")->parts;
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].tier, "host");
  EXPECT_EQ(parts[0].chunks, 2);
  EXPECT_EQ(parts[0].tokens, 8);
  EXPECT_EQ(parts[0].bytes, 20);
  EXPECT_EQ(parts[1].tier, "disk");
  EXPECT_EQ(parts[1].profile, "full");
  EXPECT_EQ(parts[2].first_token, 12);
  EXPECT_EQ(parts[2].chunks, 1) << "the fifth chunk did not come";
  EXPECT_EQ(parts[2].quality, 0.7);
  EXPECT_EQ(parts[2].provenance, Provenance::kQuantised);
  EXPECT_THAT(parts[2].encoded_from, ElementsAre("full", "k8v4"));
}

TEST(RouterTest, SendsThePlannedPrefixButNeverTheWholePrompt) {
  RouterRig rig;
  rig.Ask("abcdefgh");  // two chunks of four: the last token must be computed
  PlanAnswer plan = rig.DefaultPlan();
  const auto& keys = rig.world.plans[0].query.chunk_keys;
  plan.plans[0].reused_tokens = 8;
  plan.prefix = {{keys[0], 0, 4, "k8v4", {}, 10}, {keys[1], 4, 4, "k8v4", {}, 10}};
  rig.Plan(plan);
  rig.Grant();
  ASSERT_EQ(rig.world.prefills[0].prefix.size(), 1u);
  EXPECT_EQ(rig.world.prefills[0].prefix[0].key, keys[0]);
  EXPECT_EQ(rig.world.prefills[0].order.lease, 1u);
}

TEST(RouterTest, DropsPartsOfAPlanThatBelongToAnotherPrompt) {
  RouterRig rig;
  rig.Ask("abcdefghijkl");
  PlanAnswer plan = rig.DefaultPlan();
  const auto& keys = rig.world.plans[0].query.chunk_keys;
  plan.plans[0].reused_tokens = 8;
  plan.prefix = {{keys[0], 0, 4, "k8v4", {}, 10}, {Sha256("not this one"), 4, 4, "k8v4", {}, 10}};
  rig.Plan(plan);
  rig.Grant();
  EXPECT_EQ(rig.world.prefills[0].prefix.size(), 1u);
}

TEST(RouterTest, KeysAreThoseOfTheTenantAndModel) {
  RouterRig rig;
  rig.Ask("abcd");
  const RouterModel model = LetterModel();
  const KeySpace space{NamespaceOf(""), model.fingerprint, model.geometry, RunType::kF32};
  EXPECT_EQ(rig.world.plans[0].query.chunk_keys, ChunkKeys(space, LetterTokenizer::Ids("abcd"), 4));
}

TEST(RouterTest, RecomputesWithFullWhenThePoolIsDown) {
  RouterRig rig;
  const RequestNumber r = rig.Ask("a prompt");
  rig.Plan(absl::UnavailableError("connection refused"));
  rig.Grant();
  EXPECT_EQ(rig.world.reserves[0].query.profile, "full");
  EXPECT_FALSE(rig.world.prefills[0].order.use_pool);
  EXPECT_FALSE(rig.world.prefills[0].order.publish);
  EXPECT_THAT(rig.Of(r).started->reason, AllOf(HasSubstr("connection refused"), HasSubstr("'full'")));
  rig.PrefillOk();
  rig.SayLast(0, "abcdefgh");
  EXPECT_TRUE(rig.Of(r).finished.has_value());
  EXPECT_THAT(rig.world.reports, IsEmpty());
}

TEST(RouterTest, CountsPlansThatThePoolShouldHaveMade) {
  RouterRig rig;
  rig.Ask("a prompt");
  rig.PlanOk();
  EXPECT_EQ(rig.world.plans_without_pool, 0);
  rig.Ask("another");
  rig.Plan(absl::UnavailableError("down"));
  EXPECT_EQ(rig.world.plans_without_pool, 1);
  RouterRig late;
  late.Ask("a prompt");
  late.Pass(absl::Milliseconds(250));
  EXPECT_EQ(late.world.plans_without_pool, 1);
  RouterLimits limits = RouterRig::SmallLimits();
  limits.has_pool = false;
  RouterRig without(limits);
  without.Ask("a prompt");
  EXPECT_EQ(without.world.reserves.size(), 1u);
  EXPECT_EQ(without.world.plans_without_pool, 0);
}

TEST(RouterTest, TakesANamedProfileWithoutThePoolOnlyWhenNoFloorIsAtStake) {
  struct Case {
    std::string profile;
    double floor;
    std::string expected;
  };
  for (const Case& c : {Case{"diffkv", 0, "diffkv"}, Case{"diffkv", 0.5, "full"}, Case{"full", 0.9, "full"},
                        Case{"", 0.5, "full"}, Case{"", 0, "full"}}) {
    RouterRig rig;
    rig.Ask("a prompt", Terms(c.profile, c.floor));
    rig.Plan(absl::UnavailableError("down"));
    EXPECT_EQ(rig.world.reserves[0].query.profile, c.expected) << c.profile << " " << c.floor;
  }
}

TEST(RouterTest, DoesNotWaitForALatePoolAndGivesItsLeaseBack) {
  RouterRig rig;
  rig.Ask("a prompt");
  rig.Pass(absl::Milliseconds(250));
  ASSERT_EQ(rig.world.reserves.size(), 1u);
  EXPECT_EQ(rig.world.reserves[0].query.profile, "full");
  rig.PlanOk();  // too late
  EXPECT_EQ(rig.world.reserves.size(), 1u);
  EXPECT_THAT(rig.world.said, Contains("release lease 1"));
}

TEST(RouterTest, EnforcesTheFloorOnThePoolsPlans) {
  RouterRig rig;
  rig.Ask("a prompt", Terms("", 0.95));
  rig.PlanOk();  // k8v4 with quality 0.9
  ASSERT_EQ(rig.world.reserves.size(), 1u);
  EXPECT_EQ(rig.world.reserves[0].query.profile, "full");
  EXPECT_THAT(rig.world.said, Contains("release lease 1"));
}

TEST(RouterTest, PassesThePoolsVerdictOn) {
  RouterRig rig;
  const RequestNumber r = rig.Ask("a prompt", Terms("k4v2", 0.9));
  rig.Plan(absl::FailedPreconditionError("k4v2 has quality 0.7"));
  EXPECT_EQ(rig.ErrorOf(r), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(rig.world.outcomes, ElementsAre("refused"));
}

TEST(RouterTest, EmitsEveryTokenOnceWhateverOverlaps) {
  RouterRig rig;
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  rig.Say(0, "ab");
  rig.Say(0, "ab");
  rig.Say(1, "bcd");
  rig.PrefillOk();
  rig.SayLast(2, "cdefgh");
  EXPECT_EQ(rig.Of(r).text(), "abcdefgh");
  EXPECT_EQ(rig.Of(r).tokens(), LetterTokenizer::Ids("abcdefgh"));
  EXPECT_EQ(rig.Of(r).pieces[1].index, 2);
}

TEST(RouterTest, AnEndTokenIsATokenWithoutText) {
  RouterRig rig;
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  rig.PrefillOk();
  TokenBatch batch;
  batch.tokens = {LetterTokenizer::Id('a'), LetterTokenizer::kEnd};
  batch.last = true;
  batch.finish_reason = "stop";
  rig.router.Tokens(rig.now, rig.world.token_attempts.back(), batch);
  EXPECT_EQ(rig.Of(r).text(), "a");
  EXPECT_EQ(rig.Of(r).tokens().size(), 2u);
  EXPECT_EQ(rig.Of(r).finished->finish_reason, "stop");
}

TEST(RouterTest, ATokenBeyondTheTokenizerHasNoText) {
  RouterRig rig;
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  rig.Say(0, std::vector<int32_t>{'a', LetterTokenizer::kNoText, 'b'});
  EXPECT_EQ(rig.Of(r).text(), "ab");
  EXPECT_EQ(rig.Of(r).tokens().size(), 3u);
}

TEST(RouterTest, AStopStringEndsTheAnswerAndStopsDecode) {
  RouterRig rig;
  RequestTerms terms;
  terms.stop = {"END"};
  terms.max_tokens = 20;
  const RequestNumber r = rig.AskUntilPoured("a prompt", terms);
  rig.PrefillOk();
  rig.Say(0, "hi E");
  EXPECT_EQ(rig.Of(r).text(), "hi ");
  rig.Say(4, "NDless");
  EXPECT_EQ(rig.Of(r).text(), "hi ");
  EXPECT_EQ(rig.Of(r).tokens().size(), 6u);
  EXPECT_EQ(rig.Of(r).finished->finish_reason, "stop");
  EXPECT_THAT(rig.world.said, Contains("cancel tokens"));
  EXPECT_EQ(rig.router.running(), 0);
}

TEST(RouterTest, GivesHeldBackTextAtTheEnd) {
  RouterRig rig;
  RequestTerms terms;
  terms.stop = {"END"};
  const RequestNumber r = rig.AskUntilPoured("a prompt", terms);
  rig.PrefillOk();
  rig.SayLast(0, "hi EN", "stop");
  EXPECT_EQ(rig.Of(r).text(), "hi EN");
}

TEST(RouterTest, WaitsALittleForPrefillsNumbers) {
  RouterRig rig;
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  rig.SayLast(0, "abcdefgh");
  EXPECT_FALSE(rig.Of(r).finished.has_value());
  rig.PrefillOk();
  EXPECT_EQ(rig.Of(r).finished->kv.wire, 1000);
}

TEST(RouterTest, FinishesWithoutPrefillsNumbersAndKeepsItsLeaseUntilItIsDone) {
  RouterRig rig;
  RequestTerms terms;
  terms.request_id = "r1";
  const RequestNumber r = rig.AskUntilPoured("a prompt", terms);
  rig.SayLast(0, "abcdefgh");
  rig.Pass(absl::Seconds(1));
  EXPECT_TRUE(rig.Of(r).finished.has_value());
  EXPECT_EQ(rig.router.running(), 1);
  EXPECT_THAT(rig.world.said, Not(Contains("release lease 1")));
  rig.PrefillOk();
  EXPECT_THAT(rig.world.said, Contains("release lease 1"));
  EXPECT_EQ(rig.router.running(), 0);
  EXPECT_EQ(rig.world.ends, 1);
  EXPECT_EQ(rig.router.Explain("", "r1")->kv.wire, 1000);
}

TEST(RouterTest, CancelStopsBothWorkersAtOnce) {
  RouterRig rig;
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  rig.router.ClientGone(rig.now, r, absl::CancelledError("gone"));
  EXPECT_EQ(rig.world.Count("cancel prefill"), 1);
  EXPECT_EQ(rig.world.Count("cancel tokens"), 1);
  EXPECT_EQ(rig.world.Count("release ticket d1 101"), 1);
  EXPECT_EQ(rig.world.Count("release lease 1"), 1);
  EXPECT_EQ(rig.ErrorOf(r), absl::StatusCode::kCancelled);
  EXPECT_THAT(rig.world.outcomes, ElementsAre("cancelled"));
  rig.Say(0, "late");
  rig.PrefillOk();
  EXPECT_THAT(rig.Of(r).pieces, IsEmpty());
  EXPECT_EQ(rig.world.ends, 1);
}

TEST(RouterTest, AReservationThatComesAfterTheCancelIsGivenBack) {
  RouterRig rig;
  const RequestNumber r = rig.Ask("a prompt");
  rig.PlanOk();
  rig.router.ClientGone(rig.now, r, absl::CancelledError("gone"));
  EXPECT_EQ(rig.world.Count("cancel reserve"), 1);
  rig.Grant();
  EXPECT_THAT(rig.world.said, Contains("release ticket d1 101"));
  EXPECT_THAT(rig.world.prefills, IsEmpty());
}

TEST(RouterTest, EndsAtTheRequestsDeadline) {
  RouterRig rig;
  const RequestNumber r = rig.AskUntilPoured("a prompt");
  rig.Say(0, "ab");
  rig.Pass(absl::Seconds(299));
  EXPECT_FALSE(rig.Of(r).error.has_value());
  rig.Pass(absl::Seconds(1));
  EXPECT_EQ(rig.ErrorOf(r), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(rig.MessageOf(r), HasSubstr("2 of 8 tokens"));
  EXPECT_EQ(rig.world.Count("cancel tokens"), 1);
}

TEST(RouterTest, RefusesMoreRequestsThanItsBound) {
  RouterLimits limits = RouterRig::SmallLimits();
  limits.most_running = 2;
  RouterRig rig(limits);
  rig.Ask("one");
  rig.Ask("two");
  const RequestNumber r = rig.Ask("three");
  EXPECT_EQ(rig.ErrorOf(r), absl::StatusCode::kResourceExhausted);
}

TEST(RouterTest, RefusesASecondRequestOfTheSameId) {
  RouterRig rig;
  RequestTerms terms;
  terms.request_id = "same";
  rig.Ask("one", terms);
  EXPECT_EQ(rig.ErrorOf(rig.Ask("two", terms)), absl::StatusCode::kAlreadyExists);
}

TEST(RouterTest, MakesDifferentIds) {
  RouterRig rig;
  rig.Ask("one");
  rig.Ask("two");
  EXPECT_NE(rig.world.plans[0].query.request_id, rig.world.plans[1].query.request_id);
}

TEST(RouterTest, RefusesWhenItShutsDownButFinishesWhatRuns) {
  RouterRig rig;
  const RequestNumber running = rig.AskUntilPoured("one");
  rig.router.StopAdmitting();
  EXPECT_EQ(rig.ErrorOf(rig.Ask("two")), absl::StatusCode::kUnavailable);
  rig.PrefillOk();
  rig.SayLast(0, "abcdefgh");
  EXPECT_TRUE(rig.Of(running).finished.has_value());
}

TEST(RouterTest, LetsRequestsWaitForAPlaceAtPrefill) {
  RouterLimits limits = RouterRig::SmallLimits();
  limits.prefills_per_worker = 1;
  RouterRig rig(limits);
  rig.AskUntilPoured("one");
  rig.Ask("two");
  EXPECT_EQ(rig.world.plans.size(), 1u);
  rig.PrefillOk();
  ASSERT_EQ(rig.world.plans.size(), 2u);
  EXPECT_EQ(rig.world.plans[1].query.prompt_tokens, 3);
}

TEST(RouterTest, PlansWithFreePrefillWorkersOnlyWhenThereAreAny) {
  RouterLimits limits = RouterRig::SmallLimits();
  limits.prefills_per_worker = 1;
  RouterRig rig(limits);
  rig.AddPrefill("p2");
  rig.AskUntilPoured("one");
  rig.Ask("two");
  ASSERT_EQ(rig.world.plans[1].query.candidates.size(), 1u);
  EXPECT_NE(rig.world.plans[1].query.candidates[0].prefill, rig.world.prefills[0].prefill);
}

TEST(RouterTest, DeclaresTheClientsLinkRateToThePool) {
  RouterRig rig;
  RequestTerms terms;
  terms.link_bits_per_s = 5e7;
  rig.Ask("a prompt", terms);
  EXPECT_EQ(rig.world.plans[0].query.candidates[0].link_bits_per_s, 5e7);
}

TEST(RouterTest, KeepsAPromptOutOfThePoolWhenAsked) {
  RouterRig rig;
  RequestTerms terms;
  terms.publish = false;
  rig.AskUntilPoured("a prompt", terms);
  EXPECT_TRUE(rig.world.prefills[0].order.use_pool);
  EXPECT_FALSE(rig.world.prefills[0].order.publish);
}

}  // namespace
}  // namespace decant
