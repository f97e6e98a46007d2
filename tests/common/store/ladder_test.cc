#include "common/store/ladder.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "common/base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace decant {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr double kTakesFull = 1, kTakesK8V4 = 0.9, kTakesK4V2 = 0.5, kTakesAll = 0;

std::vector<Rung> Rungs() {
  return RungsOf({{Sha256("k4v2"), "k4v2", kTakesK4V2, 0.22},
                  {Sha256("full"), "full", 1, 1},
                  {Sha256("k8v4"), "k8v4", kTakesK8V4, 0.4}});
}

bool Any(uint64_t) { return true; }

EvictionFacts Facts(uint64_t operation, double floor, int32_t depth = 0) {
  EvictionFacts facts;
  facts.use.operation = operation;
  facts.use.floor = floor;
  facts.depth = depth;
  return facts;
}

EntryUse Use(uint64_t operation, double floor) {
  EntryUse use;
  use.operation = operation;
  use.floor = floor;
  return use;
}

// What a step does, as one word.
std::string Word(const Ladder& ladder, const LadderStep& step) {
  const std::string to = step.to == LadderStep::kEvict ? "gone" : ladder.rungs(step.scale)[step.to].name;
  return std::to_string(step.entry) + ":" + to;
}

// Plans one step after the other, executes each at once, and tells them all.
std::vector<std::string> Squeeze(Ladder& ladder, int64_t bytes) {
  std::vector<std::string> words;
  std::map<uint64_t, int64_t> sizes;
  while (bytes > 0) {
    const std::vector<LadderStep> steps = ladder.Plan(bytes, 1, Any);
    if (steps.empty()) break;
    const LadderStep& step = steps[0];
    words.push_back(Word(ladder, step));
    bytes -= step.frees;
    if (step.to == LadderStep::kEvict) {
      ladder.Forget(step.entry);
    } else {
      const auto full = static_cast<int64_t>(1000 * ladder.rungs(step.scale)[step.to].bytes_share);
      ladder.Moved(step.entry, step.to, full);
    }
  }
  return words;
}

class LadderTest : public testing::Test {
 protected:
  void Store(uint64_t entry, uint64_t operation, double floor, int32_t depth = 0) {
    EvictionFacts facts = Facts(operation, floor, depth);
    facts.key = entry;
    ladder_.Track(entry, facts);
    ladder_.Describe(entry, scale_, 0, 1000);
  }

  Ladder ladder_;
  const uint32_t scale_ = ladder_.AddScale(Rungs());
};

TEST(RungsTest, KeepsWhatIsWorthHaving) {
  const std::vector<Rung> rungs = RungsOf({{Sha256("a"), "a", 0.9, 0.5},
                                           {Sha256("f"), "f", 1, 1},
                                           {Sha256("worse"), "worse", 0.8, 0.6},
                                           {Sha256("unmeasured"), "unmeasured", 0, 0.1},
                                           {Sha256("equal"), "equal", 0.9, 0.5},
                                           {Sha256("b"), "b", 0.3, 0.2}});
  std::vector<std::string> names;
  for (const Rung& rung : rungs) names.push_back(rung.name);
  EXPECT_THAT(names, ElementsAre("f", "a", "b"));
  EXPECT_EQ(LastAccepted(rungs, 1), 0u);
  EXPECT_EQ(LastAccepted(rungs, 0.95), 0u);
  EXPECT_EQ(LastAccepted(rungs, 0.9), 1u);
  EXPECT_EQ(LastAccepted(rungs, 0.3), 2u);
  EXPECT_EQ(LastAccepted(rungs, 0), 2u);
}

TEST(FloorsTest, EvidenceOutweighsThePrior) {
  FloorPrior prior(3);
  for (int i = 0; i < 997; ++i) prior.Add(1);
  FloorCounts none;
  EXPECT_NEAR(prior.Accepts(none, 1, 1), 0.999, 1e-9);
  EXPECT_NEAR(prior.Accepts(none, 2, 1), 0.001, 1e-9);
  FloorCounts evidence;
  for (int i = 0; i < 3; ++i) evidence.Add(2);
  EXPECT_NEAR(prior.Accepts(evidence, 2, 1), 3.001 / 4, 1e-9);
  EXPECT_EQ(prior.Accepts(evidence, 0, 1), 1);
  for (int i = 0; i < 1000; ++i) evidence.Add(0);
  EXPECT_LE(evidence.sum(), 512u);
  EXPECT_LT(prior.Accepts(evidence, 2, 1), 0.02);
}

