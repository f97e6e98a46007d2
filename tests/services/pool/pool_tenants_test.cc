// What one tenant may do with, learn of and take from another's chunks: nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <tuple>

#include "tests/services/pool/pool_rig.h"

namespace decant {
namespace {

using namespace pool_rig;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

PlanDemand DemandOfTenant(const Prompt& prompt, const std::string& tenant) {
  PlanDemand demand = DemandOf(prompt);
  demand.tenant = tenant;
  return demand;
}

PublishTally Publish(Pool& pool, const Prompt& prompt, const std::string& tenant) {
  PublishStart start = StartOf(prompt, "full", 0, prompt.keys.size());
  start.tenant = tenant;
  return PublishAll(pool, kStart, std::move(start), prompt).value();
}

int64_t OneChunk() {
  Pool probe(PoolLimits(), TestCatalogue(), TestTables());
  EXPECT_TRUE(PublishAll(probe, kStart, PromptOf(1, 1), "full").ok());
  return probe.tier().bytes();
}

TEST(PoolTenantsTest, EqualPromptsOfTwoTenantsHaveDifferentKeys) {
  const std::vector<Digest> a = PromptOf(1, 4, "a").keys;
  const std::vector<Digest> b = PromptOf(1, 4, "b").keys;
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NE(a[i], b[i]);
}

// Even who knows another's keys, as no client can, is told that nothing is there, and stores a copy of his own.
TEST(PoolTenantsTest, AnothersKeysAreNotThere) {
  Pool pool(PoolLimits(), TestCatalogue(), TestTables());
  const Prompt prompt = PromptOf(1, 4, "a");
  EXPECT_EQ(Publish(pool, prompt, "a").stored, 4);
  const PlanOffer offer = pool.Plan(kStart, DemandOfTenant(prompt, "b")).value();
  EXPECT_THAT(offer.prefix, IsEmpty());
  EXPECT_EQ(offer.lease, 0u);
  EXPECT_THAT(offer.miss_reason, HasSubstr("it is not stored"));
  EXPECT_EQ(Publish(pool, prompt, "b").stored, 4);
  EXPECT_EQ(pool.stats().chunks, 8);
  EXPECT_THAT(pool.Plan(kStart, DemandOfTenant(prompt, "a"))->prefix, SizeIs(4));
  EXPECT_THAT(pool.Plan(kStart, DemandOfTenant(prompt, "b"))->prefix, SizeIs(4));
}

TEST(PoolTenantsTest, ALeaseIsItsTenants) {
  Pool pool(PoolLimits(), TestCatalogue(), TestTables());
  const Prompt prompt = PromptOf(1, 2, "a");
  Publish(pool, prompt, "a");
  const PlanOffer offer = pool.Plan(kStart, DemandOfTenant(prompt, "a")).value();
  const std::vector<WantedChunk> wanted = WantedOf(offer.prefix);
  EXPECT_TRUE(pool.BeginFetch(kStart, offer.lease, "a", Model().fingerprint, wanted).ok());
  const absl::Status other = pool.BeginFetch(kStart, offer.lease, "b", Model().fingerprint, wanted).status();
  EXPECT_EQ(other.code(), absl::StatusCode::kNotFound);
  // The same words as of a lease that never was.
  const absl::Status none = pool.BeginFetch(kStart, 77, "b", Model().fingerprint, wanted).status();
  const auto without_id = [](const absl::Status& status, const std::string& id) {
    std::string text(status.message());
    const size_t at = text.find(id);
    return at == std::string::npos ? text : text.replace(at, id.size(), "N");
  };
  EXPECT_EQ(without_id(other, std::to_string(offer.lease)), without_id(none, "77"));
}

// What b's requests cost when a has the prompt, and when nobody has it: steps counted, not time.
struct Cost {
  uint64_t records = 0;
  int64_t bytes = 0;
  int32_t stored = 0;
  int64_t evicted = 0;
  std::string told;
  bool operator==(const Cost& other) const {
    return std::tie(records, bytes, stored, evicted, told) ==
           std::tie(other.records, other.bytes, other.stored, other.evicted, other.told);
  }
};

Cost CostOfAsking(const std::string& holder, const std::string& asker, int64_t capacity_chunks) {
  PoolLimits limits;
  limits.capacity_bytes = capacity_chunks * OneChunk();
  Pool pool(limits, TestCatalogue(), TestTables());
  // The holder has this prompt, or another of the same length.
  Publish(pool, PromptOf(holder == "nobody" ? 7 : 1, 6, holder), holder == "nobody" ? "a" : holder);
  const Prompt prompt = PromptOf(1, 6, asker);
  const uint64_t records = pool.index().records_read();
  const int64_t evicted = pool.stats().evicted;
  const int64_t bytes = pool.tier().bytes();
  Cost cost;
  const PlanOffer offer = pool.Plan(kStart, DemandOfTenant(prompt, asker)).value();
  cost.told = offer.miss_reason + offer.pairs.front().choice.reason;
  cost.stored = Publish(pool, prompt, asker).stored;
  cost.records = pool.index().records_read() - records;
  cost.bytes = pool.tier().bytes() - bytes;
  cost.evicted = pool.stats().evicted - evicted;
  return cost;
}

TEST(PoolTenantsTest, AskingCostsTheSameWhetherAnotherHasItOrNobody) {
  for (const int64_t capacity : {int64_t{1000}, int64_t{8}}) {  // with room, and where room must be made
    const Cost other = CostOfAsking("a", "b", capacity);
    const Cost nobody = CostOfAsking("nobody", "b", capacity);
    EXPECT_TRUE(other == nobody) << other.records << " records against " << nobody.records << ", " << other.stored
                                 << " stored against " << nobody.stored << ", " << other.told << " | " << nobody.told;
    // It can fail: to the tenant that has it, it shows.
    EXPECT_FALSE(CostOfAsking("b", "b", capacity) == nobody);
  }
}

TEST(PoolTenantsTest, AQuotaIsHardAndItsOldestGo) {
  PoolLimits limits;
  TenantTerms small;
  small.quota_bytes = 4 * OneChunk();
  ASSERT_TRUE(limits.tenants.Configure("small", small).ok());
  Pool pool(limits, TestCatalogue(), TestTables());
  const Prompt others = PromptOf(1, 6, "big");
  Publish(pool, others, "big");
  const Prompt first = PromptOf(2, 3, "small");
  const Prompt second = PromptOf(3, 3, "small");
  Publish(pool, first, "small");
  EXPECT_EQ(Publish(pool, second, "small").stored, 3);
  EXPECT_LE(pool.tier().tenants().bytes(pool.tier().tenants().Find("small")), small.quota_bytes);
  EXPECT_EQ(pool.stats().evicted, 2);
  EXPECT_THAT(pool.Plan(kStart, DemandOfTenant(second, "small"))->prefix, SizeIs(3));
  EXPECT_THAT(pool.Plan(kStart, DemandOfTenant(first, "small"))->prefix, SizeIs(1)) << "the front goes last";
  EXPECT_THAT(pool.Plan(kStart, DemandOfTenant(others, "big"))->prefix, SizeIs(6));
}

TEST(PoolTenantsTest, MemoryIsSharedByWeightWhenItIsShort) {
  PoolLimits limits;
  limits.capacity_bytes = 12 * OneChunk();
  TenantTerms heavy;
  heavy.weight = 2;
  ASSERT_TRUE(limits.tenants.Configure("heavy", heavy).ok());
  Pool pool(limits, TestCatalogue(), TestTables());
  for (uint64_t seed = 1; seed <= 12; ++seed) Publish(pool, PromptOf(seed, 1, "light"), "light");
  for (uint64_t seed = 1; seed <= 12; ++seed) Publish(pool, PromptOf(seed, 1, "heavy"), "heavy");
  for (uint64_t seed = 21; seed <= 32; ++seed) Publish(pool, PromptOf(seed, 1, "light"), "light");
  const TenantTable& tenants = pool.tier().tenants();
  const auto chunks = [&](const std::string& name) { return tenants.bytes(tenants.Find(name)) / OneChunk(); };
  EXPECT_EQ(chunks("heavy"), 8);
  EXPECT_EQ(chunks("light"), 4);
}

}  // namespace
}  // namespace decant
