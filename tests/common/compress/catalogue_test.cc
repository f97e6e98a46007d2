// The shipped catalogue as a whole: names, golden digests, what a token costs; and what a broken file is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/compress/capabilities.h"
#include "common/compress/profile.h"
#include "common/compress/token_bytes.h"
#include "common/kv/page.h"

namespace decant {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const Catalogue& Shipped() {
  static const Catalogue* const catalogue = new Catalogue(*Catalogue::BuiltIn());
  return *catalogue;
}

struct Expected {
  const char* name;
  const char* digest;     // the first 16 hexadecimal digits: stored chunks and frames carry it
  double bits_128;        // per element at head_dim 128 with bf16 as run type, where one number says it
  bool stored_as_itself;  // its own shareable form
};

// Bits: compression-methods.md section 1. Tracked formats hold 64 bits more per token, 0.25 per element.
constexpr Expected kExpected[] = {
    {"atom-kv4", "c5fac1db6ab70825", 4.25, false},
    {"decant", "c98887297c491a0c", 0.7 * (0.4 * 6.25 + 0.6 * 3.25), false},
    {"decant-shared", "04b69078ddfe53c6", 6.25, true},
    {"decant-window", "321e910ccff95de5", 0.7 * (0.4 * 6.25 + 0.6 * 3.25), false},
    {"diffkv", "89ceff3260954f5a", 0, false},
    {"diffkv-release", "a5b9ee5b0411f44e", 0, false},
    {"diffkv-static", "0a7854d2520e5ebe", 0.3 * 6.5 + 0.7 * 3.5, false},
    {"fastkv", "e80c7d60698dc6f3", 0.1 * 16, false},
    {"full", "5e75c09a0bb49617", 16, true},
    {"full-lossless", "7a57b9cfad0bb386", 16, false},
    {"h2o", "8dd9d93c55719259", 0.2 * 16.25, false},
    {"int2", "4f8c15dfae1b957f", 0.001 * 16.25 + 0.999 * 3.25, false},
    {"int4", "b467f2939d72c06b", 4.25, true},
    {"k12v6-coded", "4b68715de31040be", 4.25, true},
    {"k4v1", "20b7a6374098b220", 3.0, true},
    {"k4v2", "028df939746aeaf4", 3.5, true},
    {"k4v8", "283e422f278b72f5", 6.5, true},
    {"k8v4", "0402e2965ca06923", 6.5, true},
    {"kivi2", "625e289ecf2b41b3", 3.0, false},
    {"kivi4", "60641cbd64e194c8", 5.0, false},
    {"kvzip", "cd2d552d16e02dbb", 0.3 * 16, false},
    {"mikv", "0ee24ad177dc2d62", 0.25 * 16.25 + 0.75 * 3.25, false},
    {"prefixkv", "816e0e52049d9741", 0.2 * 16.25, false},
    {"pyramidkv", "9db59b3549ec0d7f", 0.2 * 16, false},
    {"quest", "e3e1548d495b4bec", 17, false},
    {"saw-int4", "e6eea41144bd8baa", 4.25, false},
    {"snapkv", "e963539380730561", 0.2 * 16, false},
    {"streamingllm", "333648f21df8a776", 0.2 * 16.25, false},
    {"xkv", "a60edcbe0807d77e", 16, false},
};

TEST(ShippedCatalogueTest, HoldsTheseProfilesWithTheseDigests) {
  std::vector<std::string> names;
  for (const Expected& expected : kExpected) names.emplace_back(expected.name);
  EXPECT_EQ(Shipped().Names(), names);
  for (const Expected& expected : kExpected) {
    const auto profile = Shipped().Find(expected.name);
    ASSERT_TRUE(profile.ok()) << expected.name;
    EXPECT_EQ(profile->digest.Hex().substr(0, 16), expected.digest) << expected.name;
    EXPECT_FALSE(profile->summary.empty()) << expected.name;
  }
}

TEST(ShippedCatalogueTest, EveryProfileCompilesForEveryGeometryAndRunType) {
  for (const Geometry geometry : {Geometry{2, 4, 2, 64}, Geometry{1, 1, 1, 64}, Geometry{30, 9, 3, 64},
                                  Geometry{32, 32, 8, 128}, Geometry{3, 8, 1, 128}}) {
    for (const Expected& expected : kExpected) {
      for (const RunType run_type : {RunType::kF32, RunType::kBf16}) {
        const auto recipe = Compile(*Shipped().Find(expected.name), geometry, run_type);
        ASSERT_TRUE(recipe.ok()) << recipe.status();
        EXPECT_EQ(recipe->digest.Hex().substr(0, 16), expected.digest);
        EXPECT_EQ(recipe->exact(),
                  recipe->high == (run_type == RunType::kF32 ? FormatId::kFullF32 : FormatId::kFullBf16) &&
                      (recipe->profile == "full" || recipe->profile == "full-lossless"));
        EXPECT_EQ(recipe->shareable == expected.name, expected.stored_as_itself) << expected.name;
        if (geometry.layers > 1 && recipe->propagation.layer >= 0) {
          EXPECT_LT(recipe->propagation.layer, geometry.layers - 1);
        }
      }
    }
  }
}

TEST(ShippedCatalogueTest, ATokenCostsWhatItsFormatsSay) {
  const Geometry geometry{2, 4, 2, 128};
  const double elements = 2.0 * geometry.layers * geometry.kv_heads * geometry.head_dim;
  for (const Expected& expected : kExpected) {
    const auto recipe = Compile(*Shipped().Find(expected.name), geometry, RunType::kBf16);
    ASSERT_TRUE(recipe.ok());
    const BytesPerToken bytes = BytesPerTokenOf(*recipe, geometry);
    if (expected.bits_128 == 0) {
      EXPECT_LT(bytes.least, bytes.most) << expected.name;
      EXPECT_NEAR(bytes.most * 8 / elements, 6.5, 1e-9) << expected.name;
      continue;
    }
    EXPECT_NEAR(bytes.least * 8 / elements, expected.bits_128, 1e-5) << expected.name;
    EXPECT_EQ(bytes.least, bytes.most) << expected.name;
  }
}

TEST(ShippedCatalogueTest, ThresholdsThatPruneNothingLeaveTheLowTier) {
  Profile profile = *Shipped().Find("diffkv");
  const Geometry geometry{1, 1, 1, 128};
  EXPECT_EQ(BytesPerTokenOf(*Compile(profile, geometry, RunType::kBf16), geometry).least, 0);
  profile.alpha_low = 0;
  EXPECT_EQ(BytesPerTokenOf(*Compile(profile, geometry, RunType::kBf16), geometry).least, 112);  // 3.5 bits
}

TEST(ShippedCatalogueTest, RankingsInThreeTiersMixBoth) {
  for (const char* allocate : {"global_tiers", "top_tiers"}) {
    Profile profile = *Shipped().Find("diffkv-static");
    profile.allocate = allocate;
    profile.budget = 0.5;
    profile.high_share = 0.25;
    const Geometry geometry{1, 1, 1, 128};
    const BytesPerToken bytes = BytesPerTokenOf(*Compile(profile, geometry, RunType::kBf16), geometry);
    EXPECT_DOUBLE_EQ(bytes.most, 0.5 * (0.25 * 208 + 0.75 * 112));
  }
}

// The shares that DiffKV's formats are known by: of 2 bytes per element, at head_dim 64, alignment and the unused ends
// of full pages counted.
TEST(ShippedCatalogueTest, DiffKvFormatsInPagesOfHeadDim64) {
  constexpr int32_t kHeadDim = 64;
  const FormatId formats[] = {FormatId::kFullBf16, FormatId::kK8V4, FormatId::kK4V2};
  const int64_t page = ChoosePageBytes(kHeadDim, formats, 3, 2048);
  const auto share = [&](FormatId format) {
    return static_cast<double>(page) / FitLayout(format, kHeadDim, page).tokens / (4.0 * kHeadDim);
  };
  EXPECT_THAT(share(FormatId::kK8V4), AllOf(testing::Ge(0.4375), testing::Le(0.45)));
  EXPECT_THAT(share(FormatId::kK4V2), AllOf(testing::Ge(0.25), testing::Le(0.27)));
}

struct Broken {
  const char* text;
  const char* line;
  const char* what;
};

TEST(CatalogueFileTest, ABrokenFileIsToldWhereAndWhatIsAllowed) {
  const Broken cases[] = {
      {"{\n  \"name\": \"x\",\n  \"hihg\": \"k8v4\"\n}", "line 3: ", "did you mean 'high'?"},
      {"{\n  \"name\": \"x\",\n  \"hihg\": \"k8v4\"\n}", "line 3: ", "allocate, alpha_high"},
      {"{\n  \"name\": \"x\",\n\n  \"high\": \"k8v5\"\n}", "line 4: ", "did you mean 'k8v4'?"},
      {"{\n  \"name\": \"x\", \"high\": \"k8v4\",\n  \"score\": \"last_windw\"}", "line 3: ", "'last_window'?"},
      {"{\n  \"name\": \"x\", \"high\": \"k8v4\",\n  \"allocate\": \"zebra\"}", "line 3: ", "one of all_high, "},
      {"{\n  \"name\": \"x\",\n  \"high\": \"k8v4\",\n  \"version\": 2\n}", "line 4: ", "'version' is 2; it must be 1"},
      {"{\n  \"name\": \"x\",\n  \"high\": \"k8v4\",\n  \"version\": 0\n}", "line 4: ", "'version' is 0"},
      {"{\n  \"name\": \"x\",\n  \"high\": \"k8v4\",\n  \"window\": \"64\"\n}", "line 4: ", "whole number"},
      {"{\n  \"name\": \"x\",\n  \"high\": \"k8v4\",\n  \"name\": \"y\"\n}", "line 4: ", "stands on line 2 already"},
      {"{\n  \"name\": \"x\"\n  \"high\": \"k8v4\"\n}", "line 3: ", "not a JSON text"},
      {"{\n  \"name\": \"x\",\n  \"high\": \"k8v4\",\n}", "line 4: ", "not a JSON text"},
      {"{\n  \"name\": \"x\",\n  \"high\": \"k8v4\"\n", "line 4: ", "ends too early"},
      {"", "line 1: ", "ends too early"},
      {"\n\n[1]\n", "line 3: ", "not a JSON object"},
      {"{\n  \"name\": \"x\",\n  \"high\": \"k8v4\",\n  \"layer_shares\": [1, -1]\n}", "line 4: ", "not negative"},
      {"{\"name\": \"x\", \"high\": \"k8v4\", \"low\": \"k4v2\"}", "low 'k4v2'", "allocate 'all_high'"},
      {"{\"name\": \"x\"}", "'high' is missing", "one of full"},
  };
  for (const Broken& test : cases) {
    Catalogue catalogue;
    const absl::Status status = catalogue.AddFile("dir/x.json", test.text);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << test.text;
    EXPECT_THAT(std::string(status.message()),
                AllOf(testing::StartsWith("dir/x.json: "), HasSubstr(test.line), HasSubstr(test.what)));
    EXPECT_TRUE(catalogue.Names().empty());
  }
}

TEST(CatalogueFileTest, NamesInNestedValuesAndStringsAreNotFields) {
  Catalogue catalogue;
  const absl::Status status = catalogue.AddFile("f",
                                                "{\"name\": \"a \\\" {\", \"summary\": \"name: \\\"x\\\": {[\", "
                                                "\"high\": \"k8v4\",\n \"budget\": {\"name\": 1}}");
  EXPECT_THAT(std::string(status.message()), HasSubstr("line 2: field 'budget' is {\"name\":1}"));
  const absl::Status escaped =
      catalogue.AddFile("f", "{\"name\": \"x\", \"hi\\u0067h\": \"k8v4\",\n\"high\": \"full\"}");
  EXPECT_THAT(std::string(escaped.message()), HasSubstr("line 2: field 'high' stands on line 1 already"));
}

TEST(CatalogueFileTest, DeepNestingIsRefusedNotRecursedInto) {
  Catalogue catalogue;
  const std::string deep = "{\"name\": " + std::string(1000000, '[') + std::string(1000000, ']') + "}";
  EXPECT_EQ(catalogue.AddFile("f", deep).code(), absl::StatusCode::kInvalidArgument);
}

TEST(CatalogueFileTest, ASecondProfileOfANameIsRefused) {
  Catalogue catalogue = Shipped();
  const absl::Status status = catalogue.AddFile("mine.json", R"({"name": "k8v4", "high": "k8v4"})");
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("mine.json"), HasSubstr("another name")));
}

