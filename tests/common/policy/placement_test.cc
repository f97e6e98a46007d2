#include "common/policy/placement.h"

#include <algorithm>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace decant {
namespace {

using testing::ElementsAre;

constexpr PlacementNeed kNeed{"r", 1000, 100, 23040};

PairCandidate Pair(double tokens_per_s = 1000) {
  PairCandidate pair;
  pair.link = LinkKind::kGrpc;
  pair.prefill_load.prefill_tokens_per_s = tokens_per_s;
  return pair;
}

std::vector<int32_t> Order(const std::vector<PairCandidate>& pairs, int32_t limit = 100) {
  std::vector<int32_t> order;
  for (const RankedPair& ranked : RankPairs(kNeed, pairs, limit)) order.push_back(ranked.candidate);
  return order;
}

TEST(PlacementTest, PrefersTheShorterQueue) {
  std::vector<PairCandidate> pairs(3, Pair());
  pairs[0].prefill_queued_tokens = 5000;
  pairs[2].prefill_queued_tokens = 100;
  EXPECT_THAT(Order(pairs), ElementsAre(1, 2, 0));
  EXPECT_THAT(Order(pairs, 2), ElementsAre(1, 2));
  EXPECT_THAT(Order(pairs, 0), ElementsAre());
}

TEST(PlacementTest, PrefersTheFasterWorkerAndLink) {
  EXPECT_THAT(Order({Pair(500), Pair(2000)}), ElementsAre(1, 0));
  std::vector<PairCandidate> pairs(3, Pair());
  pairs[0].link_bits_per_s = 1e8;
  pairs[1].link = LinkKind::kCudaIpc;
  EXPECT_THAT(Order(pairs), ElementsAre(1, 2, 0));
}

TEST(PlacementTest, PutsFullDecodeWorkersLastAndDrainingOnesNowhere) {
  std::vector<PairCandidate> pairs(4, Pair());
  pairs[0].decode_load.waiting = 1;
  pairs[1].prefill_queued_tokens = 100000;
  pairs[2].decode_load.draining = true;
  pairs[3].prefill_load.draining = true;
  EXPECT_THAT(Order(pairs), ElementsAre(1, 0));
}

TEST(PlacementTest, OfPairsThatAreAboutAsQuickTheLessLoadedGoesFirst) {
  std::vector<PairCandidate> pairs(3, Pair());
  pairs[0].decode_load.running = 3;
  pairs[1].decode_load.running = 2;
  pairs[2].decode_load.running = 1;
  EXPECT_THAT(Order(pairs), ElementsAre(2, 1, 0));
  // 2 % quicker is no reason to go to a fuller batch, 20 % is.
  pairs[0].prefill_load.prefill_tokens_per_s = 1020;
  EXPECT_THAT(Order(pairs), ElementsAre(2, 1, 0));
  pairs[0].prefill_load.prefill_tokens_per_s = 1200;
  EXPECT_THAT(Order(pairs), ElementsAre(0, 2, 1));
}

// Two prefill and two decode workers that nothing tells apart.
std::vector<PairCandidate> EqualPairs() {
  std::vector<PairCandidate> pairs;
  for (const char* prefill : {"p1:1", "p2:1"}) {
    for (const char* decode : {"d1:1", "d2:1"}) {
      pairs.push_back(Pair());
      pairs.back().prefill = prefill;
      pairs.back().decode = decode;
    }
  }
  return pairs;
}

TEST(PlacementTest, TiesSpreadOverPairsByRequest) {
  const std::vector<PairCandidate> pairs = EqualPairs();
  std::vector<int> firsts(pairs.size());
  for (int request = 0; request < 400; ++request) {
    PlacementNeed need = kNeed;
    const std::string id = "r-" + std::to_string(request);
    need.request_id = id;
    ++firsts[static_cast<size_t>(RankPairs(need, pairs, 1)[0].candidate)];
  }
  // 100 each; five standard deviations.
  EXPECT_THAT(firsts, testing::Each(testing::AllOf(testing::Gt(56), testing::Lt(144))));
}

TEST(PlacementTest, ARequestsTiesAreSettledAlikeInAnyOrderGivenAndWithoutOthers) {
  std::vector<PairCandidate> pairs = EqualPairs();
  const auto names = [&] {
    std::vector<std::string> order;
    for (const int32_t i : Order(pairs)) {
      order.push_back(pairs[static_cast<size_t>(i)].prefill + pairs[static_cast<size_t>(i)].decode);
    }
    return order;
  };
  std::vector<std::string> before = names();
  std::reverse(pairs.begin(), pairs.end());
  EXPECT_EQ(names(), before);
  pairs.erase(pairs.begin());  // p2:1 with d2:1
  std::erase(before, "p2:1d2:1");
  EXPECT_EQ(names(), before);
}

TEST(PlacementTest, SurvivesNumbersThatAreNone) {
  std::vector<PairCandidate> pairs(4, Pair());
  pairs[0].link_bits_per_s = std::numeric_limits<double>::quiet_NaN();
  pairs[1].prefill_load.prefill_tokens_per_s = -1;
  pairs[2].prefill_queued_tokens = -100;
  pairs[3].prefill_queued_tokens = std::numeric_limits<int32_t>::max();
  EXPECT_EQ(Order(pairs).size(), 4u);
  EXPECT_THAT(RankPairs(PlacementNeed{}, {}, 10), testing::IsEmpty());
}

}  // namespace
}  // namespace decant
