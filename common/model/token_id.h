#ifndef DECANT_COMMON_MODEL_TOKEN_ID_H_
#define DECANT_COMMON_MODEL_TOKEN_ID_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace decant {

// Far above any vocabulary; a damaged id must not make us reserve memory for it.
constexpr int64_t kMaxTokenIds = 1 << 21;

// INVALID_ARGUMENT, opened by `where`, for anything but an integer within [0, kMaxTokenIds).
inline absl::StatusOr<int32_t> ReadTokenId(const nlohmann::json& value, const std::string& where) {
  if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() >= kMaxTokenIds) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": ", value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
                     " is not a token id within 0 and ", kMaxTokenIds, "; the file is damaged, download it again"));
  }
  return value.get<int32_t>();
}

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_TOKEN_ID_H_
