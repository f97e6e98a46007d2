#include "services/rpc/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "services/rpc/exit_limit.h"

namespace decant {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

template <typename Act>
std::string Written(const Act& act) {
  ::testing::internal::CaptureStderr();
  act();
  return ::testing::internal::GetCapturedStderr();
}

TEST(LogTest, WritesWhatIsAtTheLevelAndAbove) {
  ASSERT_TRUE(StartLog("test", "warning").ok());
  const std::string text = Written([] {
    Log(LogLevel::kInfo, "not this");
    Log(LogLevel::kWarning, "a worker was lost");
    Log(LogLevel::kError, "{} is no format");
  });
  EXPECT_THAT(text, AllOf(HasSubstr("warning test: a worker was lost\n"), HasSubstr("error test: {} is no format\n"),
                          Not(HasSubstr("not this"))));
  ASSERT_TRUE(StartLog("test", "off").ok());
  EXPECT_EQ(Written([] { Log(LogLevel::kError, "nothing"); }), "");
  EXPECT_EQ(StartLog("test", "loud").code(), absl::StatusCode::kInvalidArgument);
  for (const std::string& name : LogLevelNames()) EXPECT_TRUE(StartLog("test", name).ok()) << name;
}

TEST(LogTest, AMessageIsOneLine) {
  ASSERT_TRUE(StartLog("test", "info").ok());
  const std::string text = Written([] { Log(LogLevel::kInfo, absl::StrCat("a\nb\x1b[c", std::string(5000, 'x'))); });
  EXPECT_THAT(text, HasSubstr("test: a b [cxxx"));
  EXPECT_LT(text.size(), 1200u);
}

TEST(LogTest, ABoundedLogCountsWhatItLeavesOut) {
  ASSERT_TRUE(StartLog("test", "info").ok());
  BoundedLog log(2, absl::Seconds(10));
  absl::Time now = absl::UnixEpoch();
  const std::string first = Written([&] {
    for (int i = 0; i < 5; ++i) log.Log(now, LogLevel::kInfo, absl::StrCat("line ", i));
  });
  EXPECT_THAT(first, AllOf(HasSubstr("line 0"), HasSubstr("line 1"), Not(HasSubstr("line 2"))));
  now += absl::Seconds(10);
  const std::string second = Written([&] { log.Log(now, LogLevel::kInfo, "line 5"); });
  EXPECT_THAT(second, AllOf(HasSubstr("3 lines like the next one were left out\n"), HasSubstr("line 5")));
}

TEST(ExitLimitTest, EndsAProcessThatDoesNotStop) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto hang = [] {
    const ExitLimit limit(absl::Milliseconds(20));
    absl::SleepFor(absl::Seconds(60));
  };
  EXPECT_EXIT(hang(), ::testing::ExitedWithCode(1), "");
  const ExitLimit harmless(absl::Seconds(60));
}

}  // namespace
}  // namespace decant
