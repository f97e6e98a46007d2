// Quotas and shares, in the table alone and in a host tier full of several tenants' entries.
#include "common/store/tenants.h"

#include <map>
#include <string>

#include "common/base/random.h"
#include "common/store/host_tier.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace decant {
namespace {

using testing::HasSubstr;

constexpr int64_t kFrame = 1000;
constexpr int64_t kCharge = HostTier::kEntryOverheadBytes + kFrame + HostTier::kBlobOverheadBytes;

class SharedTier {
 public:
  explicit SharedTier(int64_t entries) : tier(entries * kCharge) {}

  uint32_t Tenant(const std::string& name, const TenantTerms& terms) {
    EXPECT_TRUE(tier.tenants().Configure(name, terms).ok());
    return tier.tenants().NumberOf(name).value();
  }
  absl::StatusOr<uint64_t> Put(uint32_t tenant) {
    EvictionFacts facts;
    facts.use.operation = ++operation;
    auto entry = tier.Stage(1, facts, tenant);
    if (!entry.ok()) return entry;
    const absl::Status added = tier.Add(*entry, LayerBlob{0, 1, Blob::CopyOf(std::string(kFrame, 'x'))});
    if (!added.ok()) {
      tier.Drop(*entry);
      return added;
    }
    EXPECT_TRUE(tier.Commit(*entry).ok());
    return entry;
  }
  int64_t Entries(uint32_t tenant) const { return tier.tenants().bytes(tenant) / kCharge; }

  HostTier tier;
  uint64_t operation = 0;
};

TEST(TenantTableTest, NumbersTenantsAndBoundsThem) {
  TenantTable table(TenantTerms{}, 3);
  EXPECT_EQ(table.NumberOf("").value(), TenantTable::kDefaultTenant);
  EXPECT_EQ(table.NumberOf("a").value(), 1u);
  EXPECT_EQ(table.NumberOf("b").value(), 2u);
  EXPECT_EQ(table.NumberOf("a").value(), 1u);
  EXPECT_EQ(table.NumberOf("c").status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(table.Configure("a", TenantTerms{-1, 1, 0}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(table.Configure("a", TenantTerms{1, 0, 0}).code(), absl::StatusCode::kInvalidArgument);
}

TEST(TenantTest, AQuotaIsHardWhateverIsFree) {
  SharedTier shared(100);
  const uint32_t tenant = shared.Tenant("small", TenantTerms{3 * kCharge, 1, 0});
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(shared.Put(tenant).ok());
    EXPECT_LE(shared.tier.tenants().bytes(tenant), 3 * kCharge);
  }
  EXPECT_EQ(shared.Entries(tenant), 3);
  const uint32_t nothing = shared.Tenant("nothing", TenantTerms{kCharge - 1, 1, 0});
  const absl::Status refused = shared.Put(nothing).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("quota"));
  EXPECT_EQ(shared.tier.tenants().bytes(nothing), 0);
}

TEST(TenantTest, NobodyLosesBelowTheirShareToAnother) {
  SharedTier shared(40);
  const uint32_t quiet = shared.Tenant("quiet", {});
  const uint32_t loud = shared.Tenant("loud", {});
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(shared.Put(quiet).ok());
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(shared.Put(loud).ok());
  EXPECT_EQ(shared.Entries(quiet), 10);  // though all are older than anything of the other
  EXPECT_EQ(shared.Entries(loud), 30);   // what is left unused is anyone's
  for (int i = 0; i < 15; ++i) ASSERT_TRUE(shared.Put(quiet).ok());
  EXPECT_NEAR(static_cast<double>(shared.Entries(quiet)), 20, 1);
  EXPECT_NEAR(static_cast<double>(shared.Entries(loud)), 20, 1);
}

TEST(TenantTest, SharesFollowWeights) {
  SharedTier shared(40);
  const uint32_t light = shared.Tenant("light", {});
  TenantTerms terms;
  terms.weight = 3;
  const uint32_t heavy = shared.Tenant("heavy", terms);
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(shared.Put(light).ok());
    ASSERT_TRUE(shared.Put(heavy).ok());
  }
  EXPECT_NEAR(static_cast<double>(shared.Entries(light)), 10, 1);
  EXPECT_NEAR(static_cast<double>(shared.Entries(heavy)), 30, 1);
}

TEST(TenantTest, ATenantWhoseEntriesAreAllHeldTakesNoneOfOthersBelowTheirShare) {
  SharedTier shared(10);
  const uint32_t holder = shared.Tenant("holder", {});
  const uint32_t other = shared.Tenant("other", {});
  for (int i = 0; i < 7; ++i) shared.tier.Hold(shared.Put(holder).value());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(shared.Put(other).ok());
  EXPECT_EQ(shared.Put(holder).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(shared.Entries(other), 3);
}

TEST(TenantTest, ChargesAddUpUnderRandomUse) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    uint64_t draw = 0;
    const auto next = [&](uint64_t below) { return MixBits(seed, draw++) % below; };
    SharedTier shared(25);
    for (const char* name : {"a", "b", "c"}) {
      TenantTerms terms;
      terms.weight = 1 + static_cast<double>(next(3));
      terms.quota_bytes = static_cast<int64_t>(5 + next(20)) * kCharge;
      shared.Tenant(name, terms);
    }
    std::vector<uint64_t> stored;
    for (int step = 0; step < 400; ++step) {
      if (const auto entry = shared.Put(static_cast<uint32_t>(next(4))); entry.ok()) stored.push_back(*entry);
      if (!stored.empty() && next(3) == 0) shared.tier.Drop(stored[next(stored.size())]);
      int64_t sum = 0;
      for (uint32_t tenant = 0; tenant < shared.tier.tenants().size(); ++tenant) {
        const TenantTable& tenants = shared.tier.tenants();
        ASSERT_LE(tenants.bytes(tenant), tenants.terms(tenant).quota_bytes);
        sum += tenants.bytes(tenant);
      }
      ASSERT_EQ(sum, shared.tier.bytes());
      ASSERT_EQ(sum, shared.tier.SumBytes());
      ASSERT_LE(sum, shared.tier.capacity_bytes());
    }
  }
}

}  // namespace
}  // namespace decant
