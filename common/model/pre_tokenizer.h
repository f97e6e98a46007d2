#ifndef DECANT_COMMON_MODEL_PRE_TOKENIZER_H_
#define DECANT_COMMON_MODEL_PRE_TOKENIZER_H_

#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/model/json_fields.h"
#include "common/model/regex.h"
#include "common/model/split.h"

namespace decant {

// A part of the text on its way to the model.
struct Piece {
  std::string text;
  bool at_start;  // begins where the whole text begins
};

// How tokenizer.json cuts a text into words that the model never merges across: the steps of its "pre_tokenizer", each
// applied to every piece of the one before. Immutable, thread-safe.
class PreTokenizer {
 public:
  // `tokenizer` is the whole file. UNIMPLEMENTED names a step decant does not know.
  static absl::StatusOr<PreTokenizer> Read(const JsonFields& tokenizer);

  // REQUIRES valid UTF-8, and gives it back. No piece of the result is empty.
  absl::StatusOr<std::vector<Piece>> Apply(Piece piece) const;

 private:
  struct ByteLevel {
    bool add_prefix_space;
    std::vector<Regex> regex;  // none or one
  };
  struct Cut {
    SplitPattern pattern;
    SplitBehavior behavior;
    bool invert;
  };
  enum class CharClass : uint8_t { kNumber, kPunctuation, kWhiteSpace };
  struct CutAtChars {
    CharClass chars;
    SplitBehavior behavior;
  };
  struct Words {};  // \w+|[^\w\s]+
  enum class Prefix : uint8_t { kAlways, kFirst, kNever };
  struct Metaspace {
    std::string replacement;
    Prefix prefix;
    bool split;
  };
  using Step = std::variant<ByteLevel, Cut, CutAtChars, Words, Metaspace>;

  static absl::StatusOr<Step> ReadStep(const JsonFields& part, const std::string& type);
  static absl::StatusOr<Step> ReadMetaspace(const JsonFields& part);
  absl::Status AddSteps(const JsonFields& part);

  static absl::Status Run(const ByteLevel& step, Piece piece, std::vector<Piece>& out);
  static absl::Status Run(const Cut& step, Piece piece, std::vector<Piece>& out);
  static absl::Status Run(const CutAtChars& step, Piece piece, std::vector<Piece>& out);
  static absl::Status Run(const Words& step, Piece piece, std::vector<Piece>& out);
  static absl::Status Run(const Metaspace& step, Piece piece, std::vector<Piece>& out);

  std::vector<Step> steps_;
};

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_PRE_TOKENIZER_H_