TEST(CatalogueFileTest, AShareableFormMustBeThereAndFitToBeStored) {
  const std::pair<const char*, const char*> cases[] = {{"k8v5", "did you mean 'k8v4'?"}, {"snapkv", "not fit"},
                                                       {"saw-int4", "not fit"},          {"quest", "not fit"},
                                                       {"atom-kv4", "not fit"},          {"full-lossless", "not fit"}};
  for (const auto& [form, message] : cases) {
    Catalogue catalogue = Shipped();
    Profile mine = *catalogue.Find("snapkv");
    mine.name = "mine";
    mine.shareable = form;
    ASSERT_TRUE(catalogue.Add(mine).ok());
    const absl::Status status = catalogue.CheckShareable();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << form;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("'mine'"), HasSubstr(message)));
  }
  EXPECT_TRUE(Shipped().CheckShareable().ok());
  // Its own shareable form, but no plain keys.
  Catalogue rotated = Shipped();
  Profile mine = *rotated.Find("saw-int4");
  mine.name = mine.shareable = "mine";
  ASSERT_TRUE(rotated.Add(mine).ok());
  EXPECT_THAT(std::string(rotated.CheckShareable().message()), HasSubstr("plain keys"));
}

TEST(CatalogueFileTest, AnUnknownNameIsToldTheNearest) {
  EXPECT_THAT(std::string(Shipped().Find("snapvk").status().message()),
              AllOf(HasSubstr("did you mean 'snapkv'?"), HasSubstr("there are atom-kv4, decant")));
  EXPECT_THAT(std::string(Shipped().Find("zebra").status().message()), testing::Not(HasSubstr("did you mean")));
}

