#include "common/model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "common/base/half.h"
#include "tests/common/model/temporary_folder.h"

namespace decant {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string FileOf(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + header + data;
}

template <typename T>
std::string BytesOf(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

constexpr char kTwoTensors[] = R"({"__metadata__": {"format": "pt"},
    "b": {"dtype": "BF16", "shape": [2], "data_offsets": [16, 20]},
    "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}})";

std::string TwoTensorsData() { return BytesOf<float>({1, -2, 3.5f, 4}) + BytesOf<Bf16>({ToBf16(0.5f), ToBf16(-8)}); }

class SafetensorsTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Safetensors>> OpenWith(const std::string& header, const std::string& data) {
    folder_.Write("model.safetensors", FileOf(header, data));
    return Safetensors::Open(folder_.path());
  }
  void ExpectDamaged(const std::string& header, const std::string& data, const std::string& words) {
    const auto tensors = OpenWith(header, data);
    ASSERT_FALSE(tensors.ok()) << header;
    EXPECT_EQ(tensors.status().code(), absl::StatusCode::kDataLoss) << tensors.status();
    EXPECT_THAT(std::string(tensors.status().message()),
                AllOf(HasSubstr(folder_.File("model.safetensors")), HasSubstr(words), HasSubstr("download it again")));
  }
  std::vector<float> Floats(const Safetensors& tensors, const char* name, std::vector<int64_t> shape) {
    const auto view = tensors.Find(name, shape);
    EXPECT_TRUE(view.ok()) << view.status();
    std::vector<float> out(view.ok() ? static_cast<size_t>(view->elements) : 0);
    if (view.ok()) CopyAsFloat(*view, out.data());
    return out;
  }

  TemporaryFolder folder_;
};

TEST_F(SafetensorsTest, ReadsTensorsOfOneFile) {
  const auto tensors = OpenWith(kTwoTensors, TwoTensorsData());
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_THAT((*tensors)->Names(), ElementsAre("a", "b"));
  EXPECT_EQ((*tensors)->total_bytes(), 20);
  EXPECT_TRUE((*tensors)->Contains("a"));
  EXPECT_FALSE((*tensors)->Contains("c"));
  EXPECT_THAT(Floats(**tensors, "a", {2, 2}), ElementsAre(1, -2, 3.5f, 4));
  EXPECT_THAT(Floats(**tensors, "b", {2}), ElementsAre(0.5f, -8));
}

TEST_F(SafetensorsTest, ReadsHalfPrecisionAtOddAddresses) {
  const std::vector<Fp16> halves = {ToFp16(1.5f), Fp16{1}, ToFp16(-65504), Fp16{0x7c00}};
  const auto tensors = OpenWith(R"({"u": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
      "h": {"dtype": "F16", "shape": [4], "data_offsets": [1, 9]}})",
                                "x" + BytesOf(halves));
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_THAT(Floats(**tensors, "h", {4}),
              ElementsAre(1.5f, 5.9604644775390625e-8f, -65504, std::numeric_limits<float>::infinity()));
}

TEST_F(SafetensorsTest, ReadsEmptyAndScalarTensors) {
  const auto tensors = OpenWith(R"({"none": {"dtype": "F32", "shape": [3, 0], "data_offsets": [0, 0]},
      "one": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}})",
                                BytesOf<float>({7}));
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_TRUE(Floats(**tensors, "none", {3, 0}).empty());
  EXPECT_THAT(Floats(**tensors, "one", {}), ElementsAre(7));
}

TEST_F(SafetensorsTest, FindNamesWhatIsMissingOrOfAnotherShapeOrType) {
  const auto tensors = OpenWith(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
      "i": {"dtype": "I32", "shape": [1], "data_offsets": [8, 12]},
      "q": {"dtype": "F4", "shape": [2], "data_offsets": [12, 13]}})",
                                std::string(13, '\0'));
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  const absl::Status missing = (*tensors)->Find("lm_head.weight", {2, 3}).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), AllOf(HasSubstr(folder_.path()), HasSubstr("lm_head.weight [2, 3]")));
  const absl::Status shape = (*tensors)->Find("a", {2, 1}).status();
  EXPECT_EQ(shape.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(shape.message()),
              AllOf(HasSubstr("model.safetensors"), HasSubstr("[2]"), HasSubstr("[2, 1]")));
  EXPECT_EQ((*tensors)->Find("i", {1}).status().code(), absl::StatusCode::kUnimplemented);
  const absl::Status type = (*tensors)->Find("q", {2}).status();
  EXPECT_EQ(type.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(type.message()), HasSubstr("F4"));
}

TEST_F(SafetensorsTest, RefusesAFolderWithoutWeights) {
  const auto tensors = Safetensors::Open(folder_.path());
  EXPECT_EQ(tensors.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(tensors.status().message()), HasSubstr(folder_.path()));
}

