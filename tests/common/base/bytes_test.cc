#include "common/base/bytes.h"

#include <gtest/gtest.h>

namespace decant {
namespace {

TEST(BytesTest, ReadsBackWhatWasWritten) {
  std::string out;
  ByteWriter writer(out);
  writer.Put<uint16_t>(0x0102);
  writer.PutString("key");
  ByteReader reader(out);
  EXPECT_EQ(reader.Get<uint16_t>(), 0x0102);
  EXPECT_EQ(reader.GetString(), "key");
  EXPECT_TRUE(reader.ok());
  EXPECT_TRUE(reader.rest().empty());
}

TEST(BytesTest, StaysFailedAfterReadingPastTheEnd) {
  ByteReader reader("abc");
  EXPECT_EQ(reader.Get<uint32_t>(), 0u);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.Get<uint8_t>(), 0u);
  EXPECT_FALSE(reader.ok());
}

TEST(BytesTest, AHugeLengthFailsInsteadOfWrapping) {
  std::string out;
  ByteWriter(out).Put<uint32_t>(0xffffffffu);
  ByteReader reader(out);
  EXPECT_EQ(reader.GetString(), "");
  EXPECT_FALSE(reader.ok());
}

}  // namespace
}  // namespace decant
