// Records: what is read is what was stored, or an error that says why not.
#include "common/store/record.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "common/store/tier.h"
#include "gtest/gtest.h"
#include "tests/support/paths/paths.h"
#include "tests/support/record_samples.h"

namespace decant {
namespace {

using record_samples::IdOfNumber;
using record_samples::IsRecord;
using record_samples::RecordOf;

TEST(RecordTest, ComesBackAsItWas) {
  for (const int32_t layers : {0, 1, 2, 40}) {
    for (const int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{100}, int64_t{70000}}) {
      const record_samples::Shape shape{layers, bytes};
      const Record record = RecordOf(7, 0, shape);
      const absl::StatusOr<Record> decoded = DecodeRecord(EncodeRecord(record), IdOfNumber(7));
      ASSERT_TRUE(decoded.ok()) << decoded.status();
      EXPECT_TRUE(IsRecord(*decoded, 7, 0, shape)) << layers << " frames of " << bytes;
      EXPECT_EQ(decoded->variant.bytes, layers * bytes);
      EXPECT_EQ(decoded->variant.quality, record.variant.quality);
      EXPECT_EQ(decoded->variant.parent, record.variant.parent);
      EXPECT_EQ(decoded->variant.profile_name, "k8v4");
      EXPECT_EQ(decoded->tenant, Sha256("sample tenant"));
    }
  }
}

// The same after two steps down the ladder.
Record SteppedRecordOf(uint64_t number) {
  Record record = RecordOf(number);
  record.variant.encoded_from = "full,k8v8";
  return record;
}

TEST(RecordTest, StepsOfTheLadderComeBackAndCostOthersNothing) {
  const std::string plain = EncodeRecord(RecordOf(7));
  const std::string stepped = EncodeRecord(SteppedRecordOf(7));
  EXPECT_EQ(stepped.size(), plain.size() + 4 + std::string("full,k8v8").size());
  const absl::StatusOr<Record> decoded = DecodeRecord(stepped, IdOfNumber(7));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->variant.encoded_from, "full,k8v8");
  EXPECT_EQ(EncodeRecord(*decoded), stepped);
  EXPECT_EQ(DecodeRecord(plain, IdOfNumber(7))->variant.encoded_from, "");
}

TEST(RecordTest, EveryFlippedBitIsSeen) {
  for (std::string bytes : {EncodeRecord(RecordOf(7)), EncodeRecord(SteppedRecordOf(7))}) {
    for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      bytes[bit / 8] ^= static_cast<char>(1u << bit % 8);
      const absl::Status status = DecodeRecord(bytes, IdOfNumber(7)).status();
      EXPECT_TRUE(absl::IsDataLoss(status) || (bit / 32 == 1 && absl::IsUnimplemented(status))) << bit << " " << status;
      bytes[bit / 8] ^= static_cast<char>(1u << bit % 8);
    }
  }
}

TEST(RecordTest, EveryCutAndEveryAddedByteIsSeen) {
  const std::string bytes = EncodeRecord(RecordOf(7));
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_TRUE(absl::IsDataLoss(DecodeRecord(bytes.substr(0, size), IdOfNumber(7)).status())) << size;
  }
  EXPECT_TRUE(absl::IsDataLoss(DecodeRecord(bytes + '\0', IdOfNumber(7)).status()));
}

TEST(RecordTest, OnlyWhatWasAskedForIsServed) {
  const std::string bytes = EncodeRecord(RecordOf(7));
  const RecordId right = IdOfNumber(7);
  ASSERT_TRUE(DecodeRecord(bytes, right).ok());
  RecordId key = right;
  key.key = IdOfNumber(8).key;
  RecordId variant = right;
  variant.variant = Sha256("another form");
  RecordId model = right;
  model.model.bytes[31] ^= 1;
  RecordId place = right;
  place.first_token += 64;
  RecordId length = right;
  length.tokens = 32;
  for (const RecordId& wrong : {key, variant, model, place, length}) {
    const absl::Status status = DecodeRecord(bytes, wrong).status();
    EXPECT_EQ(MissOf(status), TierMiss::kForeign) << status;
  }
}