TEST_F(LadderTest, ReencodesDownToTheFloorAndNoFurther) {
  Store(1, 1, kTakesK8V4);
  Store(2, 2, kTakesK4V2);
  Store(3, 3, kTakesAll);
  Store(4, 4, kTakesFull);
  // One request each accepts what its floor says; the rest is the prior's quarter of a request, so that what few have
  // asked for is given up last of all that costs nothing, and nothing is evicted before.
  const std::vector<std::string> words = Squeeze(ladder_, 1 << 20);
  const auto place = [&](const std::string& word) {
    return std::find(words.begin(), words.end(), word) - words.begin();
  };
  EXPECT_THAT(words, testing::IsSupersetOf({"1:k8v4", "2:k8v4", "3:k8v4", "2:k4v2", "3:k4v2"}));
  EXPECT_THAT(words, testing::IsSupersetOf({"1:gone", "2:gone", "3:gone", "4:gone"}));
  EXPECT_EQ(words.size(), 9u) << testing::PrintToString(words);
  for (const char* free : {"1:k8v4", "2:k8v4", "3:k8v4", "2:k4v2", "3:k4v2"}) {
    EXPECT_LT(place(free), place("4:gone"));
    EXPECT_LT(place(free), place("1:gone"));
  }
}

// Nobody has asked for what is loaded beforehand, so it is no evidence that anything would do.
TEST_F(LadderTest, APrefetchTeachesNoFloor) {
  for (uint64_t entry = 1; entry <= 50; ++entry) {
    Store(entry, entry, kTakesFull);
    ladder_.Hold(entry);
  }
  EvictionFacts prefetched = Facts(51, 0, 0);
  prefetched.key = 51;
  prefetched.use.counts = false;
  ladder_.Track(51, prefetched);
  ladder_.Describe(51, scale_, 0, 1000);
  Store(52, 52, kTakesAll);
  const std::vector<LadderStep> steps = ladder_.Plan(1, 1, Any);
  ASSERT_EQ(steps.size(), 1u);
  EXPECT_EQ(Word(ladder_, steps[0]), "52:k8v4") << "though 51 is colder";
}

TEST_F(LadderTest, TheColdestGoesFirstOfWhatIsAlike) {
  for (uint64_t entry = 1; entry <= 3; ++entry) Store(entry, entry * 100, kTakesK8V4);
  ladder_.Touch(1, Use(1000, kTakesK8V4));  // another family now, and hot
  const std::vector<LadderStep> steps = ladder_.Plan(1 << 20, 2, Any);
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_EQ(Word(ladder_, steps[0]), "2:k8v4");
  EXPECT_EQ(Word(ladder_, steps[1]), "3:k8v4");
  EXPECT_EQ(steps[0].frees, 600);
}

TEST_F(LadderTest, WhatNoRequestWouldTakeIsEvictedBeforeWhatOneWould) {
  Store(1, 1, kTakesAll);
  Store(2, 2, kTakesK8V4);
  for (int step = 0; step < 2; ++step) {
    const std::vector<LadderStep> plan = ladder_.Plan(1, 1, [](uint64_t entry) { return entry == 1; });
    ladder_.Moved(plan[0].entry, plan[0].to, 400 - 180 * step);
  }
  // Everybody who comes for 1 from now on refuses k4v2.
  for (uint64_t use = 1; use <= 50; ++use) ladder_.Touch(1, Use(10 + use, kTakesK8V4));
  for (uint64_t use = 1; use <= 50; ++use) ladder_.Touch(2, Use(10 + use, kTakesK8V4));
  EXPECT_THAT(Squeeze(ladder_, 1 << 20), ElementsAre("2:k8v4", "1:gone", "2:gone"));
}

TEST_F(LadderTest, PlannedEntriesAreLeftAloneUntilTheirStepHasEnded) {
  Store(1, 1, kTakesK8V4);
  Store(2, 2, kTakesK8V4);
  ASSERT_EQ(ladder_.Plan(600, 9, Any).size(), 1u);
  EXPECT_EQ(ladder_.Plan(600, 9, Any).size(), 1u);
  EXPECT_THAT(ladder_.Plan(600, 9, Any), IsEmpty());
  EXPECT_EQ(ladder_.Evict(Any), std::nullopt);
  ladder_.Moved(1, 1, 400);
  ladder_.Stays(2);
  // What could not be re-encoded is evicted when its turn comes.
  const std::vector<std::string> words = Squeeze(ladder_, 1 << 20);
  EXPECT_THAT(words, testing::IsSupersetOf({"2:gone", "1:gone"}));
  EXPECT_THAT(words, testing::Not(testing::Contains("2:k8v4")));
}

