// tokenizer.json: text to token ids and back.
#ifndef DECANT_COMMON_MODEL_TOKENIZER_H_
#define DECANT_COMMON_MODEL_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/digest.h"

namespace decant {

// Immutable after Open; thread-safe.
class Tokenizer {
 public:
  // Reads `folder`/tokenizer.json. UNIMPLEMENTED names a part (model, normaliser, pre-tokeniser, post-processor,
  // decoder) that decant does not know.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& folder);
  virtual ~Tokenizer() = default;

  // Text is taken verbatim: added tokens are parsed, nothing is added but what the post-processor adds.
  // INVALID_ARGUMENT for invalid UTF-8, with the byte offset.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text) const = 0;
  // Special tokens are left out when `skip_special`. Ids beyond the vocabulary are INVALID_ARGUMENT.
  virtual absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids, bool skip_special) const = 0;
  virtual int32_t vocabulary() const = 0;
  virtual Digest fingerprint() const = 0;  // of tokenizer.json's bytes
};

// Text as it grows token by token: bytes of an unfinished UTF-8 character are held back until it is whole.
class StreamingText {
 public:
  explicit StreamingText(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  // What `id` adds to the text so far; often empty, never cut inside a character.
  absl::StatusOr<std::string> Add(int32_t id);
  // What was held back, with invalid bytes replaced by U+FFFD.
  absl::StatusOr<std::string> Finish();

 private:
  const Tokenizer& tokenizer_;
  std::vector<int32_t> ids_;
  size_t stable_ids_ = 0;   // ids whose text has been given out
  size_t given_bytes_ = 0;  // of the text of ids_ from stable_ids_ on
};

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_TOKENIZER_H_
