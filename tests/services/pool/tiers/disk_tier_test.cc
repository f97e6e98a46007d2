// The disk tier: bounded, crash-safe, and never anything that was not committed.
#include "services/pool/tiers/disk_tier.h"

#include <filesystem>
#include <fstream>
#include <set>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/services/pool/tiers/full_disk.h"
#include "tests/support/disk_crash.h"
#include "tests/support/paths/paths.h"
#include "tests/support/record_samples.h"

namespace decant {
namespace {

using record_samples::IdOfNumber;
using record_samples::IsRecord;
using record_samples::RecordOf;
using record_samples::Shape;
using record_samples::TemporaryFolder;

const absl::Time kNever = absl::InfiniteFuture();

std::unique_ptr<DiskTier> OpenDisk(const TemporaryFolder& folder, int64_t capacity = kLeastDiskBytes) {
  DiskOptions options;
  options.folder = folder.path();
  options.capacity_bytes = capacity;
  auto disk = DiskTier::Open(options);
  EXPECT_TRUE(disk.ok()) << disk.status();
  return disk.ok() ? *std::move(disk) : nullptr;
}

absl::Status PutNumber(ByteTier& tier, uint64_t number, uint32_t version = 0, const Shape& shape = {}) {
  return tier.Put(IdOfNumber(number), EncodeRecord(RecordOf(number, version, shape)), kNever);
}

// What the tier has under this number is that record, whole. NOT_FOUND when it has none.
absl::Status Check(ByteTier& tier, uint64_t number, uint32_t version = 0, const Shape& shape = {}) {
  const absl::StatusOr<std::string> bytes = tier.Get(IdOfNumber(number), kNever);
  if (!bytes.ok()) return bytes.status();
  const absl::StatusOr<Record> record = DecodeRecord(*bytes, IdOfNumber(number));
  if (!record.ok()) return record.status();
  return IsRecord(*record, number, version, shape) ? absl::OkStatus() : absl::InternalError("another record");
}

TEST(DiskTierTest, KeepsRecordsAcrossAReopen) {
  const TemporaryFolder folder;
  {
    auto disk = OpenDisk(folder);
    for (uint64_t i = 0; i < 50; ++i) ASSERT_TRUE(PutNumber(*disk, i).ok());
    EXPECT_TRUE(PutNumber(*disk, 3, 1).ok());
    EXPECT_TRUE(disk->Erase(IdOfNumber(4), kNever).ok());
    EXPECT_EQ(Check(*disk, 3, 1), absl::OkStatus());
  }
  auto disk = OpenDisk(folder);
  EXPECT_EQ(disk->use().records, 49);
  EXPECT_EQ(Check(*disk, 7), absl::OkStatus());
  EXPECT_EQ(Check(*disk, 3, 1), absl::OkStatus());
  EXPECT_TRUE(absl::IsNotFound(Check(*disk, 4)));
  EXPECT_TRUE(absl::IsNotFound(Check(*disk, 50)));
  EXPECT_TRUE(*disk->Contains(IdOfNumber(7), kNever));
  EXPECT_FALSE(*disk->Contains(IdOfNumber(4), kNever));
  std::set<std::string> heads;
  ASSERT_TRUE(disk->ForEach([&](const RecordHead& head) { heads.insert(head.variant.key.Hex()); }).ok());
  EXPECT_EQ(heads.size(), 49u);
  EXPECT_TRUE(heads.count(IdOfNumber(7).key.Hex()) == 1);
}

// The bound is on what the folder takes up, and what leaves is what came first, but for what is in use.
TEST(DiskTierTest, NeverTakesMoreThanItsCapacityAndKeepsWhatIsUsed) {
  const TemporaryFolder folder;
  auto disk = OpenDisk(folder);
  const Shape shape{4, 30000};
  std::set<std::string> forgotten;
  constexpr uint64_t kRecords = 500;  // 60 MB through 32 MiB
  for (uint64_t i = 0; i < kRecords; ++i) {
    ASSERT_TRUE(PutNumber(*disk, i, 0, shape).ok()) << i;
    EXPECT_EQ(Check(*disk, 5, 0, shape), i < 5 ? absl::NotFoundError("not on disk") : absl::OkStatus()) << i;
    EXPECT_LE(disk->use().bytes, kLeastDiskBytes);
    if (i % 50 == 0) {
      EXPECT_LE(folder.Bytes(), kLeastDiskBytes) << i;
    }
    for (const RecordName& name : disk->TakeForgotten()) forgotten.insert(name.ToBytes());
  }
  EXPECT_LE(folder.Bytes(), kLeastDiskBytes);
  const TierUse use = disk->use();
  EXPECT_GE(use.records, 180);  // of at most 279
  EXPECT_EQ(use.records + use.evicted, static_cast<int64_t>(kRecords));
  EXPECT_EQ(static_cast<int64_t>(forgotten.size()), use.evicted);
  EXPECT_EQ(Check(*disk, kRecords - 1, 0, shape), absl::OkStatus());
  EXPECT_TRUE(absl::IsNotFound(Check(*disk, 6, 0, shape)));
  EXPECT_EQ(forgotten.count(NameOf(IdOfNumber(6)).ToBytes()), 1u);
  EXPECT_EQ(forgotten.count(NameOf(IdOfNumber(5)).ToBytes()), 0u);
}

// What was committed stays, what was refused is nowhere, and the tier goes on by itself once there is room again.
TEST(DiskTierTest, AFullDiskLosesNothingThatWasPromisedAndGoesOn) {
  const Shape shape{2, 20000};
  const TemporaryFolder folder;
  FullDisk files;
  const std::unique_ptr<rocksdb::Env> env =
      rocksdb::NewCompositeEnv(std::shared_ptr<rocksdb::FileSystem>(&files, [](rocksdb::FileSystem*) {}));
  DiskOptions options;
  options.folder = folder.path();
  options.capacity_bytes = kLeastDiskBytes;
  options.env = env.get();
  std::set<uint64_t> promised;
  std::set<uint64_t> refused;
  {
    auto disk = DiskTier::Open(options).value();
    const auto put = [&](uint64_t number) {
      const absl::Status done = PutNumber(*disk, number, 0, shape);
      (done.ok() ? promised : refused).insert(number);
      return done;
    };
    for (uint64_t i = 0; i < 40; ++i) ASSERT_EQ(put(i), absl::OkStatus()) << i;  // more than a volume
    files.SetFull(true);
    for (uint64_t i = 40; i < 60; ++i) {
      const absl::Status full = put(i);
      EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
      EXPECT_THAT(std::string(full.message()), testing::HasSubstr("No space left on device"));
      EXPECT_TRUE(absl::IsNotFound(Check(*disk, i, 0, shape)));
    }
    for (const uint64_t one : promised) ASSERT_EQ(Check(*disk, one, 0, shape), absl::OkStatus()) << one;
    EXPECT_GT(files.refused(), 0);
    files.SetFull(false);
    // RocksDB looks for room every five seconds.
    for (int i = 0; i < 6000 && !PutNumber(*disk, 60, 0, shape).ok(); ++i) absl::SleepFor(absl::Milliseconds(10));
    for (uint64_t i = 60; i < 100; ++i) ASSERT_EQ(put(i), absl::OkStatus()) << i;
    EXPECT_EQ(put(40), absl::OkStatus()) << "it may come again";
    refused.erase(40);
  }
  auto disk = DiskTier::Open(options).value();
  EXPECT_EQ(disk->lost(), "");
  for (const uint64_t one : promised) EXPECT_EQ(Check(*disk, one, 0, shape), absl::OkStatus()) << one;
  for (const uint64_t one : refused) EXPECT_TRUE(absl::IsNotFound(Check(*disk, one, 0, shape))) << one;
}

TEST(DiskTierTest, ARecordThatIsTooLargeIsRefusedAndDisplacesNothing) {
  const TemporaryFolder folder;
  auto disk = OpenDisk(folder);
  ASSERT_TRUE(PutNumber(*disk, 1).ok());
  const Shape large{1, disk->most_record_bytes()};
  EXPECT_TRUE(absl::IsResourceExhausted(PutNumber(*disk, 2, 0, large)));
  EXPECT_EQ(Check(*disk, 1), absl::OkStatus());
  EXPECT_TRUE(absl::IsNotFound(Check(*disk, 2)));
}

TEST(DiskTierTest, WhatIsNoRecordIsNotStored) {
  const TemporaryFolder folder;
  auto disk = OpenDisk(folder);
  EXPECT_TRUE(absl::IsDataLoss(disk->Put(IdOfNumber(1), "not a record", kNever)));
  EXPECT_EQ(disk->use().records, 0);
}

TEST(DiskTierTest, ASmallerCapacityIsMetOnOpening) {
  const TemporaryFolder folder;
  const Shape shape{4, 30000};
  {
    auto disk = OpenDisk(folder, 3 * kLeastDiskBytes);
    for (uint64_t i = 0; i < 320; ++i) ASSERT_TRUE(PutNumber(*disk, i, 0, shape).ok());
    EXPECT_GT(folder.Bytes(), kLeastDiskBytes);
  }
  auto disk = OpenDisk(folder);
  EXPECT_LE(disk->use().bytes, kLeastDiskBytes);
  EXPECT_LE(folder.Bytes(), kLeastDiskBytes);
  EXPECT_EQ(Check(*disk, 319, 0, shape), absl::OkStatus());
  EXPECT_TRUE(absl::IsNotFound(Check(*disk, 0, 0, shape)));
}

TEST(DiskTierTest, OneProcessAtATimeAndNoCapacityThatCannotBe) {
  const TemporaryFolder folder;
  auto disk = OpenDisk(folder);
  DiskOptions options;
  options.folder = folder.path();
  options.capacity_bytes = kLeastDiskBytes;
  EXPECT_TRUE(absl::IsUnavailable(DiskTier::Open(options).status()));
  options.capacity_bytes = kLeastDiskBytes - 1;
  EXPECT_TRUE(absl::IsInvalidArgument(DiskTier::Open(options).status()));
}

// Bytes that rot on the disk are seen, by RocksDB or by us, and never served.
TEST(DiskTierTest, RottenFilesAreMissesOrALostDatabase) {
  const TemporaryFolder folder;
  const Shape shape{2, 20000};
  {
    auto disk = OpenDisk(folder);
    for (uint64_t i = 0; i < 60; ++i) ASSERT_TRUE(PutNumber(*disk, i, 0, shape).ok());
  }
  OpenDisk(folder).reset();  // the log becomes tables
  int spoiled = 0;
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder.path())) {
    if (file.path().extension() != ".blob") continue;
    std::fstream bytes(file.path(), std::ios::in | std::ios::out | std::ios::binary);
    for (int64_t at = 1000; at < static_cast<int64_t>(file.file_size()); at += 41000) {
      bytes.seekp(at);
      bytes.put('\x5a');
      ++spoiled;
    }
  }
  ASSERT_GT(spoiled, 0);
  auto disk = OpenDisk(folder);
  int damaged = 0;
  for (uint64_t i = 0; i < 60; ++i) {
    const absl::Status status = Check(*disk, i, 0, shape);
    damaged += absl::IsDataLoss(status) ? 1 : 0;
    EXPECT_TRUE(status.ok() || absl::IsDataLoss(status)) << i << " " << status;
  }
  EXPECT_GT(damaged, 20);
  EXPECT_EQ(disk->lost(), "");
}

