#include "common/model/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/model/unicode.h"
#include "tests/common/model/temporary_folder.h"

namespace decant {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

// A folder whose tokenizer.json may be changed.
class TokenizerTest : public testing::Test {
 protected:
  TokenizerTest() { folder_.Write("tokenizer.json", kSmall.dump()); }

  std::unique_ptr<Tokenizer> With(const std::function<void(nlohmann::json&)>& change) {
    folder_.Edit("tokenizer.json", change);
    auto tokenizer = Tokenizer::Open(folder_.path());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return std::move(tokenizer).value();
  }
  void ExpectError(const nlohmann::json& content, absl::StatusCode code, const std::string& words) {
    folder_.Write("tokenizer.json", content.dump());
    const absl::Status status = Tokenizer::Open(folder_.path()).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(folder_.File("tokenizer.json")), HasSubstr(words)));
  }
  nlohmann::json Spoiled(const std::function<void(nlohmann::json&)>& change) {
    nlohmann::json json = kSmall;
    change(json);
    return json;
  }

  const nlohmann::json kSmall = nlohmann::json::parse(R"({
      "added_tokens": [{"id": 0, "content": "<s>", "special": true, "normalized": false}],
      "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
      "model": {"type": "BPE", "vocab": {"<s>": 0, "a": 1, "b": 2, "c": 3, "ab": 4, "bc": 5, "abc": 6, "aa": 7},
                "merges": ["b c", "a b", "a bc", "a a"]}})");
  TemporaryFolder folder_;
};

TEST_F(TokenizerTest, MergesTheEarliestLearnedPairFirstAndFromTheLeft) {
  const auto tokenizer = With([](nlohmann::json&) {});
  EXPECT_THAT(*tokenizer->Encode("abc"), ElementsAre(6));
  EXPECT_THAT(*tokenizer->Encode("ab"), ElementsAre(4));
  EXPECT_THAT(*tokenizer->Encode("aaa"), ElementsAre(7, 1));
  EXPECT_THAT(*tokenizer->Encode("aaabc"), ElementsAre(7, 6));
  EXPECT_THAT(*tokenizer->Encode(""), ElementsAre());
  EXPECT_THAT(*tokenizer->Encode("<s>ab<s><s>"), ElementsAre(0, 4, 0, 0));
}

TEST_F(TokenizerTest, WithoutAnUnknownTokenUnknownCharactersVanish) {
  EXPECT_THAT(*With([](nlohmann::json&) {})->Encode("aXb"), ElementsAre(4));
}

TEST_F(TokenizerTest, UnknownCharactersAreFusedOnRequest) {
  const auto each = With([](nlohmann::json& json) { json["model"]["unk_token"] = "<s>"; });
  EXPECT_THAT(*each->Encode("aXYb"), ElementsAre(1, 0, 0, 2));
  const auto fused = With([](nlohmann::json& json) { json["model"]["fuse_unk"] = true; });
  EXPECT_THAT(*fused->Encode("aXYbZ"), ElementsAre(1, 0, 2, 0));
}

TEST_F(TokenizerTest, ReadsMergesInBothSpellings) {
  const auto pairs = With([](nlohmann::json& json) {
    json["model"]["merges"] = nlohmann::json::parse(R"([["b", "c"], ["a", "b"], ["a", "bc"], ["a", "a"]])");
  });
  EXPECT_THAT(*pairs->Encode("abcab"), ElementsAre(6, 4));
}

TEST_F(TokenizerTest, InvalidUtf8IsRefusedWithItsPlace) {
  const auto tokenizer = With([](nlohmann::json&) {});
  for (const auto& [text, place] : std::vector<std::pair<std::string, std::string>>{{"ab\xff", "byte 2"},
                                                                                    {"\xc3", "byte 0"},
                                                                                    {"a\xed\xa0\x80", "byte 1"},
                                                                                    {"abc\xf4\x90\x80\x80", "byte 3"},
                                                                                    {"\xc0\xaf", "byte 0"}}) {
    const auto ids = tokenizer->Encode(text);
    EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(ids.status().message()), HasSubstr(place));
  }
}

