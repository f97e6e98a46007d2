#ifndef DECANT_COMMON_MODEL_BPE_H_
#define DECANT_COMMON_MODEL_BPE_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/model/json_fields.h"

namespace decant {

// Byte-pair encoding: a piece starts as one token per character (or per byte, where a character has no token and the
// vocabulary has byte tokens), and the pair of neighbours that was learned earliest is merged until none is left.
// Immutable, thread-safe.
class Bpe {
 public:
  // Memory that calls may share, one after the other.
  class Scratch {
   private:
    friend class Bpe;
    struct Symbol {
      int32_t id;
      int32_t previous;  // -1 at the ends
      int32_t next;
    };
    struct Candidate {
      int32_t rank;
      int32_t at;  // index of the left symbol
      int32_t merged_id;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  // "model" of tokenizer.json (`tokenizer` is the whole file). UNIMPLEMENTED for another model than BPE or an option
  // decant does not compute.
  static absl::StatusOr<Bpe> Read(const JsonFields& tokenizer);

  // Appends the ids of `piece`; O(n log n) in its length. REQUIRES valid UTF-8.
  void Tokenize(absl::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const;

  // The tokens by id; empty where an id has none.
  const std::vector<std::string>& tokens() const { return tokens_; }
  // -1 when the vocabulary does not have it.
  int32_t Find(absl::string_view token) const;

 private:
  struct Merge {
    int32_t rank;
    int32_t id;
  };

  absl::Status ReadVocabulary(const JsonFields& model);
  absl::Status ReadMerges(const JsonFields& model);
  void IndexCharacters();
  int32_t FindChar(absl::string_view text, size_t at, size_t bytes) const;
  // One symbol per character, byte or unknown run.
  void Start(absl::string_view piece, std::vector<Scratch::Symbol>& symbols) const;
  void Consider(const std::vector<Scratch::Symbol>& symbols, int32_t at, std::vector<Scratch::Candidate>& heap) const;
  void MergeAll(Scratch& scratch) const;

  std::vector<std::string> tokens_;
  absl::flat_hash_map<std::string, int32_t> ids_;
  absl::flat_hash_map<uint64_t, Merge> merges_;  // by left id << 32 | right id
  std::array<int32_t, 0x400> low_chars_{};       // ids of the characters below U+0400, -1 for none
  std::array<int32_t, 256> byte_ids_{};          // ids of <0x00> ... <0xFF>
  int32_t unknown_id_ = -1;
  bool fuse_unknown_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
};

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_BPE_H_
