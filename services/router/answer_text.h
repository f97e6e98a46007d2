// The text of an answer as its tokens come: detokenised, cut at a stop string.
#ifndef DECANT_SERVICES_ROUTER_ANSWER_TEXT_H_
#define DECANT_SERVICES_ROUTER_ANSWER_TEXT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/model/tokenizer.h"

namespace decant {

// Text that may be the beginning of a stop string is held back until it is known not to be one, so that nothing of a
// stop string, and nothing after it, is ever given out. Not thread-safe.
class AnswerText {
 public:
  // `stops`: non-empty, valid UTF-8. `tokenizer` is lent.
  AnswerText(const Tokenizer& tokenizer, std::vector<std::string> stops);

  struct Added {
    std::string text;  // what may be given out now; often empty
    bool stopped = false;
  };
  // REQUIRES: no earlier call said stopped.
  absl::StatusOr<Added> Add(int32_t token);
  // The rest, at the end of the answer; empty after a stop.
  absl::StatusOr<std::string> Finish();

 private:
  Added Take(const std::string& text);

  StreamingText streaming_;
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_ANSWER_TEXT_H_
