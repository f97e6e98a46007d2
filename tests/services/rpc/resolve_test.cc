#include "services/rpc/resolve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace decant {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

TEST(ResolveTest, AddressesStandForThemselves) {
  EXPECT_THAT(*ResolveTargets("127.0.0.1:50"), ElementsAre("127.0.0.1:50"));
  EXPECT_THAT(*ResolveTargets("b:2,a:1,b:2"), ElementsAre("a:1", "b:2"));
  EXPECT_FALSE(IsDnsName("a:1"));
}

// The system's own names need no network.
TEST(ResolveTest, ANameStandsForItsAddresses) {
  EXPECT_TRUE(IsDnsName("dns:///localhost:50"));
  EXPECT_THAT(*ResolveTargets("dns:///127.0.0.1:50"), ElementsAre("127.0.0.1:50"));
  EXPECT_THAT(*ResolveTargets("dns:///[::1]:50"), ElementsAre("[::1]:50"));
  const auto local = ResolveTargets("dns:///localhost:50");
  ASSERT_TRUE(local.ok()) << local.status();
  EXPECT_THAT(*local, ::testing::AnyOf(Contains("127.0.0.1:50"), Contains("[::1]:50")));
}

TEST(ResolveTest, OtherThingsAreRefused) {
  for (const char* wrong :
       {"", "a", "a:", ":1", "a:0", "a:70000", "a:1,", "dns:///a", "dns://a:1", "dns:///", "x/y:1"}) {
    EXPECT_EQ(ResolveTargets(wrong).status().code(), absl::StatusCode::kInvalidArgument) << wrong;
  }
}

}  // namespace
}  // namespace decant
