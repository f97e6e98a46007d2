#include "common/store/reuse.h"

#include "gtest/gtest.h"

namespace decant {
namespace {

EntryUse Plain() { return EntryUse{}; }

TEST(ReuseFamilyTest, SortsByWhatIsKnownForFree) {
  EntryUse end;
  end.ends = true;
  EXPECT_EQ(ReuseFamily(1, 3, end), 0);
  EXPECT_EQ(ReuseFamily(2, 0, Plain()), 1);
  EXPECT_EQ(ReuseFamily(900, 0, Plain()), 5);
  EXPECT_EQ(ReuseFamily(1, 0, Plain()), 6);
  EXPECT_EQ(ReuseFamily(1, 1, Plain()), 7);
  EXPECT_EQ(ReuseFamily(1, 6, Plain()), 12);
  EXPECT_EQ(ReuseFamily(1, 33, Plain()), 6);  // behind what opens all prompts it is as new as behind nothing
}

TEST(ReuseModelTest, BeforeItKnowsAnythingTheOlderIsWorthLess) {
  ReuseModel model;
  model.Learn(5);
  for (uint64_t age = 1; age < 1u << 20; age *= 4) EXPECT_GT(model.Index(0, age), model.Index(0, 4 * age));
}

// Every entry is used again after exactly 100 operations: the nearer the use, the better the rate; past it nothing
// comes.
TEST(ReuseModelTest, LearnsWhenUsesCome) {
  ReuseModel model;
  for (uint64_t entry = 0; entry < 4000; ++entry) {
    model.Enter(1, entry);
    model.Leave(1, entry, entry + 100, true);
  }
  model.Learn(5000);
  EXPECT_NEAR(model.Index(1, 1), 1.0 / 100, 0.3 / 100);
  EXPECT_GT(model.Index(1, 64), 2 * model.Index(1, 1));
  EXPECT_LT(model.Index(1, 200), model.Index(1, 1) / 5);
}

TEST(ReuseModelTest, TellsFamiliesApart) {
  ReuseModel model;
  for (uint64_t entry = 0; entry < 4000; ++entry) {
    model.Enter(1, entry);
    model.Leave(1, entry, entry + 50, entry % 2 == 0);
    model.Enter(2, entry);
    model.Leave(2, entry, entry + 50, entry % 20 == 0);
  }
  model.Learn(5000);
  EXPECT_GT(model.Index(1, 1), 4 * model.Index(2, 1));
  // A family that was never seen is like all of them together.
  EXPECT_LT(model.Index(3, 1), model.Index(1, 1));
  EXPECT_GT(model.Index(3, 1), model.Index(2, 1));
}

// Those that still wait are evidence too: half of them came back at 10, the other half has waited for 5,000.
TEST(ReuseModelTest, CountsThoseThatStillWait) {
  ReuseModel all;
  ReuseModel half;
  for (uint64_t entry = 0; entry < 4000; ++entry) {
    all.Enter(1, entry);
    all.Leave(1, entry, entry + 10, true);
    half.Enter(1, entry);
    if (entry % 2 == 0) half.Leave(1, entry, entry + 10, true);
  }
  all.Learn(9000);
  half.Learn(9000);
  EXPECT_GT(all.Index(1, 1), 1.4 * half.Index(1, 1));
  half.Renew(1, 1, 8999);  // ages of the waiting do not change what was seen
  half.Learn(9000);
  EXPECT_GT(all.Index(1, 1), 1.4 * half.Index(1, 1));
}

}  // namespace
}  // namespace decant
