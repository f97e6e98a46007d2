// The head of one .safetensors file: 8 bytes of length, that many bytes of JSON, then the tensors' bytes.
#ifndef DECANT_COMMON_MODEL_SAFETENSORS_HEADER_H_
#define DECANT_COMMON_MODEL_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace decant {

struct StoredTensor {
  std::string name;
  std::string type;  // as the file spells it: "BF16"
  std::vector<int64_t> shape;
  int64_t elements = 0;
  int64_t begin = 0;  // offsets in the file
  int64_t end = 0;
};

// Checks everything about `file`, the whole content of `path`: the length of the head, offsets in order without gap or
// overlap up to the last byte, sizes that agree with type and shape. DATA_LOSS names the file and what is wrong.
// The result is in the order of the bytes.
absl::StatusOr<std::vector<StoredTensor>> ParseSafetensorsHeader(absl::string_view file, const std::string& path);

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_SAFETENSORS_HEADER_H_
