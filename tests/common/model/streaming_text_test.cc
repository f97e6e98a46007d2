#include <gtest/gtest.h>

#include "common/model/tokenizer.h"
#include "common/model/unicode.h"
#include "tests/common/model/temporary_folder.h"

namespace decant {
namespace {

// What each step gave out, and at last what Finish gave.
std::vector<std::string> Stream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  StreamingText stream(tokenizer);
  std::vector<std::string> steps;
  for (const int32_t id : ids) steps.push_back(*stream.Add(id));
  steps.push_back(*stream.Finish());
  return steps;
}

std::string Joined(const std::vector<std::string>& steps) {
  std::string all;
  for (const std::string& step : steps) all += step;
  return all;
}

class StreamingTextTest : public testing::TestWithParam<const char*> {
 protected:
  StreamingTextTest() : tokenizer_(std::move(Tokenizer::Open(GoldenModels() + "/tokenizers/" + GetParam())).value()) {}

  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(StreamingTextTest, NeverCutsInsideACharacter) {
  const std::string text =
      "ab \u4f60\u597d \U0001f468\u200d\U0001f469\u200d\U0001f467 e\u0301 \U00010348\U0010fffd end";
  const auto ids = tokenizer_->Encode(text);
  ASSERT_TRUE(ids.ok());
  const std::vector<std::string> steps = Stream(*tokenizer_, *ids);
  for (const std::string& step : steps) {
    EXPECT_EQ(ValidUtf8Prefix(step), step.size());
    EXPECT_EQ(step.find("\uFFFD"), std::string::npos) << step;
  }
  EXPECT_EQ(Joined(steps), *tokenizer_->Decode(*ids, true));
}

TEST_P(StreamingTextTest, EqualsTheWholeTextFarBeyondItsWindow) {
  std::string text;
  for (int i = 0; i < 60; ++i) text += " word\u4f60\U0001f680 and  more\n\u0627\u0644 " + std::to_string(i) + "\t";
  const auto ids = tokenizer_->Encode(text);
  ASSERT_TRUE(ids.ok());
  ASSERT_GT(ids->size(), 800u);
  EXPECT_EQ(Joined(Stream(*tokenizer_, *ids)), *tokenizer_->Decode(*ids, true));
}

TEST_P(StreamingTextTest, AnUnfinishedCharacterIsReplacedAtTheEnd) {
  auto ids = *tokenizer_->Encode("ok \U00010348");
  // Template tokens at the end are special and give no text.
  while (Joined(Stream(*tokenizer_, ids)) == *tokenizer_->Decode(*tokenizer_->Encode("ok \U00010348"), true))
    ids.pop_back();
  const std::vector<std::string> steps = Stream(*tokenizer_, ids);
  EXPECT_EQ(steps.back(), "\uFFFD");
  EXPECT_EQ(Joined(steps), *tokenizer_->Decode(ids, true));
}

INSTANTIATE_TEST_SUITE_P(Kinds, StreamingTextTest,
                         testing::Values("gpt2_digits", "llama3", "qwen2", "llama2", "metaspace_first"),
                         [](const auto& kind) { return std::string(kind.param); });

// Ids 0 to 255 are bytes, 256 is special; counts the ids it is asked to decode.
class ByteTokenizer : public Tokenizer {
 public:
  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view) const override {
    return absl::UnimplementedError("not needed");
  }
  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids, bool) const override {
    decoded_ids_ += ids.size();
    std::string bytes;
    for (const int32_t id : ids) {
      if (id > 256) return absl::InvalidArgumentError("beyond the vocabulary");
      if (id < 256) bytes.push_back(static_cast<char>(id));
    }
    return ReplaceInvalidUtf8(bytes);
  }
  int32_t vocabulary() const override { return 257; }
  Digest fingerprint() const override { return {}; }
  size_t decoded_ids() const { return decoded_ids_; }

 private:
  mutable size_t decoded_ids_ = 0;
};

std::vector<int32_t> BytesAsIds(const std::string& bytes) {
  std::vector<int32_t> ids;
  for (const char byte : bytes) ids.push_back(static_cast<uint8_t>(byte));
  return ids;
}

TEST(StreamingTextStepsTest, ACharacterComesWithItsLastByte) {
  const ByteTokenizer tokenizer;
  EXPECT_EQ(Stream(tokenizer, BytesAsIds("a\u00e9\u4f60!")),
            (std::vector<std::string>{"a", "", "\u00e9", "", "", "\u4f60", "!", ""}));
}

TEST(StreamingTextStepsTest, InvalidBytesComeOneStepLate) {
  const ByteTokenizer tokenizer;
  EXPECT_EQ(Stream(tokenizer, BytesAsIds("\x80\x80"
                                         "a\xe4\xbd"
                                         "b\xff")),
            (std::vector<std::string>{"", "\uFFFD",
                                      "\uFFFD"
                                      "a",
                                      "", "",
                                      "\uFFFD"
                                      "b",
                                      "", "\uFFFD"}));
}

TEST(StreamingTextStepsTest, SpecialTokensGiveNothingAndHideNothing) {
  const ByteTokenizer tokenizer;
  EXPECT_EQ(Stream(tokenizer, {256, 'a', 256, 0xc3, 256, 0xa9, 256}),
            (std::vector<std::string>{"", "a", "", "", "", "\u00e9", "", ""}));
}

TEST(StreamingTextStepsTest, ABadIdIsAnErrorAndChangesNothing) {
  const ByteTokenizer tokenizer;
  StreamingText stream(tokenizer);
  EXPECT_EQ(*stream.Add('a'), "a");
  EXPECT_FALSE(stream.Add(999).ok());
  EXPECT_EQ(*stream.Add('b'), "b");
  EXPECT_EQ(*stream.Finish(), "");
  EXPECT_EQ(*stream.Finish(), "");
}

TEST(StreamingTextStepsTest, WorkGrowsLinearlyWithTheOutput) {
  for (const std::string& unit : {std::string("a"), std::string("\u4f60"), std::string("\x80"), std::string("\xf0\x9f"),
                                  std::string("\U0001f680 ")}) {
    const ByteTokenizer tokenizer;
    std::string text;
    while (text.size() < 20000) text += unit;
    EXPECT_EQ(Joined(Stream(tokenizer, BytesAsIds(text))), ReplaceInvalidUtf8(text));
    EXPECT_LT(tokenizer.decoded_ids(), 100 * text.size()) << unit;
  }
}

}  // namespace
}  // namespace decant
