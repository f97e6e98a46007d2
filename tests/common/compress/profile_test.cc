#include "common/compress/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace decant {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

constexpr Geometry kGeometry{2, 4, 2, 64};

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST(ProfileTest, DigestCountsValuesNotSpelling) {
  const auto a = ParseProfile(R"({"name": "x", "high": "k8v4"})");
  const auto b = ParseProfile(R"({ "high":"k8v4","name":"x", "version": 1, "window": 64, "shareable": "x" })");
  const auto c = ParseProfile(R"({"name": "x", "high": "k8v4", "window": 65})");
  ASSERT_TRUE(a.ok() && b.ok() && c.ok());
  EXPECT_EQ(a->digest, b->digest);
  EXPECT_NE(a->digest, c->digest);
  EXPECT_EQ(a->digest.Hex(),
            Sha256(R"({"allocate":"all_high","alpha_high":0.0,"alpha_low":0.0,"high":"k8v4","low":"",)"
                   R"("name":"x","online":"none","score":"none","shareable":"x","version":1,"window":64})")
                .Hex());
}

TEST(ProfileTest, NamesTheFieldThatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "JSON text"},
      {"[]", "JSON object"},
      {"{", "JSON text"},
      {R"({"high": "k8v4"})", "'name' is missing"},
      {R"({"name": "x"})", "'high' is missing"},
      {R"({"name": "", "high": "k8v4"})", "'name'"},
      {R"({"name": "x", "high": "k9"})", "'high' is \"k9\""},
      {R"({"name": "x", "high": 8})", "'high' is 8"},
      {R"({"name": "x", "high": "k8v4", "score": "some"})", "'score'"},
      {R"({"name": "x", "high": "k8v4", "alpha_low": -1})", "'alpha_low'"},
      {R"({"name": "x", "high": "k8v4", "alpha_high": "1"})", "'alpha_high'"},
      {R"({"name": "x", "high": "k8v4", "window": 1.5})", "'window'"},
      {R"({"name": "x", "high": "k8v4", "window": 99999999999})", "'window'"},
      {R"({"name": "x", "high": "k8v4", "windw": 1})", "'windw' is unknown"},
  };
  for (const auto& [json, message] : cases) {
    const absl::Status status = ParseProfile(json).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << json;
    EXPECT_THAT(Message(status), HasSubstr(message)) << json;
  }
}

TEST(CatalogueTest, DiffKvIsThePapersPolicy) {
  const Recipe recipe = *Compile(*Catalogue::BuiltIn()->Find("diffkv"), kGeometry, RunType::kBf16);
  EXPECT_EQ(recipe.high, FormatId::kK8V4);
  EXPECT_EQ(recipe.low, FormatId::kK4V2);
  EXPECT_EQ(recipe.score, ScoreSource::kAllLaterQueries);
  EXPECT_EQ(recipe.allocation, Allocation::kThresholdByPosition);
  EXPECT_EQ(recipe.online, OnlinePolicy::kDiffKvPaper);
  EXPECT_EQ(recipe.window, 64);
  EXPECT_EQ(recipe.shareable, "k8v4");
  const Recipe release = *Compile(*Catalogue::BuiltIn()->Find("diffkv-release"), kGeometry, RunType::kBf16);
  EXPECT_EQ(release.score, ScoreSource::kLastWindow);
  EXPECT_EQ(release.allocation, Allocation::kThresholdByLength);
  EXPECT_EQ(release.online, OnlinePolicy::kDiffKvCode);
}

const Digest kModel = Sha256("m");

// A calibration of kModel; `rest` goes on after the comma and closes the object.
std::string WithHead(const std::string& rest) {
  return R"({"format": "decant calibration v1", "model": "m", "fingerprint": ")" + kModel.Hex() + "\", " + rest;
}

TEST(CatalogueTest, MeasuredAlphasReplaceTheDefaultsOfOneModel) {
  Catalogue catalogue = *Catalogue::BuiltIn();
  const auto calibration = ParseCalibration(WithHead(R"("profiles": {"diffkv": {"alpha_high": 3, "alpha_low": 0.5},
          "k8v4": {"alpha_high": 1, "alpha_low": 1}, "prefixkv": {"layer_shares": [1.5, 0.5]}}, "measured": [1, 2]})"));
  ASSERT_TRUE(calibration.ok()) << calibration.status();
  ASSERT_TRUE(catalogue.AddCalibration(*calibration).ok());
  EXPECT_EQ(catalogue.AddCalibration(*calibration).code(), absl::StatusCode::kAlreadyExists);
  const Profile measured = *catalogue.FindFor("diffkv", kModel);
  EXPECT_EQ(measured.alpha_high, 3);
  EXPECT_EQ(measured.alpha_low, 0.5);
  EXPECT_NE(measured.digest, catalogue.Find("diffkv")->digest);
  EXPECT_EQ(catalogue.FindFor("diffkv", Sha256("other"))->digest, catalogue.Find("diffkv")->digest);
  EXPECT_EQ(catalogue.FindFor("prefixkv", kModel)->layer_shares, (std::vector<double>{1.5, 0.5}));
  EXPECT_NE(catalogue.FindFor("prefixkv", kModel)->digest, catalogue.Find("prefixkv")->digest);
  // Only allocation by threshold has thresholds.
  EXPECT_EQ(catalogue.FindFor("k8v4", kModel)->digest, catalogue.Find("k8v4")->digest);
  EXPECT_EQ(catalogue.FindFor("nope", kModel).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(catalogue.Add(measured).code(), absl::StatusCode::kAlreadyExists);
}