TEST_F(TokenizerTest, IdsBeyondTheVocabularyAreRefused) {
  const auto tokenizer = With([](nlohmann::json&) {});
  EXPECT_EQ(tokenizer->vocabulary(), 8);
  EXPECT_EQ(*tokenizer->Decode(std::vector<int32_t>{0, 6, 0}, true), "abc");
  EXPECT_EQ(*tokenizer->Decode(std::vector<int32_t>{0, 6, 0}, false), "<s>abc<s>");
  for (const int32_t id : {-1, 8, std::numeric_limits<int32_t>::max()}) {
    EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{1, id}, true).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(TokenizerTest, UnknownPartsAreNamed) {
  const std::vector<std::pair<const char*, const char*>> parts = {{"normalizer", "BertNormalizer"},
                                                                  {"pre_tokenizer", "BertPreTokenizer"},
                                                                  {"post_processor", "BertProcessing"},
                                                                  {"decoder", "WordPiece"},
                                                                  {"model", "WordLevel"}};
  for (const auto& [part, type] : parts) {
    ExpectError(Spoiled([&](nlohmann::json& json) {
                  json[part] = {{"type", type}};
                }),
                absl::StatusCode::kUnimplemented, type);
  }
  const nlohmann::json nested = {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Odd"}}}}};
  ExpectError(Spoiled([&](nlohmann::json& json) { json["pre_tokenizer"] = nested; }), absl::StatusCode::kUnimplemented,
              "Odd");
}

TEST_F(TokenizerTest, UnknownOptionsAreNamed) {
  ExpectError(Spoiled([](nlohmann::json& json) { json["model"]["end_of_word_suffix"] = "</w>"; }),
              absl::StatusCode::kUnimplemented, "</w>");
  ExpectError(Spoiled([](nlohmann::json& json) { json["model"]["dropout"] = 0.1; }), absl::StatusCode::kUnimplemented,
              "dropout");
  ExpectError(Spoiled([](nlohmann::json& json) {
                json["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"String", "x"}}}, {"behavior", "Odd"}};
              }),
              absl::StatusCode::kUnimplemented, "Odd");
  ExpectError(Spoiled([](nlohmann::json& json) {
                json["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "(a"}}}, {"behavior", "Isolated"}};
              }),
              absl::StatusCode::kInvalidArgument, "(a");
}

TEST_F(TokenizerTest, DamagedFilesAreNamed) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  ExpectError("text", invalid, "object");
  ExpectError(Spoiled([](nlohmann::json& json) { json.erase("model"); }), invalid, "model");
  ExpectError(Spoiled([](nlohmann::json& json) { json["model"].erase("vocab"); }), invalid, "vocab");
  ExpectError(Spoiled([](nlohmann::json& json) { json["model"]["vocab"]["a"] = -1; }), invalid, "-1");
  ExpectError(Spoiled([](nlohmann::json& json) { json["model"]["vocab"]["a"] = 1e12; }), invalid, "\"a\"");
  ExpectError(Spoiled([](nlohmann::json& json) { json["model"]["merges"].push_back("a x"); }), invalid, "\"x\"");
  ExpectError(Spoiled([](nlohmann::json& json) { json["model"]["merges"].push_back("abc"); }), invalid, "merge");
  ExpectError(Spoiled([](nlohmann::json& json) { json["model"]["merges"].push_back(3); }), invalid, "merge");
  ExpectError(Spoiled([](nlohmann::json& json) { json["model"]["unk_token"] = "<none>"; }), invalid, "<none>");
  ExpectError(Spoiled([](nlohmann::json& json) { json["added_tokens"][0]["id"] = "zero"; }), invalid, "id");
  ExpectError(Spoiled([](nlohmann::json& json) { json["added_tokens"][0]["id"] = -4; }), invalid, "-4");
  folder_.Write("tokenizer.json", kSmall.dump().substr(0, 60));
  EXPECT_EQ(Tokenizer::Open(folder_.path()).status().code(), invalid);
  std::filesystem::remove(folder_.File("tokenizer.json"));
  EXPECT_EQ(Tokenizer::Open(folder_.path()).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(TokenizerTest, TemplatesMustNameTheTextOnce) {
  const auto with_template = [&](const nlohmann::json& single, const nlohmann::json& specials) {
    return Spoiled([&](nlohmann::json& json) {
      json["post_processor"] = {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", specials}};
    });
  };
  const nlohmann::json token = {{"SpecialToken", {{"id", "<s>"}}}};
  const nlohmann::json text = {{"Sequence", {{"id", "A"}}}};
  const nlohmann::json specials = {{"<s>", {{"ids", {0}}}}};
  ExpectError(with_template(nlohmann::json::array({token}), specials), absl::StatusCode::kUnimplemented, "0 times");
  ExpectError(with_template(nlohmann::json::array({text, text}), specials), absl::StatusCode::kUnimplemented,
              "2 times");
  ExpectError(with_template(nlohmann::json::array({token, text}), nlohmann::json::object()),
              absl::StatusCode::kInvalidArgument, "<s>");
  folder_.Write("tokenizer.json", with_template(nlohmann::json::array({token, text, token}), specials).dump());
  EXPECT_THAT(*(*Tokenizer::Open(folder_.path()))->Encode("ab"), ElementsAre(0, 4, 0));
}

TEST_F(TokenizerTest, FingerprintIsOfTheFile) {
  const Digest before = With([](nlohmann::json&) {})->fingerprint();
  EXPECT_NE(before, With([](nlohmann::json& json) { json["added_tokens"][0]["lstrip"] = true; })->fingerprint());
}

// Textbook BPE: the pair with the least rank, leftmost, until none is left; quadratic.
std::vector<int32_t> PlainBpe(const nlohmann::json& tokenizer, const std::string& text) {
  std::vector<std::string> parts;
  for (const char c : text) parts.emplace_back(1, c);
  const auto& merges = tokenizer["model"]["merges"];
  while (true) {
    size_t best_rank = merges.size();
    size_t best_at = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      for (size_t rank = 0; rank < best_rank; ++rank) {
        if (merges[rank] == parts[i] + " " + parts[i + 1]) {
          best_rank = rank;
          best_at = i;
        }
      }
    }
    if (best_rank == merges.size()) break;
    parts[best_at] += parts[best_at + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
  std::vector<int32_t> ids;
  for (const std::string& part : parts) ids.push_back(tokenizer["model"]["vocab"][part]);
  return ids;
}

TEST_F(TokenizerTest, EqualsTextbookMergingOnEveryShortText) {
  const auto tokenizer = With([](nlohmann::json& json) {
    json["model"]["vocab"]["aab"] = 8;
    json["model"]["vocab"]["abab"] = 9;
    json["model"]["merges"] = {"a b", "a a", "ab ab", "b c", "aa b", "a bc"};
  });
  const nlohmann::json content = nlohmann::json::parse(folder_.Read("tokenizer.json"));
  for (int length = 0; length <= 7; ++length) {
    int count = 1;
    for (int i = 0; i < length; ++i) count *= 3;
    for (int code = 0; code < count; ++code) {
      std::string text;
      for (int i = 0, rest = code; i < length; ++i, rest /= 3) text.push_back(static_cast<char>('a' + rest % 3));
      ASSERT_EQ(*tokenizer->Encode(text), PlainBpe(content, text)) << text;
    }
  }
}

// A quadratic step anywhere would take hours here.
TEST(TokenizerSizeTest, AMegabyteWithoutSpacesIsTokenised) {
  for (const char* kind : {"gpt2_digits", "llama3", "qwen2", "llama2"}) {
    const auto tokenizer = Tokenizer::Open(GoldenModels() + "/tokenizers/" + kind);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    for (const std::string& unit : {std::string("a"), std::string(" "), std::string("\n "), std::string("<|im_start"),
                                    std::string("word"), std::string("e\u0301"), std::string("\u4f60")}) {
      std::string text;
      while (text.size() < (1 << 20)) text += unit;
      const auto ids = (*tokenizer)->Encode(text);
      ASSERT_TRUE(ids.ok()) << ids.status();
      EXPECT_EQ(*(*tokenizer)->Decode(*ids, true) == Normalized(text, NormalForm::kNfc),
                unit != "e\u0301" || kind == std::string("qwen2"))
          << kind << " " << unit;
    }
  }
}

}  // namespace
}  // namespace decant
