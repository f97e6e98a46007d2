#include "services/router/worker_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "services/router/explain_ledger.h"
#include "tests/services/router/router_rig.h"

namespace decant {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Kind = WorkerFacts::Kind;

const absl::Time kStart = absl::UnixEpoch();

WorkerRegistry NewRegistry(int32_t most = 16) {
  return WorkerRegistry(LetterModel(), most, /*prefills_per_worker=*/1, absl::Seconds(5));
}

TEST(WorkerRegistryTest, RefusesAnotherModelNamingBoth) {
  WorkerRegistry registry = NewRegistry();
  WorkerFacts stranger = Worker("p1", Kind::kPrefill);
  stranger.fingerprint = Sha256("another");
  stranger.model_name = "other";
  const absl::Status status = registry.Add(kStart, stranger);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("'other'"), HasSubstr("'letters'"), HasSubstr("p1")));
  EXPECT_FALSE(registry.Contains("p1"));
}

TEST(WorkerRegistryTest, RefusesWorkersThatDifferFromThoseThere) {
  WorkerRegistry registry = NewRegistry();
  ASSERT_TRUE(registry.Add(kStart, Worker("p1", Kind::kPrefill)).ok());
  WorkerFacts other = Worker("d1", Kind::kDecode);
  other.run_type = RunType::kBf16;
  EXPECT_THAT(std::string(registry.Add(kStart, other).message()), AllOf(HasSubstr("bf16"), HasSubstr("f32")));
  other = Worker("d1", Kind::kDecode);
  other.frame_version = 2;
  EXPECT_EQ(registry.Add(kStart, other).code(), absl::StatusCode::kFailedPrecondition);
  other = Worker("d1", Kind::kDecode);
  other.geometry.layers = 3;
  EXPECT_EQ(registry.Add(kStart, other).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(registry.Add(kStart, Worker("d1", Kind::kDecode)).ok());
}

TEST(WorkerRegistryTest, TakesAnotherRunTypeOnceTheOldWorkersAreGone) {
  WorkerRegistry registry = NewRegistry();
  ASSERT_TRUE(registry.Add(kStart, Worker("p1", Kind::kPrefill)).ok());
  WorkerFacts half = Worker("d1", Kind::kDecode);
  half.run_type = RunType::kBf16;
  EXPECT_FALSE(registry.Add(kStart, half).ok());
  registry.Remove("p1");
  EXPECT_TRUE(registry.Add(kStart, half).ok());
  EXPECT_EQ(registry.run_type(), RunType::kBf16);
}

TEST(WorkerRegistryTest, HasABound) {
  WorkerRegistry registry = NewRegistry(/*most=*/1);
  EXPECT_TRUE(registry.Add(kStart, Worker("p1", Kind::kPrefill)).ok());
  EXPECT_TRUE(registry.Add(kStart, Worker("p1", Kind::kPrefill)).ok());
  EXPECT_EQ(registry.Add(kStart, Worker("p2", Kind::kPrefill)).code(), absl::StatusCode::kResourceExhausted);
}

TEST(WorkerRegistryTest, EqualPairsAreOrderedByTheRequest) {
  WorkerRegistry registry = NewRegistry();
  for (const char* prefill : {"p1", "p2"}) ASSERT_TRUE(registry.Add(kStart, Worker(prefill, Kind::kPrefill)).ok());
  for (const char* decode : {"d1", "d2"}) ASSERT_TRUE(registry.Add(kStart, Worker(decode, Kind::kDecode)).ok());
  std::map<std::string, int> firsts;
  for (int request = 0; request < 200; ++request) {
    const std::string id = std::to_string(request);
    const PairCandidate best = registry.Pairs({10, 10, 0, id})[0];
    ++firsts[best.prefill + best.decode];
  }
  EXPECT_EQ(firsts.size(), 4u);
  for (const auto& [pair, count] : firsts) EXPECT_GT(count, 19) << pair;  // 50 each; five standard deviations
}

TEST(WorkerRegistryTest, CountsWhatItPlaced) {
  WorkerRegistry registry = NewRegistry();
  ASSERT_TRUE(registry.Add(kStart, Worker("p1", Kind::kPrefill)).ok());
  ASSERT_TRUE(registry.Add(kStart, Worker("d1", Kind::kDecode)).ok());
  registry.PlacePrefill("p1", 50);
  registry.PlaceSequence("d1");
  EXPECT_FALSE(registry.HasPlace("p1"));
  EXPECT_EQ(registry.Pairs({10, 10, 0})[0].prefill_queued_tokens, 50);
  EXPECT_EQ(registry.Pairs({10, 10, 0})[0].decode_load.running, 1);
  registry.TakePrefill("p1", 50);
  registry.TakeSequence("d1");
  EXPECT_TRUE(registry.HasPlace("p1"));
  EXPECT_EQ(registry.Pairs({10, 10, 0})[0].decode_load.running, 0);
}

TEST(WorkerRegistryTest, LeavesOutDrainingWorkers) {
  WorkerRegistry registry = NewRegistry();
  ASSERT_TRUE(registry.Add(kStart, Worker("p1", Kind::kPrefill)).ok());
  ASSERT_TRUE(registry.Add(kStart, Worker("d1", Kind::kDecode)).ok());
  WorkerLoad draining;
  draining.draining = true;
  registry.ReportLoad(kStart, "p1", draining);
  EXPECT_TRUE(registry.Pairs({10, 10, 0}).empty());
  EXPECT_EQ(registry.prefill_places(), 0);
}

TEST(WorkerRegistryTest, TakesTheDeclaredLinkRateElseTheSlowerEnd) {
  WorkerRegistry registry = NewRegistry();
  WorkerFacts prefill = Worker("p1", Kind::kPrefill);
  prefill.link_bits_per_s = 2e9;
  WorkerFacts decode = Worker("d1", Kind::kDecode);
  decode.link_bits_per_s = 1e9;
  ASSERT_TRUE(registry.Add(kStart, prefill).ok());
  ASSERT_TRUE(registry.Add(kStart, decode).ok());
  EXPECT_EQ(registry.Pairs({10, 10, 0})[0].link_bits_per_s, 1e9);
  EXPECT_EQ(registry.Pairs({10, 10, 5e7})[0].link_bits_per_s, 5e7);
}

TEST(WorkerRegistryTest, NoticesSilence) {
  WorkerRegistry registry = NewRegistry();
  ASSERT_TRUE(registry.Add(kStart, Worker("p1", Kind::kPrefill)).ok());
  registry.ReportLoad(kStart + absl::Seconds(2), "p1", WorkerLoad{});
  EXPECT_EQ(registry.NextSilence(), kStart + absl::Seconds(7));
  EXPECT_TRUE(registry.SilentSince(kStart + absl::Seconds(6)).empty());
  EXPECT_EQ(registry.SilentSince(kStart + absl::Seconds(7)).size(), 1u);
}

TEST(ExplainLedgerTest, ForgetsTheOldestAndHidesOtherTenants) {
  ExplainLedger ledger(2);
  for (const char* id : {"a", "b", "c"}) {
    Explanation explanation;
    explanation.request_id = id;
    explanation.tenant = "t";
    ledger.Add(explanation);
  }
  EXPECT_EQ(ledger.size(), 2u);
  EXPECT_EQ(ledger.Find("t", "a").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(ledger.Find("t", "b").ok());
  EXPECT_EQ(ledger.Find("other", "b").status().code(), absl::StatusCode::kNotFound);
}

TEST(ExplainLedgerTest, KeepsTheLatestOfARepeatedId) {
  ExplainLedger ledger(2);
  for (const char* profile : {"full", "k8v4"}) {
    Explanation explanation;
    explanation.request_id = "a";
    explanation.profile = profile;
    ledger.Add(explanation);
  }
  EXPECT_EQ(ledger.size(), 1u);
  EXPECT_EQ(ledger.Find("", "a")->profile, "k8v4");
}

}  // namespace
}  // namespace decant
