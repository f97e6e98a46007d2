#include "common/compress/code/positions.h"

#include <cstring>

#include "absl/strings/str_cat.h"

namespace decant {

std::optional<int64_t> EncodePositions(absl::Span<const uint8_t> in, absl::Span<uint8_t> out) {
  if (in.size() % 2 != 0) return std::nullopt;
  uint16_t previous = 0xffff;
  size_t used = 0;
  for (size_t i = 0; i < in.size(); i += 2) {
    uint16_t position;
    std::memcpy(&position, in.data() + i, 2);
    uint32_t gap = static_cast<uint16_t>(position - previous - 1);
    previous = position;
    for (bool more = true; more;) {
      if (used == out.size()) return std::nullopt;
      more = gap >= 0x80u;
      out[used++] = static_cast<uint8_t>((gap & 0x7fu) | (more ? 0x80u : 0u));
      gap >>= 7;
    }
  }
  return static_cast<int64_t>(used);
}

absl::Status DecodePositions(absl::Span<const uint8_t> in, absl::Span<uint8_t> out) {
  if (out.size() % 2 != 0) {
    return absl::DataLossError(absl::StrCat("positions of 2 bytes cannot fill ", out.size(), " bytes"));
  }
  uint16_t previous = 0xffff;
  size_t used = 0;
  for (size_t i = 0; i < out.size(); i += 2) {
    uint32_t gap = 0;
    for (uint32_t shift = 0;; shift += 7) {
      if (used == in.size()) {
        return absl::DataLossError(absl::StrCat("gaps end at position ", i / 2, " of ", out.size() / 2));
      }
      const uint32_t byte = in[used++];
      gap |= (byte & 0x7fu) << shift;
      if (gap > 0xffffu || (shift == 14 && byte >= 0x80u)) {
        return absl::DataLossError(absl::StrCat("the gap of position ", i / 2, " is beyond 65535"));
      }
      if (byte < 0x80u) break;
    }
    previous = static_cast<uint16_t>(previous + gap + 1);
    std::memcpy(out.data() + i, &previous, 2);
  }
  if (used != in.size()) {
    return absl::DataLossError(absl::StrCat(in.size() - used, " bytes are left after the last position"));
  }
  return absl::OkStatus();
}

}  // namespace decant
