#ifndef DECANT_COMMON_MODEL_DECODER_H_
#define DECANT_COMMON_MODEL_DECODER_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "common/model/json_fields.h"
#include "common/model/split.h"

namespace decant {

// How tokenizer.json turns tokens back into text: the steps of its "decoder", in order. Immutable, thread-safe.
class Decoder {
 public:
  // `tokenizer` is the whole file. UNIMPLEMENTED names a step decant does not know.
  static absl::StatusOr<Decoder> Read(const JsonFields& tokenizer);

  // The text of `tokens`, each valid UTF-8. Bytes that make no character become U+FFFD, one for each sequence that
  // could still have become one; so a longer list of tokens never changes text whose last character is another.
  absl::StatusOr<std::string> Join(std::vector<std::string> tokens) const;

 private:
  struct ByteLevel {};
  struct ByteFallback {};
  struct Fuse {};
  struct Strip {
    char32_t content;
    int64_t start;  // at most this many from the front of every token
    int64_t stop;   // and from its back
  };
  struct Replace {
    SplitPattern pattern;
    std::string content;
  };
  struct Metaspace {
    std::string replacement;
    bool drop_first;
  };
  using Step = std::variant<ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace>;

  static absl::StatusOr<Step> ReadStep(const JsonFields& part, const std::string& type);
  absl::Status AddSteps(const JsonFields& part);

  static absl::Status Run(const ByteLevel& step, std::vector<std::string>& tokens);
  static absl::Status Run(const ByteFallback& step, std::vector<std::string>& tokens);
  static absl::Status Run(const Fuse& step, std::vector<std::string>& tokens);
  static absl::Status Run(const Strip& step, std::vector<std::string>& tokens);
  static absl::Status Run(const Replace& step, std::vector<std::string>& tokens);
  static absl::Status Run(const Metaspace& step, std::vector<std::string>& tokens);

  std::vector<Step> steps_;
  bool spaces_between_ = true;  // without a decoder, tokens are words
};

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_DECODER_H_
