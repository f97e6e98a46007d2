#ifndef DECANT_COMMON_MODEL_ADDED_TOKENS_H_
#define DECANT_COMMON_MODEL_ADDED_TOKENS_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/model/json_fields.h"

namespace decant {

// A token that is found as a whole, before the text is cut and merged.
struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;
  bool normalized = false;   // looked for after the normaliser ran, else before
  bool strip_left = false;   // takes the white space before it
  bool strip_right = false;  // and after it
  bool single_word = false;  // not inside a word
};

// "added_tokens" of tokenizer.json (`tokenizer` is the whole file).
absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const JsonFields& tokenizer);

// A part of a text: an added token, or text between two of them.
struct Fragment {
  absl::string_view text;
  int32_t id;  // -1 for text
};

// Finds a set of tokens in texts: the leftmost first, of those that begin there the longest. Immutable, thread-safe.
class AddedTokenFinder {
 public:
  // `token` is looked for as `spelling`, which the normaliser may have changed; of two with one spelling the later
  // wins.
  void Add(const AddedToken& token, absl::string_view spelling);

  // The parts of `text` in order; none is empty, except for an empty text, which has none. Time is linear in the text
  // times the longest spelling. REQUIRES valid UTF-8.
  std::vector<Fragment> Cut(absl::string_view text) const;

 private:
  struct Found {
    const AddedToken* token = nullptr;
    size_t end = 0;
  };
  Found LongestAt(absl::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;
  std::vector<int32_t> token_of_node_ = {-1};           // index into tokens_, -1 where none ends
  absl::flat_hash_map<uint64_t, int32_t> child_nodes_;  // by node << 8 | byte
  std::array<bool, 256> begins_{};                      // whether some spelling begins with the byte
};

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_ADDED_TOKENS_H_