TEST_F(LadderTest, HeldAndRefusedEntriesStayInAnyPlan) {
  Store(1, 1, kTakesAll);
  Store(2, 2, kTakesAll);
  ladder_.Hold(1);
  EXPECT_THAT(ladder_.Plan(1 << 20, 9, [](uint64_t entry) { return entry != 2; }), IsEmpty());
  ladder_.LetGo(1);
  EXPECT_EQ(ladder_.Plan(1 << 20, 1, [](uint64_t entry) { return entry != 2; })[0].entry, 1u);
}

TEST_F(LadderTest, WhatIsRetainedIsNotEvenReencodedWhileAnythingElseCanBe) {
  Store(1, 1, kTakesAll);
  Store(2, 2, kTakesFull);  // its value says that it is the last to be touched
  Store(3, 3, kTakesFull);
  ladder_.SetPriority(1, kMostPriority);
  ladder_.SetPriority(3, 0);
  const std::vector<std::string> words = Squeeze(ladder_, 3000);
  ASSERT_EQ(words.size(), 5u);
  EXPECT_THAT(words, ElementsAre("3:gone", "2:gone", "1:k8v4", "1:k4v2", "1:gone"));
}

TEST_F(LadderTest, AChunkThatComesBackIsNoStranger) {
  Store(1, 1, kTakesK4V2);
  ASSERT_EQ(ladder_.Evict(Any), 1u);
  EXPECT_EQ(ladder_.remembered(), 1u);
  EvictionFacts facts = Facts(5, kTakesFull);
  facts.key = 1;
  ladder_.Track(2, facts);
  ladder_.Describe(2, scale_, 0, 1000);
  EXPECT_EQ(ladder_.remembered(), 0u);
  // Of its two requests one accepted k4v2, which a stranger's had not.
  Store(3, 5, kTakesFull);
  EXPECT_EQ(Word(ladder_, ladder_.Plan(1, 1, Any)[0]), "2:k8v4");
}

// Whatever happens, plans hold every entry once, stay within what is admitted, and lead only downwards.
TEST(LadderRandomTest, KeepsItsBooksUnderRandomUse) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    uint64_t draw = 0;
    const auto next = [&](uint64_t below) { return MixBits(seed, draw++) % below; };
    LadderOptions options;
    options.learn_every = 16;
    Ladder ladder(options);
    const uint32_t scale = ladder.AddScale(Rungs());
    std::map<uint64_t, size_t> rung;
    std::set<uint64_t> held;
    uint64_t newest = 0;
    for (uint64_t step = 1; step < 1500; ++step) {
      const double floor = std::vector<double>{kTakesFull, kTakesK8V4, kTakesK4V2, kTakesAll}[next(4)];
      const uint64_t some = newest == 0 ? 0 : 1 + next(newest);
      switch (next(6)) {
        case 0:
        case 1: {
          EvictionFacts facts = Facts(step, floor, static_cast<int32_t>(next(4)));
          facts.key = next(60);
          facts.prefix_uses = static_cast<uint32_t>(next(5));
          ladder.Track(++newest, facts);
          ladder.Describe(newest, scale, 0, 1000);
          rung[newest] = 0;
          break;
        }
        case 2:
          ladder.Touch(some, Use(step, floor));
          break;
        case 3:
          if (rung.contains(some)) {
            held.contains(some) ? ladder.LetGo(some) : ladder.Hold(some);
            held.contains(some) ? static_cast<void>(held.erase(some)) : static_cast<void>(held.insert(some));
          }
          break;
        case 4:
          for (const LadderStep& planned : ladder.Plan(static_cast<int64_t>(next(3000)), 1 + next(4), Any)) {
            ASSERT_TRUE(rung.contains(planned.entry) && !held.contains(planned.entry)) << "seed " << seed;
            ASSERT_EQ(planned.from, rung[planned.entry]);
            ASSERT_GT(planned.to, planned.from);
            ASSERT_GT(planned.frees, 0);
            ASSERT_GE(planned.loss, 0);
            if (planned.to == LadderStep::kEvict) {
              ladder.Forget(planned.entry);
              rung.erase(planned.entry);
            } else {
              ladder.Moved(planned.entry, planned.to, static_cast<int64_t>(1000 * Rungs()[planned.to].bytes_share));
              rung[planned.entry] = planned.to;
            }
          }
          break;
        default:
          if (const auto victim = ladder.Evict(Any); victim.has_value()) {
            ASSERT_TRUE(rung.contains(*victim) && !held.contains(*victim)) << "seed " << seed;
            rung.erase(*victim);
          }
      }
    }
    size_t left = 0;
    while (ladder.Evict(Any).has_value()) ++left;
    EXPECT_EQ(left, rung.size() - held.size());
  }
}

}  // namespace
}  // namespace decant