TEST(RecordTest, TheTagTellsAnOlderRecordOfTheSameName) {
  const std::string before = EncodeRecord(RecordOf(7, 1));
  const std::string now = EncodeRecord(RecordOf(7, 2));
  const uint32_t tag = DecodeHead(now)->tag;
  EXPECT_TRUE(DecodeRecord(now, IdOfNumber(7), tag).ok());
  EXPECT_TRUE(DecodeRecord(before, IdOfNumber(7)).ok());
  EXPECT_EQ(MissOf(DecodeRecord(before, IdOfNumber(7), tag).status()), TierMiss::kStale);
}

TEST(RecordTest, AnotherVersionIsNotRead) {
  std::string bytes = EncodeRecord(RecordOf(7));
  for (const uint32_t other : {0u, kRecordVersion + 1}) {
    bytes[4] = static_cast<char>(other);
    EXPECT_EQ(MissOf(DecodeRecord(bytes, IdOfNumber(7)).status()), TierMiss::kVersion) << other;
  }
}

// A head whose CRC is right may still lie: lengths are believed only as far as there are bytes.
TEST(RecordTest, AHeadThatContradictsItselfIsDamaged) {
  std::string bytes = EncodeRecord(RecordOf(7));
  const size_t head = HeadBytes(bytes).size();
  const auto seal = [&] {
    const uint32_t tag = Crc32c(bytes.data() + 16, head - 16, Crc32c(bytes.data(), 12));
    std::memcpy(bytes.data() + 12, &tag, 4);
  };
  seal();
  ASSERT_TRUE(DecodeHead(bytes).ok());
  for (const size_t at : {size_t{16}, size_t{224}, size_t{228}, size_t{240}, head - 16}) {
    const std::string sound = bytes;
    std::memset(bytes.data() + at, 0xff, 4);
    seal();
    EXPECT_TRUE(absl::IsDataLoss(DecodeHead(bytes).status())) << at;
    bytes = sound;
  }
}

TEST(RecordTest, TheHeadCanBeReadAlone) {
  const std::string bytes = EncodeRecord(RecordOf(7));
  const absl::StatusOr<RecordHead> head = DecodeHead(HeadBytes(bytes));
  ASSERT_TRUE(head.ok()) << head.status();
  EXPECT_EQ(IdOf(head->variant), IdOfNumber(7));
  EXPECT_EQ(head->frames.size(), 3);
  EXPECT_EQ(head->variant.bytes, 300);
}

TEST(RecordTest, ANameIsItsBytes) {
  const RecordName name = NameOf(IdOfNumber(7));
  EXPECT_EQ(name.ToBytes().size(), RecordName::kBytes);
  EXPECT_EQ(RecordName::FromBytes(name.ToBytes()), name);
  EXPECT_FALSE(RecordName::FromBytes("short").has_value());
}

// What was once written to a disk is read by every later build.
TEST(RecordTest, TheGoldenRecordsOfAllVersionsAreRead) {
  for (const int version : {1, 2}) {
    const Record record = version == 1 ? RecordOf(7) : SteppedRecordOf(7);
    const std::string path = absl::StrCat(SourceDir(), "/tests/golden/records/v", version, "/sample.bin");
    if (std::getenv("DECANT_WRITE_GOLDEN") != nullptr) std::ofstream(path, std::ios::binary) << EncodeRecord(record);
    std::ifstream file(path, std::ios::binary);
    std::stringstream golden;
    golden << file.rdbuf();
    EXPECT_EQ(EncodeRecord(record), golden.str()) << version;
    const absl::StatusOr<Record> decoded = DecodeRecord(golden.str(), IdOfNumber(7));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(EncodeRecord(*decoded), golden.str());
    EXPECT_EQ(decoded->variant.encoded_from, record.variant.encoded_from);
  }
}

}  // namespace
}  // namespace decant
