// What frames and overlays share: the first 16 bytes, the directory of token counts and the checksum.
#ifndef DECANT_COMMON_KV_ENVELOPE_H_
#define DECANT_COMMON_KV_ENVELOPE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace decant {

inline constexpr uint32_t kFrameMagic = 0x464e4344;    // "DCNF"
inline constexpr uint32_t kOverlayMagic = 0x4f4e4344;  // "DCNO"
inline constexpr int64_t kEnvelopeBytes = 16;

// Bytes 0..15: magic u32, version u16, header bytes u16, total bytes u32, CRC-32C u32 (of all bytes, itself zero).
struct Envelope {
  uint32_t magic = 0;
  uint16_t version = 0;
  uint16_t header_bytes = 0;
  uint32_t total_bytes = 0;
  uint32_t crc = 0;
};

inline int64_t AlignFrame(int64_t offset) { return (offset + 15) / 16 * 16; }

// Appends the envelope with a zero checksum.
void PutEnvelope(const Envelope& envelope, std::string& out);

// Sets the checksum of a finished part.
void SealEnvelope(uint8_t* part, int64_t bytes);

// The version that the envelope at `offset` names, 0 where there is none.
uint16_t EnvelopeVersion(absl::string_view batch, int64_t offset);

// The bytes of the part at `offset`, after magic, version, sizes and checksum were verified. `what` names the part in
// messages.
absl::StatusOr<absl::string_view> OpenEnvelope(absl::string_view batch, int64_t offset, const Envelope& expected,
                                               absl::string_view what);

}  // namespace decant

#endif  // DECANT_COMMON_KV_ENVELOPE_H_
