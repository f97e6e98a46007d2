#ifndef DECANT_TESTS_COMMON_MODEL_TOKENIZER_GOLDEN_H_
#define DECANT_TESTS_COMMON_MODEL_TOKENIZER_GOLDEN_H_

#include <string>
#include <vector>

#include "common/model/tokenizer.h"
#include "tests/common/model/temporary_folder.h"

namespace decant {

// What the tokenizer of `folder` gives otherwise than the reference, over every text of the golden set: ids, text, and
// text token by token. Nothing compared is a difference too.
inline std::vector<std::string> GoldenDifferences(const std::string& folder, const std::string& golden_name) {
  const auto opened = Tokenizer::Open(folder);
  if (!opened.ok()) return {opened.status().ToString()};
  const Tokenizer& tokenizer = **opened;
  const nlohmann::json texts = ReadJson(GoldenModels() + "/tokenizers/texts.json");
  const nlohmann::json golden = ReadJson(GoldenModels() + "/tokenizers/" + golden_name + "/golden.json");
  if (texts.empty() || texts.size() != golden.size()) return {"texts.json and golden.json do not belong together"};
  std::vector<std::string> differences;
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto compare = [&](const char* what, const nlohmann::json& given, const nlohmann::json& wanted) {
      if (given == wanted) return;
      differences.push_back(texts[i].dump() + ": " + what + " " + given.dump() + " instead of " + wanted.dump());
    };
    const auto ids = tokenizer.Encode(texts[i].get<std::string>());
    if (!ids.ok()) {
      differences.push_back(texts[i].dump() + ": " + ids.status().ToString());
      continue;
    }
    compare("ids", *ids, golden[i]["ids"]);
    compare("text", *tokenizer.Decode(*ids, false), golden[i]["decoded"]);
    compare("text without special tokens", *tokenizer.Decode(*ids, true), golden[i]["skipped"]);
    StreamingText stream(tokenizer);
    std::string streamed;
    for (const int32_t id : *ids) streamed += *stream.Add(id);
    streamed += *stream.Finish();
    compare("streamed text", streamed, golden[i]["skipped"]);
  }
  return differences;
}

}  // namespace decant

#endif  // DECANT_TESTS_COMMON_MODEL_TOKENIZER_GOLDEN_H_
