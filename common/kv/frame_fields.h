// The fixed fields of a frame's header on the wire and what makes them valid; shared by writing and parsing.
#ifndef DECANT_COMMON_KV_FRAME_FIELDS_H_
#define DECANT_COMMON_KV_FRAME_FIELDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/bytes.h"
#include "common/base/digest.h"
#include "common/kv/envelope.h"
#include "common/kv/frame.h"

namespace decant {

inline constexpr int64_t kFrameHeaderBytes = 160;
inline constexpr int64_t kFrameHeaderBytesV1 = 144;
inline constexpr int32_t kFrameTiersV1 = 2;
inline constexpr int64_t kOverlayHeaderBytes = 48;

inline int64_t FrameHeaderBytes(uint16_t version) { return version == 1 ? kFrameHeaderBytesV1 : kFrameHeaderBytes; }
inline int32_t FrameTiers(uint16_t version) { return version == 1 ? kFrameTiersV1 : kFrameTiers; }

// Bytes of the counts u16 [layers, heads, tiers], padded.
inline int64_t DirectoryBytes(uint16_t version, int64_t layers, int64_t heads) {
  return AlignFrame(2 * layers * heads * FrameTiers(version));
}
// Reads them as [layers, heads, kFrameTiers] from the beginning of `bytes`; nothing when they end early.
std::vector<int32_t> GetCounts(uint16_t version, int64_t layers, int64_t heads, absl::string_view bytes);

// What every header that names profiles, contexts and errors is made of.
void PutDigest(const Digest& digest, ByteWriter& writer);
Digest GetDigest(ByteReader& reader);  // zero once the reader has run out
bool IsErrorSum(const StoredError& error);

// Bytes 16..159.
void PutFrameFields(const FrameHeader& header, std::string& out);

// Reads them; returns what is wrong with bits that no writer of its version sets, or nothing.
// REQUIRES: header.version and its FrameHeaderBytes.
std::string GetFrameFields(absl::string_view frame, FrameHeader& header);

// What is wrong with a header and its counts, or nothing. `counts` may be empty while they are not known yet.
std::string FrameMistake(const FrameHeader& header, absl::Span<const int32_t> counts);

// LayOutFrame without its checks.
FrameLayout PlaceFrame(const FrameHeader& header, absl::Span<const int32_t> counts, int64_t offset);

}  // namespace decant

#endif  // DECANT_COMMON_KV_FRAME_FIELDS_H_
