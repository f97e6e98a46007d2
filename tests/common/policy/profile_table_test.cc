#include "common/policy/profile_table.h"

#include <string>

#include "absl/strings/str_replace.h"
#include "common/kv/frame.h"
#include "common/kv/overlay.h"
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

TEST(ProfileTableTest, ReadsHitsWhereTheyWereMeasured) {
  const std::string hit = R"(0.8, "hit": {"quality": 0.7, "wire_ratio": 2.5, "resident_ratio": 2.75}})";
  const auto table = ParseProfileTable(With("0.8}", hit));
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_FALSE(table->Find("full")->hit.has_value());
  ASSERT_TRUE(table->Find("diffkv")->hit.has_value());
  EXPECT_EQ(table->Find("diffkv")->hit->quality, 0.7);
  const Profile diffkv = *Catalogue::BuiltIn()->Find("diffkv");
  const auto facts = *FactsOf(diffkv, Geometry{30, 9, 3, 64}, RunType::kBf16, kMeasured, &*table);
  EXPECT_EQ(facts.hit_quality, 0.7);
  EXPECT_EQ(facts.hit_wire_ratio, 2.5);
  EXPECT_EQ(facts.hit_resident_ratio, 2.75);
  EXPECT_EQ(facts.least_computed, 64);
  EXPECT_FALSE(facts.exact_hit_is_cold);
  EXPECT_TRUE(facts.settles);
  for (const char* wrong :
       {R"(0.8, "hit": 1})", R"(0.8, "hit": {"quality": 1.5, "wire_ratio": 1, "resident_ratio": 1}})",
        R"(0.8, "hit": {"quality": 1}})", R"(0.8, "hit": {"quality": 1, "wire_ratio": 0,
                            "resident_ratio": 1}})"}) {
    EXPECT_EQ(ParseProfileTable(With("0.8}", wrong)).status().code(), absl::StatusCode::kInvalidArgument) << wrong;
  }
  // Without measurements a hit is as large as the high format and of no known quality.
  const auto bare = *FactsOf(diffkv, Geometry{30, 9, 3, 64}, RunType::kBf16, kOther, nullptr);
  EXPECT_FALSE(bare.hit_quality.has_value());
  EXPECT_NEAR(bare.hit_wire_ratio, 256.0 / 112, 0.2);
}

// The same bytes as the frames and overlays themselves.
TEST(ProfileFactsTest, BytesOfHighTokensAreThoseOfTheirFrames) {
  const Geometry geometry{7, 8, 2, 80};
  const Catalogue catalogue = *Catalogue::BuiltIn();
  for (const std::string name : {"full", "k8v4", "k4v2", "diffkv", "int4"}) {
    for (const RunType type : {RunType::kBf16, RunType::kF32}) {
      const ProfileFacts facts = *FactsOf(*catalogue.Find(name), geometry, type, kOther, nullptr);
      ASSERT_NE(facts.high, FormatId::kNone) << name;
      EXPECT_EQ(facts.all_high, name != "diffkv");
      const auto chunk = [&](int32_t tokens, int64_t& overlay) {
        FrameHeader header;
        header.formats[kHigh] = facts.high;
        header.provenance = Provenance::kQuantised;
        header.heads = geometry.kv_heads;
        header.head_dim = geometry.head_dim;
        header.span = tokens;
        const FrameLayout frame = LayOutFrame(header, {tokens, 0, 0, 0, tokens, 0, 0, 0});
        overlay = facts.overlays ? LayOutOverlay(OverlayHeaderFor(header, 0), frame, 0).bytes * geometry.layers : 0;
        return frame.bytes * geometry.layers;
      };
      for (const int32_t tokens : {0, 1, 63, 64, 65, 200}) {
        int64_t bytes = 0;
        int64_t overlays = 0;
        int64_t whole_overlays = 0;
        for (int32_t first = 0; first < tokens; first += 64) {
          int64_t overlay = 0;
          bytes += chunk(std::min(64, tokens - first), overlay);
          overlays += overlay;
          if (tokens - first >= 64) whole_overlays += overlay;
        }
        EXPECT_EQ(HighWireBytes(facts, geometry, 64, tokens), bytes + overlays) << name << " " << tokens;
        EXPECT_EQ(OverlayWireBytes(facts, geometry, 64, tokens / 64), whole_overlays) << name << " " << tokens;
      }
    }
  }
}

TEST(ProfileFactsTest, NobodysGeometryBreaksThem) {
  ProfileFacts facts;
  facts.high = FormatId::kK8V4;
  facts.overlays = true;
  EXPECT_GT(HighWireBytes(facts, Geometry{1024, 1 << 20, 1 << 20, 256}, 65535, 65536), int64_t{1} << 40);
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
