#include "services/prefill/pool_memory.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "services/pool/frame_memory.h"

namespace decant {
namespace {

using Places = std::vector<MappedRegion::Place>;

class PoolMemoryTest : public testing::Test {
 protected:
  MappedRegion::Place PlaceOf(const Blob& blob) const {
    return {*memory_->OffsetOf(blob), static_cast<uint64_t>(blob.bytes()), blob.crc32c()};
  }
  absl::StatusOr<Blob> Copy(const Places& places) {
    const auto region = reader_.Open(memory_->handle(), memory_->id());
    if (!region.ok()) return region.status();
    return (*region)->Copy(places, *spare_);
  }

  const std::shared_ptr<FrameMemory> memory_ = FrameMemory::Create(int64_t{1} << 20).value();
  const std::shared_ptr<SpareMemory> spare_ = std::make_shared<SpareMemory>();
  PoolMemory reader_;
};

TEST_F(PoolMemoryTest, GathersPlacesOfEverySize) {
  std::string expected;
  std::vector<Blob> blobs;
  Places places;
  for (const size_t bytes : {1u, 63u, 64u, 16383u, 16384u, 16385u, 70000u}) {
    blobs.push_back(Blob::CopyOf(std::string(bytes, static_cast<char>('a' + blobs.size())), memory_.get()));
    places.push_back(PlaceOf(blobs.back()));
    absl::StrAppend(&expected, blobs.back().view());
  }
  places.push_back({5, 0, 0});
  const auto copy = Copy(places);
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_EQ(copy->view(), expected);
  EXPECT_EQ(copy->crc32c(), Crc32c(expected.data(), expected.size()));
  EXPECT_EQ(Copy({})->bytes(), 0);
}

TEST_F(PoolMemoryTest, WhatHasBeenGivenUpIsNotTakenForTheFrame) {
  Blob blob = Blob::CopyOf(std::string(1000, 'a'), memory_.get());
  const Blob other = Blob::CopyOf("b", memory_.get());
  const Places places = {PlaceOf(other), PlaceOf(blob)};
  ASSERT_TRUE(Copy(places).ok());
  blob = Blob();
  const Blob next = Blob::CopyOf(std::string(1000, 'c'), memory_.get());
  ASSERT_EQ(*memory_->OffsetOf(next), places[1].offset);
  EXPECT_EQ(Copy(places).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(PoolMemoryTest, PlacesOutsideTheRegionAreRefused) {
  const uint64_t most = std::numeric_limits<uint64_t>::max();
  const uint64_t size = (1u << 20) + 64;
  for (const MappedRegion::Place place : {MappedRegion::Place{size, 1, 0}, MappedRegion::Place{size - 1, 2, 0},
                                          MappedRegion::Place{most, 2, 0}, MappedRegion::Place{1, most, 0}}) {
    EXPECT_EQ(Copy({place}).status().code(), absl::StatusCode::kInvalidArgument) << place.offset;
  }
}

TEST_F(PoolMemoryTest, OnlyTheRegionThatIsMeantIsOpened) {
  const auto code = [this](const std::string& handle, const std::string& id) {
    return reader_.Open(handle, id).status().code();
  };
  EXPECT_EQ(code(memory_->handle(), std::string(kRegionIdBytes, 'x')), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code(memory_->handle(), ""), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code("/proc/self/fd/999", memory_->id()), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code("/etc/passwd", memory_->id()), absl::StatusCode::kInvalidArgument);
  const auto first = reader_.Open(memory_->handle(), memory_->id());
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(reader_.Open(memory_->handle(), memory_->id())->get(), first->get());
  // More pools than are kept open: this one is opened anew.
  std::vector<std::shared_ptr<FrameMemory>> others;
  for (int i = 0; i < 9; ++i) {
    others.push_back(FrameMemory::Create(64).value());
    ASSERT_TRUE(reader_.Open(others.back()->handle(), others.back()->id()).ok());
  }
  EXPECT_NE(reader_.Open(memory_->handle(), memory_->id())->get(), first->get());
}

TEST_F(PoolMemoryTest, MemoryIsUsedAgain) {
  auto one = spare_->Take(100000);
  const char* const address = one.get();
  one.reset();
  EXPECT_NE(spare_->Take(10).get(), address);  // of another size
  const auto again = spare_->Take(100001);
  EXPECT_EQ(again.get(), address);
  EXPECT_NE(spare_->Take(100000).get(), address);
}

}  // namespace
}  // namespace decant
