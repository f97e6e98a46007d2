#include "common/store/retention.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace decant {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const absl::Time kNow = absl::FromUnixSeconds(1000);

TEST(RetentionTest, EndsWithItsDuration) {
  Retention retention(absl::Hours(1));
  const auto receipt = retention.Retain(kNow, 1, 0, 100, 1000, 80, absl::Seconds(10)).value();
  EXPECT_EQ(receipt.priority, 80);
  EXPECT_EQ(receipt.until, kNow + absl::Seconds(10));
  EXPECT_EQ(receipt.clamped, "");
  EXPECT_EQ(retention.retained_bytes(0), 100);
  EXPECT_THAT(retention.Expire(kNow + absl::Seconds(9)), IsEmpty());
  EXPECT_THAT(retention.Expire(kNow + absl::Seconds(10)), ElementsAre(1));
  EXPECT_EQ(retention.retained_bytes(0), 0);
  EXPECT_FALSE(retention.Forget(1));
}

TEST(RetentionTest, NeverPassesTheBudget) {
  Retention retention(absl::Hours(1));
  for (uint64_t entry = 1; entry <= 20; ++entry) {
    const auto receipt = retention.Retain(kNow, entry, 7, 100, 1050, 100, absl::Minutes(1)).value();
    EXPECT_EQ(receipt.priority, entry <= 10 ? 100 : kDefaultPriority);
    EXPECT_THAT(receipt.clamped, entry > 10 ? HasSubstr("budget of 1050, of which 1000") : HasSubstr(""));
  }
  EXPECT_EQ(retention.retained_bytes(7), 1000);
  // Another tenant's budget is its own; without one nothing is retained above the default.
  EXPECT_EQ(retention.Retain(kNow, 30, 8, 100, 0, 36, absl::Minutes(1))->priority, kDefaultPriority);
  // The same entry again takes its own place.
  EXPECT_EQ(retention.Retain(kNow, 10, 7, 100, 1050, 90, absl::Minutes(1))->priority, 90);
  retention.Resize(10, 40);
  EXPECT_EQ(retention.retained_bytes(7), 940);
  EXPECT_EQ(retention.Retain(kNow, 31, 7, 100, 1050, 90, absl::Minutes(1))->priority, 90);
}

TEST(RetentionTest, LowPriorityCostsNoBudget) {
  Retention retention(absl::Hours(1));
  EXPECT_EQ(retention.Retain(kNow, 1, 0, 100, 0, 0, absl::Minutes(1))->priority, 0);
  EXPECT_EQ(retention.retained_bytes(0), 0);
  EXPECT_TRUE(retention.Forget(1));
}

TEST(RetentionTest, CutsWhatIsTooLongAndRefusesWhatMakesNoSense) {
  Retention retention(absl::Hours(1));
  const auto receipt = retention.Retain(kNow, 1, 0, 100, 1000, 80, absl::InfiniteDuration()).value();
  EXPECT_EQ(receipt.until, kNow + absl::Hours(1));
  EXPECT_THAT(receipt.clamped, HasSubstr("1h"));
  for (const int32_t priority : {-1, 101}) {
    EXPECT_EQ(retention.Retain(kNow, 1, 0, 1, 1000, priority, absl::Minutes(1)).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(retention.Retain(kNow, 1, 0, 1, 1000, 50, absl::ZeroDuration()).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(retention.size(), 1u);
}

}  // namespace
}  // namespace decant
