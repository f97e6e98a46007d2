#ifndef DECANT_TESTS_COMMON_MODEL_TOKENIZER_GOLDEN_H_
#define DECANT_TESTS_COMMON_MODEL_TOKENIZER_GOLDEN_H_

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/model/tokenizer.h"
#include "tests/common/model/temporary_folder.h"

namespace decant {

// Every text of the golden set gives the reference's ids and text, whole and token by token.
inline void ExpectGolden(const std::string& folder, const std::string& golden_name) {
  const auto opened = Tokenizer::Open(folder);
  ASSERT_TRUE(opened.ok()) << opened.status();
  const Tokenizer& tokenizer = **opened;
  const nlohmann::json texts = ReadJson(GoldenModels() + "/tokenizers/texts.json");
  const nlohmann::json golden = ReadJson(GoldenModels() + "/tokenizers/" + golden_name + "/golden.json");
  ASSERT_EQ(texts.size(), golden.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string text = texts[i];
    SCOPED_TRACE(nlohmann::json(text).dump());
    const auto ids = tokenizer.Encode(text);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, golden[i]["ids"].get<std::vector<int32_t>>());
    EXPECT_EQ(*tokenizer.Decode(*ids, false), golden[i]["decoded"].get<std::string>());
    EXPECT_EQ(*tokenizer.Decode(*ids, true), golden[i]["skipped"].get<std::string>());

    StreamingText stream(tokenizer);
    std::string streamed;
    for (const int32_t id : *ids) streamed += *stream.Add(id);
    streamed += *stream.Finish();
    EXPECT_EQ(streamed, golden[i]["skipped"].get<std::string>());
  }
}

}  // namespace decant

#endif  // DECANT_TESTS_COMMON_MODEL_TOKENIZER_GOLDEN_H_
