#include "common/base/digest.h"

#include <gtest/gtest.h>

namespace decant {
namespace {

TEST(DigestTest, MatchesThePublishedVector) {
  EXPECT_EQ(Sha256("abc").Hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(DigestTest, ReadsItsOwnHexAndNothingElse) {
  const Digest digest = Sha256("abc");
  EXPECT_EQ(Digest::FromHex(digest.Hex()), digest);
  std::string hex = digest.Hex();
  EXPECT_FALSE(Digest::FromHex(hex + "0").has_value());
  EXPECT_FALSE(Digest::FromHex(hex.substr(1)).has_value());
  EXPECT_FALSE(Digest::FromHex("").has_value());
  hex[5] = 'g';
  EXPECT_FALSE(Digest::FromHex(hex).has_value());
}

TEST(DigestTest, TheDefaultIsZeroAndNotAHash) {
  EXPECT_TRUE(Digest{}.IsZero());
  EXPECT_FALSE(Sha256("").IsZero());
}

}  // namespace
}  // namespace decant