TEST(CatalogueFileTest, CanonicalBytesAreAFileOfTheSameProfile) {
  for (const std::string& name : Shipped().Names()) {
    const Profile profile = *Shipped().Find(name);
    const auto again = ParseProfile(CanonicalJson(profile));
    ASSERT_TRUE(again.ok()) << name << ": " << again.status();
    EXPECT_EQ(again->digest, profile.digest) << name;
  }
  EXPECT_FALSE(ParseProfile(R"({"name": "x", "high": ""})").ok());
}

TEST(CatalogueFileTest, AProfileOfOneNameIsNotAnother) {
  const Digest known = Shipped().Find("snapkv")->digest;
  EXPECT_TRUE(Shipped().FindSame("snapkv", Digest(), known).ok());
  EXPECT_TRUE(Shipped().FindSame("snapkv", Digest(), Digest()).ok());
  const absl::Status other = Shipped().FindSame("snapkv", Digest(), Sha256("other")).status();
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(other.message()),
              AllOf(HasSubstr("'snapkv'"), HasSubstr(known.Hex().substr(0, 16)), HasSubstr("--profiles-dir")));
}

TEST(CatalogueFileTest, ASummaryIsForPeopleAndNoPartOfTheDigest) {
  const auto a = ParseProfile(R"({"name": "x", "high": "k8v4", "summary": "one"})");
  const auto b = ParseProfile(R"({"name": "x", "high": "k8v4"})");
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a->digest, b->digest);
  EXPECT_EQ(a->summary, "one");
  EXPECT_EQ(Sha256(CanonicalJson(*a)), a->digest);
}

}  // namespace
}  // namespace decant
