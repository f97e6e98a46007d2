#include "common/model/safetensors_header.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/model/json_fields.h"

namespace decant {
namespace {

constexpr uint64_t kLengthBytes = 8;
// The format's own limit.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;

absl::Status Damaged(const std::string& path, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": ", what, "; the file is damaged or cut off, download it again"));
}

// Bytes of one element, 0 for a type we do not know the width of (narrow floats packed in bits).
int64_t ElementBytes(absl::string_view type) {
  constexpr std::array<std::pair<absl::string_view, int64_t>, 18> kTypes = {{
      {"F32", 4},
      {"F16", 2},
      {"BF16", 2},
      {"F64", 8},
      {"BOOL", 1},
      {"U8", 1},
      {"I8", 1},
      {"F8_E4M3", 1},
      {"I16", 2},
      {"U16", 2},
      {"I32", 4},
      {"U32", 4},
      {"F8_E5M2", 1},
      {"F8_E8M0", 1},
      {"I64", 8},
      {"U64", 8},
      {"C64", 8},
      {"F8_E4M3FNUZ", 1},
  }};
  for (const auto& [name, bytes] : kTypes) {
    if (type == name) return bytes;
  }
  return 0;
}

absl::StatusOr<std::vector<int64_t>> ReadCounts(const JsonFields& fields, const char* name) {
  DECANT_ASSIGN_OR_RETURN(const nlohmann::json* list, fields.Array(name));
  std::vector<int64_t> counts;
  for (const nlohmann::json& item : *list) {
    if (!item.is_number_integer() || item.get<int64_t>() < 0) {
      return absl::InvalidArgumentError(absl::StrCat(fields.where(), ": ", name, " holds ", item.dump()));
    }
    counts.push_back(item.get<int64_t>());
  }
  return counts;
}

absl::StatusOr<StoredTensor> ReadTensor(const std::string& name, const nlohmann::json& json, int64_t data_begin,
                                        int64_t data_bytes, const std::string& path) {
  DECANT_ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Of(json, absl::StrCat("tensor ", name)));
  StoredTensor tensor;
  tensor.name = name;
  DECANT_ASSIGN_OR_RETURN(tensor.type, fields.String("dtype"));
  DECANT_ASSIGN_OR_RETURN(tensor.shape, ReadCounts(fields, "shape"));
  DECANT_ASSIGN_OR_RETURN(const std::vector<int64_t> offsets, ReadCounts(fields, "data_offsets"));
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    return Damaged(path, absl::StrCat("tensor ", name, " has the offsets [", absl::StrJoin(offsets, ", "), "]"));
  }
  if (offsets[1] > data_bytes) {
    return Damaged(path, absl::StrCat("tensor ", name, " ends at byte ", offsets[1], " of the data, which has ",
                                      data_bytes, " bytes"));
  }
  const std::string shape = absl::StrCat("[", absl::StrJoin(tensor.shape, ", "), "]");
  tensor.elements = 1;
  for (const int64_t size : tensor.shape) {
    if (size != 0 && tensor.elements > std::numeric_limits<int64_t>::max() / 16 / size) {
      return Damaged(path, absl::StrCat("tensor ", name, " has the impossible shape ", shape));
    }
    tensor.elements *= size;
  }
  const int64_t width = ElementBytes(tensor.type);
  if (width != 0 && tensor.elements * width != offsets[1] - offsets[0]) {
    return Damaged(path, absl::StrCat("tensor ", name, " ", tensor.type, shape, " needs ", tensor.elements * width,
                                      " bytes but its offsets span ", offsets[1] - offsets[0]));
  }
  tensor.begin = data_begin + offsets[0];
  tensor.end = data_begin + offsets[1];
  return tensor;
}

absl::Status CheckCoverage(const std::vector<StoredTensor>& tensors, int64_t data_begin, int64_t file_bytes,
                           const std::string& path) {
  int64_t next = data_begin;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.begin != next) {
      return Damaged(path, absl::StrCat("tensor ", tensor.name, " begins at byte ", tensor.begin, " of the file where ",
                                        next, tensor.begin < next ? " is due: two tensors overlap" : " is due: a gap"));
    }
    next = tensor.end;
  }
  if (next != file_bytes) {
    return Damaged(path, absl::StrCat("the file has ", file_bytes, " bytes, its tensors end at ", next));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<StoredTensor>> ParseSafetensorsHeader(absl::string_view file, const std::string& path) {
  if (file.size() < kLengthBytes) return Damaged(path, absl::StrCat("the file has only ", file.size(), " bytes"));
  uint64_t length;
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMaxHeaderBytes || length > file.size() - kLengthBytes) {
    return Damaged(path, absl::StrCat("the head claims ", length, " bytes of ", file.size()));
  }
  const absl::StatusOr<nlohmann::json> header = ParseJson(file.substr(kLengthBytes, length), path);
  if (!header.ok() || !header->is_object()) return Damaged(path, "the head is not a JSON object");

  const int64_t data_begin = static_cast<int64_t>(kLengthBytes + length);
  const int64_t file_bytes = static_cast<int64_t>(file.size());
  std::vector<StoredTensor> tensors;
  for (const auto& [name, json] : header->items()) {
    if (name == "__metadata__") continue;
    absl::StatusOr<StoredTensor> tensor = ReadTensor(name, json, data_begin, file_bytes - data_begin, path);
    if (absl::IsInvalidArgument(tensor.status())) return Damaged(path, tensor.status().message());
    if (!tensor.ok()) return tensor.status();
    tensors.push_back(*std::move(tensor));
  }
  std::sort(tensors.begin(), tensors.end(), [](const StoredTensor& a, const StoredTensor& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  DECANT_RETURN_IF_ERROR(CheckCoverage(tensors, data_begin, file_bytes, path));
  return tensors;
}

}  // namespace decant
