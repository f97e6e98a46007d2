// Digests that many records share, each kept once and named by a small number.
#ifndef DECANT_COMMON_INDEX_DIGEST_TABLE_H_
#define DECANT_COMMON_INDEX_DIGEST_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "common/base/digest.h"

namespace decant {

// Number 0 is the digest of zeros and is always there. Not thread-safe.
class DigestTable {
 public:
  static constexpr uint32_t kAbsent = UINT32_MAX;

  DigestTable() : rows_(1) {}

  // The digest's number, with one more holder. `label` is for people; the first one stays.
  uint32_t Hold(const Digest& digest, absl::string_view label = "");
  // One holder less; with the last one the number is free for another digest.
  void LetGo(uint32_t number);
  uint32_t Find(const Digest& digest) const;  // kAbsent when nobody holds it

  const Digest& digest(uint32_t number) const { return rows_[number].digest; }
  const std::string& label(uint32_t number) const { return rows_[number].label; }
  size_t size() const { return numbers_.size(); }

 private:
  struct Row {
    Digest digest;
    std::string label;
    int64_t holders = 0;
  };

  std::vector<Row> rows_;
  std::vector<uint32_t> free_;
  absl::flat_hash_map<Digest, uint32_t> numbers_;
};

}  // namespace decant

#endif  // DECANT_COMMON_INDEX_DIGEST_TABLE_H_