TEST_F(SafetensorsTest, RefusesEveryTruncation) {
  const std::string whole = FileOf(kTwoTensors, TwoTensorsData());
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    folder_.Write("model.safetensors", whole.substr(0, bytes));
    EXPECT_EQ(Safetensors::Open(folder_.path()).status().code(), absl::StatusCode::kDataLoss) << bytes;
  }
  folder_.Write("model.safetensors", whole + "x");
  EXPECT_EQ(Safetensors::Open(folder_.path()).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(SafetensorsTest, RefusesAHeadThatIsNoObject) {
  ExpectDamaged("[1, 2]", "", "not a JSON object");
  ExpectDamaged("{\"a\": ", "", "not a JSON object");
  ExpectDamaged(R"({"a": 3})", "", "tensor a");
  ExpectDamaged(R"({"a": {"shape": [1], "data_offsets": [0, 4]}})", "xxxx", "dtype");
  ExpectDamaged(R"({"a": {"dtype": "F32", "shape": "no", "data_offsets": [0, 4]}})", "xxxx", "shape");
  ExpectDamaged(R"({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}})", "xxxx", "-1");
}

TEST_F(SafetensorsTest, RefusesAHeadLongerThanTheFile) {
  for (const uint64_t length : {uint64_t{3}, uint64_t{1} << 40, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    std::string file(10, '{');
    std::memcpy(file.data(), &length, 8);
    folder_.Write("model.safetensors", file);
    EXPECT_EQ(Safetensors::Open(folder_.path()).status().code(), absl::StatusCode::kDataLoss) << length;
  }
}

TEST_F(SafetensorsTest, RefusesBadOffsets) {
  const auto one = [](const std::string& shape, const std::string& offsets) {
    return R"({"a": {"dtype": "F32", "shape": )" + shape + R"(, "data_offsets": )" + offsets + "}}";
  };
  ExpectDamaged(one("[2]", "[0, 8, 9]"), "12345678", "offsets");
  ExpectDamaged(one("[2]", "[8, 0]"), "12345678", "offsets");
  ExpectDamaged(one("[2]", "[0, 12]"), "12345678", "ends at byte 12");
  ExpectDamaged(one("[3]", "[0, 8]"), "12345678", "needs 12 bytes");
  ExpectDamaged(one("[2]", "[4, 12]"), "123456789012", "a gap");
  ExpectDamaged(one("[4294967296, 4294967296, 4294967296]", "[0, 8]"), "12345678", "impossible shape");
  ExpectDamaged(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
      "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}})",
                "12345678", "overlap");
}

class ShardedTest : public SafetensorsTest {
 protected:
  ShardedTest() {
    folder_.Write("one.safetensors",
                  FileOf(R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})", BytesOf<float>({1})));
    folder_.Write("two.safetensors",
                  FileOf(R"({"b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})", BytesOf<float>({2})));
    Index(R"({"a": "one.safetensors", "b": "two.safetensors"})");
  }
  void Index(const std::string& map) {
    folder_.Write("model.safetensors.index.json", R"({"weight_map": )" + map + "}");
  }
  absl::Status Open() { return Safetensors::Open(folder_.path()).status(); }
};

TEST_F(ShardedTest, ReadsEveryShard) {
  const auto tensors = Safetensors::Open(folder_.path());
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_THAT(Floats(**tensors, "a", {1}), ElementsAre(1));
  EXPECT_THAT(Floats(**tensors, "b", {1}), ElementsAre(2));
  EXPECT_EQ((*tensors)->total_bytes(), 8);
}

TEST_F(ShardedTest, RefusesAMissingShard) {
  std::filesystem::remove(folder_.File("two.safetensors"));
  EXPECT_EQ(Open().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(Open().message()), HasSubstr("two.safetensors"));
}

TEST_F(ShardedTest, RefusesATensorThatIsNotWhereTheIndexSays) {
  Index(R"({"a": "one.safetensors", "b": "one.safetensors"})");
  EXPECT_EQ(Open().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Open().message()), AllOf(HasSubstr("one.safetensors"), HasSubstr("tensor b")));
}

TEST_F(ShardedTest, RefusesATensorInTwoShards) {
  std::filesystem::copy_file(folder_.File("one.safetensors"), folder_.File("two.safetensors"),
                             std::filesystem::copy_options::overwrite_existing);
  Index(R"({"a": "one.safetensors", "b": "two.safetensors"})");
  EXPECT_EQ(Open().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Open().message()), HasSubstr("also in"));
}

TEST_F(ShardedTest, RefusesAnIndexThatLeavesTheFolder) {
  for (const char* name : {"../one.safetensors", "/etc/passwd", "..", "", "sub/one.safetensors"}) {
    Index(nlohmann::json{{"a", name}}.dump());
    EXPECT_EQ(Open().code(), absl::StatusCode::kInvalidArgument) << name;
  }
  Index("{}");
  EXPECT_EQ(Open().code(), absl::StatusCode::kInvalidArgument);
  Index("[1]");
  EXPECT_EQ(Open().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(SafetensorsTest, FingerprintSeesNamesShapesTypesAndSampledBytes) {
  const auto digest = [&](const std::string& header, const std::string& data) {
    const auto tensors = OpenWith(header, data);
    EXPECT_TRUE(tensors.ok()) << tensors.status();
    return (*tensors)->fingerprint();
  };
  const std::string header = R"({"a": {"dtype": "F32", "shape": [5000], "data_offsets": [0, 20000]}})";
  std::string data(20000, '\1');
  const Digest base = digest(header, data);
  EXPECT_EQ(base, digest(header, data));
  for (const size_t at : {size_t{0}, size_t{4095}, size_t{15904}, size_t{19999}}) {
    std::string changed = data;
    changed[at] ^= 1;
    EXPECT_NE(base, digest(header, changed)) << at;
  }
  EXPECT_NE(base, digest(R"({"b": {"dtype": "F32", "shape": [5000], "data_offsets": [0, 20000]}})", data));
  EXPECT_NE(base, digest(R"({"a": {"dtype": "F32", "shape": [50, 100], "data_offsets": [0, 20000]}})", data));
  EXPECT_NE(base, digest(R"({"a": {"dtype": "I32", "shape": [5000], "data_offsets": [0, 20000]}})", data));
}

}  // namespace
}  // namespace decant
