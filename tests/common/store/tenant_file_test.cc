#include "common/store/tenant_file.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace decant {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr int64_t kCapacity = 1000;

std::string ErrorOf(absl::string_view json) {
  const auto table = ParseTenants(json, kCapacity);
  EXPECT_EQ(table.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(table.status().message());
}

TEST(TenantFileTest, SaysWhoMayStoreHowMuch) {
  auto table = ParseTenants(R"({"tenants": {"a": {"quota_bytes": 100, "weight": 2.5},
                                            "b.c-d_1": {"retention_bytes": 7}},
                                "default": {"quota_bytes": 40}})",
                            kCapacity);
  ASSERT_TRUE(table.ok()) << table.status();
  const TenantTerms a = table->terms(table->Find("a"));
  EXPECT_EQ(a.quota_bytes, 100);
  EXPECT_EQ(a.weight, 2.5);
  EXPECT_EQ(a.retention_budget_bytes, 25);
  const TenantTerms b = table->terms(table->Find("b.c-d_1"));
  EXPECT_EQ(b.quota_bytes, std::numeric_limits<int64_t>::max());
  EXPECT_EQ(b.weight, 1);
  EXPECT_EQ(b.retention_budget_bytes, 7);
  EXPECT_EQ(table->Find("stranger"), TenantTable::kNobody);
  EXPECT_EQ(table->terms(*table->NumberOf("stranger")).quota_bytes, 40);
  EXPECT_EQ(table->terms(TenantTable::kDefaultTenant).retention_budget_bytes, 10);
}

TEST(TenantFileTest, NothingStatedIsNothingBounded) {
  const auto table = ParseTenants("{}", kCapacity);
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->terms(0).quota_bytes, std::numeric_limits<int64_t>::max());
  EXPECT_EQ(table->terms(0).retention_budget_bytes, kCapacity / 4);
  EXPECT_EQ(EqualTenants(kCapacity).terms(0).retention_budget_bytes, kCapacity / 4);
}

TEST(TenantFileTest, ErrorsNameTheLineAndWhatIsAllowed) {
  EXPECT_THAT(ErrorOf("{\n\"tenant\": {}}"), AllOf(HasSubstr("line 2"), HasSubstr("did you mean 'tenants'")));
  EXPECT_THAT(ErrorOf("{\"tenants\": {\"a\": {\n\n\"quota\": 1}}}"),
              AllOf(HasSubstr("line 3"), HasSubstr("quota_bytes, weight, retention_bytes")));
  EXPECT_THAT(ErrorOf("{\"tenants\": {\n\"a\": {\"quota_bytes\": -1}}}"),
              AllOf(HasSubstr("line 2"), HasSubstr("-1"), HasSubstr("0 or more")));
  EXPECT_THAT(ErrorOf("{\"tenants\": {\"a\": {\"quota_bytes\": 1.5}}}"), HasSubstr("1.5"));
  EXPECT_THAT(ErrorOf("{\"tenants\": {\"a\": {\"quota_bytes\": 18446744073709551615}}}"), HasSubstr("quota_bytes"));
  EXPECT_THAT(ErrorOf("{\"tenants\": {\"a\":\n {\"weight\": 0}}}"), AllOf(HasSubstr("line 2"), HasSubstr("above 0")));
  EXPECT_THAT(ErrorOf("{\"default\": {\"weight\": \"much\"}}"), HasSubstr("\"much\""));
  EXPECT_THAT(ErrorOf("{\n\"default\": 5}"), AllOf(HasSubstr("line 2"), HasSubstr("object")));
  EXPECT_THAT(ErrorOf("{\"tenants\": []}"), HasSubstr("object of names"));
  EXPECT_THAT(ErrorOf("{\"tenants\": {\n\"a b\": {}}}"), AllOf(HasSubstr("line 2"), HasSubstr("letters, digits")));
  EXPECT_THAT(ErrorOf("{\"tenants\": {\"\": {}}}"), HasSubstr("no name"));
  EXPECT_THAT(ErrorOf("{\"tenants\": {\"a\": {},\n\"a\": {}}}"), AllOf(HasSubstr("line 2"), HasSubstr("already")));
  EXPECT_THAT(ErrorOf("{\"tenants\": {"), HasSubstr("ends too early"));
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("begin with {"));
}

}  // namespace
}  // namespace decant
