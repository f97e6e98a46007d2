// A task of the lab: texts with questions whose answers lie in the text, scored exactly.
#ifndef DECANT_SERVICES_LAB_TASK_H_
#define DECANT_SERVICES_LAB_TASK_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace decant {

struct LabQuestion {
  std::string ask;     // follows the context verbatim
  std::string answer;  // follows the question verbatim, its leading space included
};

// Every question is asked of the context alone: none sees another.
struct LabText {
  std::string context;
  std::vector<LabQuestion> questions;
  std::vector<int32_t> ids = {};  // the context's tokens, where it was cut from a longer text; else empty
};

enum class LabScore : uint8_t {
  kWhole,   // 1 when every token of the answer is right, else 0
  kTokens,  // the share of right tokens
};

struct LabTask {
  std::string name;
  LabScore score = LabScore::kWhole;
  // Answers are scored in spans of so many tokens, each a row of its own (long output); 0 = in one.
  int32_t span_tokens = 0;
  // A pure function: the same seed gives the same text on every machine. `length` is the tokens aimed at for context
  // and question together; the text of a file's task ignores both.
  std::function<LabText(uint64_t seed, int32_t length)> make;
  // Of a task from a file: its texts, in order; empty for generated ones.
  std::vector<LabText> texts;
  // No questions: the first tokens of a text, as many as the run's length, are the prompt and the others are fed.
  bool continues = false;
};

// For decant-tiny, in the words and forms it was trained on (deploy/models/training/worlds.py).
std::vector<LabTask> TinyTasks();
// For chat models in the <|im_start|> form: pass keys in dull text, a task per depth (kPassKey and how many per cent of
// the text come before the key), and needles in prose at changing depths.
inline constexpr absl::string_view kPassKey = "passkey_";
std::vector<LabTask> ChatTasks();
// The context again and again in the same form, then kLongTokens tokens of the same text, fed one by one.
inline constexpr int32_t kLongTokens = 512;
inline constexpr int32_t kLongSpan = 128;
LabTask TinyLongTask();
LabTask ChatLongTask();

// About how many tokens a text of the generators takes: one per space, digit and punctuation mark.
int32_t TokensAbout(absl::string_view text);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_TASK_H_