TEST(DiskTierTest, ADatabaseThatCannotBeReadIsMadeAnewAndSaysSo) {
  const TemporaryFolder folder;
  {
    auto disk = OpenDisk(folder);
    ASSERT_TRUE(PutNumber(*disk, 1).ok());
  }
  std::ofstream(folder.path() + "/mine.txt") << "stays";
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder.path())) {
    if (file.path().filename().string().rfind("MANIFEST", 0) == 0) {
      std::ofstream(file.path(), std::ios::binary | std::ios::trunc) << std::string(100, 'x');
    }
  }
  auto disk = OpenDisk(folder);
  ASSERT_NE(disk, nullptr);
  EXPECT_NE(disk->lost(), "");
  EXPECT_TRUE(absl::IsNotFound(Check(*disk, 1)));
  EXPECT_TRUE(PutNumber(*disk, 1).ok());
  EXPECT_EQ(Check(*disk, 1), absl::OkStatus());
  EXPECT_TRUE(std::filesystem::exists(folder.path() + "/mine.txt"));
}

// load_tests/run.sh chaos does this 200 times.
TEST(DiskTierTest, AKilledWriterLosesNothingItWasToldIsStored) {
  for (const int64_t capacity : {kLeastDiskBytes, 16 * kLeastDiskBytes}) {  // with and without eviction on the way
    const TemporaryFolder folder;
    DiskCrash crash;
    crash.writer = BinaryDir() + "/tests/support/decant_disk_writer";
    crash.folder = folder.path();
    crash.capacity_bytes = capacity;
    crash.shape = {3, 40000};
    for (uint64_t round = 0; round < 3; ++round) {
      crash.records = 40 + 70 * round;
      crash.then = absl::Microseconds(700 * round);
      const absl::StatusOr<DiskCrashOutcome> outcome = CrashAndLook(crash);
      ASSERT_TRUE(outcome.ok()) << outcome.status();
      EXPECT_EQ(outcome->wrong, 0);
      EXPECT_TRUE(outcome->last_found);
      EXPECT_GE(outcome->committed, static_cast<int64_t>(crash.records));
      EXPECT_TRUE(outcome->absent == 0 || capacity == kLeastDiskBytes) << outcome->absent;
      crash.first = outcome->next;
    }
  }
}

}  // namespace
}  // namespace decant
