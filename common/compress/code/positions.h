// Positions of kept tokens, 16 bits each, as varints of the gaps: what dropping tokens costs on the wire.
//
// Each value minus its predecessor minus 1, modulo 2^16 (the first one's predecessor is -1), in little-endian base 128:
// neighbours cost one zero byte, and a new head's restart three bytes. Any sequence can be coded; ascending ones get
// short.
#ifndef DECANT_COMMON_COMPRESS_CODE_POSITIONS_H_
#define DECANT_COMMON_COMPRESS_CODE_POSITIONS_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace decant {

// `in`: little-endian 16-bit values; an odd size does not fit any `out`. Returns the bytes used, or nothing when `out`
// is too small.
std::optional<int64_t> EncodePositions(absl::Span<const uint8_t> in, absl::Span<uint8_t> out);

// Fills `out`. DATA_LOSS when `in` does not hold exactly out.size() / 2 gaps.
absl::Status DecodePositions(absl::Span<const uint8_t> in, absl::Span<uint8_t> out);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_CODE_POSITIONS_H_
