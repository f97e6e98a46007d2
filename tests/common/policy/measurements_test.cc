#include "common/policy/measurements.h"

#include "common/model/model_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/model/temporary_folder.h"

namespace decant {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr char kProfiles[] = R"("profiles": {"diffkv": {"alpha_high": 7, "alpha_low": 0.5}}})";
constexpr char kMeasured[] =
    R"("measured": {"command": "c", "machine": "x", "commit": "0", "date": "d"}, "profiles": [)"
    R"({"name": "full", "quality": 1, "wire_ratio": 1, "resident_ratio": 1, "encode_bytes_per_s": 8e9, "tpot_ratio": 1},)"
    R"({"name": "diffkv", "quality": 0.5, "wire_ratio": 4, "resident_ratio": 3, "encode_bytes_per_s": 1e9, "tpot_ratio": 1}]})";

std::string Json(const std::string& format, const Digest& model, const std::string& rest) {
  return R"({"format": ")" + format + R"(", "model": "m", "fingerprint": ")" + model.Hex() + R"(", )" + rest;
}
std::string CalibrationOf(const Digest& model) { return Json("decant calibration v1", model, kProfiles); }
std::string TableOf(const Digest& model) { return Json("decant profile table v1", model, kMeasured); }

std::string MissingOf(const ModelFolder& model, const std::string& tables = "") {
  const auto measurements = LoadMeasurements(tables);
  EXPECT_TRUE(measurements.ok()) << measurements.status();
  return MissingMeasurements(*measurements, model.fingerprint, model.config.name, model.path, tables);
}

// What the model's thresholds are for diffkv.
double AlphaHigh(const ModelFolder& model) {
  return LoadMeasurements("")->catalogue.FindFor("diffkv", model.fingerprint)->alpha_high;
}

TEST(MeasurementsTest, AModelIsKnownUnderAnyFolderName) {
  TemporaryFolder folder;
  folder.CopyFrom(TinyModel());
  const auto original = OpenModelFolder(TinyModel());
  const auto copy = OpenModelFolder(folder.path());
  ASSERT_TRUE(original.ok() && copy.ok());
  ASSERT_NE(copy->config.name, original->config.name);
  EXPECT_THAT(MissingOf(*original), IsEmpty());
  EXPECT_THAT(MissingOf(*copy), IsEmpty());
  const auto tables = ProfileTables::BuiltIn();
  ASSERT_NE(tables->For(copy->fingerprint), nullptr);
  EXPECT_EQ(tables->For(copy->fingerprint)->model, "decant-tiny");
}

TEST(MeasurementsTest, OtherWeightsUnderAKnownNameAreUnknown) {
  TemporaryFolder parent;
  for (const char* name : {"decant-tiny", "smollm2"}) {
    const std::string path = parent.File(name);
    std::filesystem::copy(TinyModel(), path, std::filesystem::copy_options::recursive);
    std::string weights = parent.Read(std::string(name) + "/model.safetensors");
    weights.back() = static_cast<char>(weights.back() ^ 1);
    parent.Write(std::string(name) + "/model.safetensors", weights);
    const auto model = OpenModelFolder(path);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(model->config.name, name);
    EXPECT_EQ(ProfileTables::BuiltIn()->For(model->fingerprint), nullptr);
    EXPECT_EQ(AlphaHigh(*model), Catalogue::BuiltIn()->Find("diffkv")->alpha_high);
    EXPECT_NE(AlphaHigh(*model), AlphaHigh(*OpenModelFolder(TinyModel())));
    EXPECT_THAT(MissingOf(*model),
                AllOf(HasSubstr(name), HasSubstr("no calibration and no profile table"),
                      HasSubstr("decant calibrate --model " + path + " --out TABLES/"), HasSubstr("--tables TABLES")));
  }
}

TEST(MeasurementsTest, TheUsersFilesComeBeforeTheBuiltInOnes) {
  const auto model = OpenModelFolder(TinyModel());
  TemporaryFolder folder;
  folder.Write("any name.json", CalibrationOf(model->fingerprint));
  folder.Write("other.json", TableOf(model->fingerprint));
  folder.Write("new.json", CalibrationOf(Sha256("new")));
  folder.Write("notes.txt", "not read");
  const auto measurements = LoadMeasurements(folder.path());
  ASSERT_TRUE(measurements.ok()) << measurements.status();
  EXPECT_EQ(measurements->catalogue.FindFor("diffkv", model->fingerprint)->alpha_high, 7);
  EXPECT_EQ(measurements->tables.For(model->fingerprint)->Find("diffkv")->quality, 0.5);
  EXPECT_THAT(MissingMeasurements(*measurements, Sha256("new"), "new", "DIR", folder.path()),
              AllOf(HasSubstr("has no profile table,"), Not(HasSubstr("calibration and")), HasSubstr(folder.path())));
}

TEST(MeasurementsTest, WhatCannotBeUsedIsNamed) {
  const auto refusal = [](const std::string& text) {
    TemporaryFolder folder;
    folder.Write("a.json", CalibrationOf(Sha256("a")));
    folder.Write("b.json", text);
    return LoadMeasurements(folder.path()).status();
  };
  EXPECT_TRUE(refusal(CalibrationOf(Sha256("b"))).ok());
  for (const std::string& text : {std::string("{"), std::string("[]"), std::string(R"({"format": "decant table v9"})"),
                                  std::string(R"({"format": "decant profile table v1"})")}) {
    EXPECT_EQ(refusal(text).code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(refusal(text).message()), HasSubstr("b.json: "));
  }
  EXPECT_EQ(refusal(CalibrationOf(Sha256("a"))).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(LoadMeasurements("/no/such/folder").status().code(), absl::StatusCode::kNotFound);
}

TEST(MeasurementsTest, TheUsersProfilesStandBesideTheShippedOnes) {
  TemporaryFolder profiles;
  profiles.Write("mine.json", R"({"name": "mine", "high": "k4v4", "hadamard": 32, "shareable": "theirs"})");
  profiles.Write("theirs.json", R"({"name": "theirs", "high": "k8v4"})");
  profiles.Write("notes.txt", "not read");
  const auto measurements = LoadMeasurements("", profiles.path());
  ASSERT_TRUE(measurements.ok()) << measurements.status();
  EXPECT_EQ(measurements->catalogue.Find("mine")->hadamard, 32);
  EXPECT_TRUE(measurements->catalogue.Find("full").ok());
  EXPECT_EQ(LoadMeasurements("")->catalogue.Find("mine").status().code(), absl::StatusCode::kNotFound);
}

TEST(MeasurementsTest, ABrokenProfileIsToldFileLineAndWhatIsAllowed) {
  const auto refusal = [](const std::string& text) {
    TemporaryFolder folder;
    folder.Write("mine.json", text);
    return std::string(LoadMeasurements("", folder.path()).status().message());
  };
  EXPECT_THAT(refusal("{\n\"name\": \"mine\",\n\"hihg\": \"k8v4\"}"),
              AllOf(HasSubstr("/mine.json: line 3: "), HasSubstr("did you mean 'high'?")));
  EXPECT_THAT(refusal(R"({"name": "k8v4", "high": "k8v4"})"), AllOf(HasSubstr("/mine.json: "), HasSubstr("another")));
  EXPECT_THAT(refusal(R"({"name": "mine", "high": "k4_channels"})"),
              AllOf(HasSubstr("/mine.json: "), HasSubstr("high 'k4_channels'"), HasSubstr("allocate 'all_high'")));
  EXPECT_THAT(refusal(R"({"name": "mine", "high": "k8v4", "shareable": "quest"})"),
              AllOf(HasSubstr("'mine'"), HasSubstr("not fit to be stored")));
  const absl::Status missing = LoadMeasurements("", "/no/such/folder").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("profiles"));
}

}  // namespace
}  // namespace decant
