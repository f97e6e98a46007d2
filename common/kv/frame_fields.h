// The fixed fields of a frame's header on the wire and what makes them valid; shared by writing and parsing.
#ifndef DECANT_COMMON_KV_FRAME_FIELDS_H_
#define DECANT_COMMON_KV_FRAME_FIELDS_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/kv/envelope.h"
#include "common/kv/frame.h"

namespace decant {

inline constexpr int64_t kFrameHeaderBytes = 144;

// Bytes of the counts u16 [layers, heads, kFrameTiers], padded.
inline int64_t DirectoryBytes(int64_t layers, int64_t heads) { return AlignFrame(layers * heads * kFrameTiers * 2); }

// Bytes 16..143.
void PutFrameFields(const FrameHeader& header, std::string& out);

// Reads them; returns what is wrong with bits that no version-1 writer sets, or nothing. REQUIRES: kFrameHeaderBytes.
std::string GetFrameFields(absl::string_view frame, FrameHeader& header);

// What is wrong with a header and its counts, or nothing. `counts` may be empty while they are not known yet.
std::string FrameMistake(const FrameHeader& header, absl::Span<const int32_t> counts);

// LayOutFrame without its checks.
FrameLayout PlaceFrame(const FrameHeader& header, absl::Span<const int32_t> counts, int64_t offset);

}  // namespace decant

#endif  // DECANT_COMMON_KV_FRAME_FIELDS_H_
