#ifndef DECANT_COMMON_MODEL_NORMALIZER_H_
#define DECANT_COMMON_MODEL_NORMALIZER_H_

#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "common/model/json_fields.h"
#include "common/model/split.h"
#include "common/model/unicode.h"

namespace decant {

// What tokenizer.json does to a text before it is cut: the steps of its "normalizer", in order. Immutable, thread-safe.
class Normalizer {
 public:
  // `tokenizer` is the whole file. UNIMPLEMENTED names a step decant does not know.
  static absl::StatusOr<Normalizer> Read(const JsonFields& tokenizer);

  // REQUIRES valid UTF-8, and gives it back.
  absl::StatusOr<std::string> Apply(std::string text) const;

 private:
  struct Prepend {
    std::string prefix;
  };
  struct Replace {
    SplitPattern pattern;
    std::string content;
  };
  using Step = std::variant<NormalForm, Prepend, Replace>;

  absl::Status AddSteps(const JsonFields& part);

  std::vector<Step> steps_;
};

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_NORMALIZER_H_