TEST(CatalogueTest, BrokenCalibrationsAreRefused) {
  ASSERT_TRUE(ParseCalibration(WithHead(R"("profiles": {}})")).ok());
  const std::string fingerprint = kModel.Hex();
  for (const std::string& json :
       {std::string("{}"), WithHead(R"("model": ""})"), WithHead(R"("profile": {}})"),
        WithHead(R"("profiles": {"diffkv": {"alpha_high": 1}}})"),
        WithHead(R"("profiles": {"diffkv": {"alpha_high": 1, "alpha_low": 2}}})"),
        WithHead(R"("profiles": {"prefixkv": {"layer_shares": 1}}})"),
        WithHead(R"("profiles": {"prefixkv": {"layer_shares": [1, -1]}}})"), WithHead(R"("format": "v0"})"),
        WithHead(R"("fingerprint": "12"})"), WithHead(R"("fingerprint": 12})"),
        std::string(R"({"format": "decant calibration v1", "model": "m"})"),
        R"({"model": "m", "fingerprint": ")" + fingerprint + "\"}"}) {
    EXPECT_EQ(ParseCalibration(json).status().code(), absl::StatusCode::kInvalidArgument) << json;
  }
}

Profile DiffKv() { return *Catalogue::BuiltIn()->Find("diffkv"); }

TEST(CompileTest, NamesBothStagesOfAConflict) {
  struct Case {
    void (*change)(Profile&);
    const char* first;
    const char* second;
  };
  const Case cases[] = {
      {[](Profile& p) { p.low = "k8v4"; }, "low 'k8v4'", "high 'k8v4'"},
      {[](Profile& p) { p.low = "full"; }, "low 'full'", "high 'k8v4'"},
      {[](Profile& p) {
         p.high = "k4v2";
         p.low = "k8v4";
       },
       "low 'k8v4'", "high 'k4v2'"},
      {[](Profile& p) { p.score = "none"; }, "allocate 'threshold_by_position'", "score is 'none'"},
      {[](Profile& p) {
         p.score = "none";
         p.allocate = "all_high";
       },
       "online 'diffkv_paper'", "score is 'none'"},
      {[](Profile& p) { p.score = "last_window"; }, "online 'diffkv_paper'", "'last_window'"},
      {[](Profile& p) { p.online = "diffkv_code"; }, "online 'diffkv_code'", "'all_later_queries'"},
      {[](Profile& p) { p.high = "full"; }, "online 'diffkv_paper'", "high 'full'"},
      {[](Profile& p) { p.alpha_low = 2; }, "alpha_low 2", "alpha_high 1"},
      {[](Profile& p) { p.low = ""; }, "alpha_low", "alpha_high"},
      {[](Profile& p) { p.window = 0; }, "window 0", "dropped"},
      {[](Profile& p) {
         p.online = "none";
         p.allocate = "all_high";
       },
       "allocate 'all_high'", "online 'none'"},
      {[](Profile& p) { p.high = "k7"; }, "high is 'k7'", "k8v4"},
  };
  for (const Case& test : cases) {
    Profile profile = DiffKv();
    test.change(profile);
    const absl::Status status = Compile(profile, kGeometry, RunType::kF32).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << test.first;
    EXPECT_THAT(Message(status), HasSubstr(test.first));
    EXPECT_THAT(Message(status), HasSubstr(test.second));
  }
}

TEST(CompileTest, RefusesGeometriesThatPagesCannotHold) {
  for (const Geometry geometry : {Geometry{2, 4, 2, 60}, Geometry{2, 4, 2, 0}, Geometry{2, 4, 2, 264},
                                  Geometry{0, 4, 2, 64}, Geometry{2, 4, 3, 64}, Geometry{2, 4, 0, 64}}) {
    EXPECT_EQ(Compile(DiffKv(), geometry, RunType::kF32).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(CompileTest, SingleTierNeedsEqualThresholds) {
  Profile profile = DiffKv();
  profile.low = "";
  profile.alpha_high = profile.alpha_low = 0.04;
  EXPECT_TRUE(Compile(profile, kGeometry, RunType::kF32).ok());
}

TEST(CompileTest, FullIsTheRunType) {
  const Profile full = *Catalogue::BuiltIn()->Find("full");
  EXPECT_EQ(Compile(full, kGeometry, RunType::kF32)->high, FormatId::kFullF32);
  EXPECT_EQ(Compile(full, kGeometry, RunType::kBf16)->high, FormatId::kFullBf16);
}

}  // namespace
}  // namespace decant
