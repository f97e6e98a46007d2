#include "common/policy/profile_table.h"

#include <string>

#include "absl/strings/str_replace.h"
#include "common/policy/profile_facts.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace decant {
namespace {

using testing::HasSubstr;

// Made up for this test.
constexpr char kTable[] = R"json({
  "format": "decant profile table v1",
  "model": "m",
  "fingerprint": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
  "measured": {"command": "c", "machine": "x", "commit": "0", "date": "d"},
  "profiles": [
    {"name": "full", "quality": 1, "wire_ratio": 1, "resident_ratio": 1, "encode_bytes_per_s": 8e9, "tpot_ratio": 1},
    {"name": "diffkv", "quality": 0.9, "wire_ratio": 4, "resident_ratio": 3, "encode_bytes_per_s": 1e9, "tpot_ratio": 0.8}
  ]})json";

const Digest kMeasured = *Digest::FromHex(std::string(64, 'a'));
const Digest kOther = Sha256("other");

std::string With(const std::string& from, const std::string& to) {
  const std::string changed = absl::StrReplaceAll(kTable, {{from, to}});
  EXPECT_NE(changed, kTable) << from;
  return changed;
}

TEST(ProfileTableTest, ReadsWhatWasMeasured) {
  const auto table = ParseProfileTable(kTable);
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->model, "m");
  EXPECT_EQ(table->measured, "c; x; 0; d");
  ASSERT_NE(table->Find("diffkv"), nullptr);
  EXPECT_EQ(table->Find("diffkv")->quality, 0.9);
  EXPECT_EQ(table->Find("diffkv")->resident_ratio, 3);
  EXPECT_EQ(table->Find("k4v2"), nullptr);
}

TEST(ProfileTableTest, RefusesWhatCannotHaveBeenMeasured) {
  const std::pair<std::string, std::string> kFaults[] = {
      {With("table v1", "table v2"), "table v2"},
      {With("\"model\": \"m\"", "\"model\": \"\""), "model"},
      {With("aaa\"", "aax\""), "fingerprint"},
      {With("\"date\": \"d\"", "\"date\": 3"), "date"},
      {With("0.9", "1.1"), "quality is 1.1"},
      {With("0.9", "-0.1"), "quality"},
      {With("0.9", "\"good\""), "quality must be a number"},
      {With("\"wire_ratio\": 4", "\"wire_ratio\": 0"), "wire_ratio is 0"},
      {With("1e9", "1e999"), ""},
      {With("\"resident_ratio\": 3, ", ""), "resident_ratio"},
      {With("\"tpot_ratio\": 0.8", "\"tpot_ratio\": 0.8, \"extra\": 1"), "unknown field extra"},
      {With("diffkv", "full"), "twice"},
      {With("\"full\", \"quality\": 1,", "\"full\", \"quality\": 0.5,"), "quality of full"},
      {With("\"full\"", "\"ful\""), "full is missing"},
      {"", "object"},
      {"[]", "object"},
      {"{", "object"},
  };
  for (const auto& [text, expected] : kFaults) {
    const auto table = ParseProfileTable(text);
    EXPECT_EQ(table.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(table.status().message()), HasSubstr(expected));
  }
}

TEST(ProfileTablesTest, CompiledInTablesAreValid) {
  const auto tables = ProfileTables::BuiltIn();
  EXPECT_TRUE(tables.ok()) << tables.status();
}

TEST(ProfileTablesTest, FallsBackToTheGenericTable) {
  ProfileTables tables;
  EXPECT_EQ(tables.For(kMeasured), nullptr);
  ASSERT_TRUE(tables.Add(*ParseProfileTable(kTable)).ok());
  EXPECT_EQ(tables.Add(*ParseProfileTable(kTable)).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(tables.For(kOther), nullptr);
  ASSERT_TRUE(tables.AddGeneric(*ParseProfileTable(With("\"m\"", "\"g\""))).ok());
  EXPECT_FALSE(tables.AddGeneric(*ParseProfileTable(kTable)).ok());
  EXPECT_EQ(tables.For(kMeasured)->model, "m");
  EXPECT_EQ(tables.For(kOther)->model, "g");
}

TEST(ProfileTablesTest, AModelIsItsFingerprintAndNotItsName) {
  ProfileTables tables;
  ASSERT_TRUE(tables.Add(*ParseProfileTable(kTable)).ok());
  ASSERT_TRUE(tables.Add(*ParseProfileTable(With("\"aaaa", "\"bbbb"))).ok());  // the same name
  tables.Replace(*ParseProfileTable(With("0.9", "0.8")));
  EXPECT_EQ(tables.For(kMeasured)->Find("diffkv")->quality, 0.8);
  EXPECT_EQ(tables.For(*Digest::FromHex("bbbb" + std::string(60, 'a')))->Find("diffkv")->quality, 0.9);
}

TEST(ProfileFactsTest, MarkQualityOfAnotherModel) {
  const Geometry geometry{4, 4, 2, 64};
  const auto table = ParseProfileTable(kTable);
  const auto catalogue = Catalogue::BuiltIn();
  ASSERT_TRUE(catalogue.ok());
  const Profile diffkv = *catalogue->Find("diffkv");
  EXPECT_EQ(FactsOf(diffkv, geometry, RunType::kBf16, kMeasured, &*table)->measured_on, "");
  EXPECT_EQ(FactsOf(diffkv, geometry, RunType::kBf16, kOther, &*table)->measured_on, "m");
  EXPECT_EQ(FactsOf(diffkv, geometry, RunType::kBf16, kMeasured, &*table)->quality, 0.9);
}

TEST(ProfileFactsTest, WithoutATableSizesFollowFromTheFormatAndQualityIsUnknown) {
  const Geometry geometry{4, 4, 2, 64};
  const auto catalogue = Catalogue::BuiltIn();
  ASSERT_TRUE(catalogue.ok());
  const auto k8v4 = FactsOf(*catalogue->Find("k8v4"), geometry, RunType::kBf16, kMeasured, nullptr);
  ASSERT_TRUE(k8v4.ok());
  EXPECT_FALSE(k8v4->quality.has_value());
  EXPECT_DOUBLE_EQ(k8v4->wire_ratio, 256.0 / (64 + 32 + 8 + 8));
  const auto full = FactsOf(*catalogue->Find("full"), geometry, RunType::kF32, kMeasured, nullptr);
  ASSERT_TRUE(full.ok());
  EXPECT_TRUE(full->exact);
  EXPECT_EQ(full->quality, 1);
  EXPECT_DOUBLE_EQ(full->wire_ratio, 0.5);
}

}  // namespace
}  // namespace decant
