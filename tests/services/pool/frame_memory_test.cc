#include "services/pool/frame_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace decant {
namespace {

using testing::Optional;

TEST(FrameMemoryTest, BlobsLieWhereOthersReadThem) {
  const auto memory = FrameMemory::Create(4096);
  ASSERT_TRUE(memory.ok()) << memory.status();
  const Blob one = Blob::CopyOf("a frame", memory->get());
  const Blob other = Blob::CopyOf("another", memory->get());
  ASSERT_TRUE((*memory)->OffsetOf(one).has_value());
  EXPECT_NE((*memory)->OffsetOf(one), (*memory)->OffsetOf(other));
  const auto mapping = OpenSharedMemory((*memory)->handle());
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  const auto* const seen = static_cast<const char*>(mapping->base);
  EXPECT_NE(seen, one.view().data() - *(*memory)->OffsetOf(one));
  EXPECT_EQ(std::string(seen + *(*memory)->OffsetOf(one), 7), "a frame");
  EXPECT_EQ(std::string(seen, kRegionIdBytes), (*memory)->id());
  CloseSharedMemory(*mapping);
  EXPECT_EQ((*memory)->OffsetOf(Blob::CopyOf("elsewhere")), std::nullopt);
  EXPECT_EQ((*memory)->OffsetOf(Blob()), std::nullopt);
}

TEST(FrameMemoryTest, WithoutRoomBlobsLieElsewhereAndRoomComesBackWithTheLastCopy) {
  const auto memory = FrameMemory::Create(2048);
  ASSERT_TRUE(memory.ok());
  Blob large = Blob::CopyOf(std::string(2048, 'x'), memory->get());
  Blob copy = large;
  const auto place = (*memory)->OffsetOf(large);
  ASSERT_TRUE(place.has_value());
  const Blob late = Blob::CopyOf("y", memory->get());
  EXPECT_EQ((*memory)->OffsetOf(late), std::nullopt);
  EXPECT_EQ(late.view(), "y");
  large = Blob();
  EXPECT_EQ((*memory)->Take(2048), nullptr);
  copy = Blob();
  EXPECT_THAT((*memory)->OffsetOf(Blob::CopyOf(std::string(2048, 'z'), memory->get())), Optional(*place));
}

TEST(FrameMemoryTest, BlobsMayOutliveIt) {
  auto memory = FrameMemory::Create(4096);
  ASSERT_TRUE(memory.ok());
  const Blob blob = Blob::CopyOf("still there", memory->get());
  memory->reset();
  EXPECT_EQ(blob.view(), "still there");
}

}  // namespace
}  // namespace decant
