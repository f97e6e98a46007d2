#include "common/base/digest.h"

#include <gtest/gtest.h>

namespace decant {
namespace {

TEST(DigestTest, MatchesThePublishedVector) {
  EXPECT_EQ(Sha256("abc").Hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(DigestTest, TheDefaultIsZeroAndNotAHash) {
  EXPECT_TRUE(Digest{}.IsZero());
  EXPECT_FALSE(Sha256("").IsZero());
}

}  // namespace
}  // namespace decant
