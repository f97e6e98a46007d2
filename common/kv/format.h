// A format says how a page or a frame segment holds K and V of a token. It is data: kernels and codecs read it, none is
// written for one format only.
#ifndef DECANT_COMMON_KV_FORMAT_H_
#define DECANT_COMMON_KV_FORMAT_H_

#include <cstdint>

#include "common/base/host_device.h"

namespace decant {

// How one vector of head_dim elements is held. Affine codes are packed little end first: element 0 in the lowest bits
// of byte 0. An affine element is code x scale + zero with fp16 (scale, zero) pairs, of which there is one
// - per vector: kAffine*,
// - per kElementGroup elements of a vector: kGroup*,
// - per element over kTokenGroup consecutive tokens of a run: kChannel*. Such tokens are frozen together: they come and
//   go in whole groups.
enum class Element : uint8_t {
  kNone = 0,
  kF32 = 1,
  kBf16 = 2,
  kAffine8 = 3,
  kAffine4 = 4,
  kAffine2 = 5,
  kAffine1 = 6,
  kGroup4 = 7,
  kGroup2 = 8,
  kChannel4 = 9,
  kChannel2 = 10,
};
inline constexpr int kElementCount = 11;

inline constexpr int32_t kElementGroup = 32;
inline constexpr int32_t kTokenGroup = 32;
inline constexpr int32_t kStatisticsBlock = 16;  // tokens that share one entry of read statistics

// Numbers are those of the byte table in proto/decant/v1/README.md and never change their meaning. A format may hold
// only K or only V: then the two halves of a token live in different tiers.
enum class FormatId : uint8_t {
  kNone = 0,
  kFullF32 = 1,
  kFullBf16 = 2,
  kK8V4 = 3,
  kK4V2 = 4,
  kTrackedF32 = 5,
  kTrackedBf16 = 6,
  kK4V4 = 7,
  kTrackedK4V4 = 8,
  kK4V8 = 9,
  kK4V1 = 10,
  kGroupK4V4 = 11,
  kGroupK2V2 = 12,
  kChannelK4 = 13,
  kChannelK2 = 14,
  kGroupV4 = 15,
  kGroupV2 = 16,
  kFullK32 = 17,
  kFullK16 = 18,
  kFullV32 = 19,
  kFullV16 = 20,
  kIndexedF32 = 21,
  kIndexedBf16 = 22,
  kPlainK8V4 = 23,
  kPlainK4V2 = 24,
};
inline constexpr int kFormatCount = 25;

struct Format {
  Element k;
  Element v;
  bool tracked;     // every token carries a score sum (f32) and its true position (i32), which online policies need
  bool statistics;  // smallest and largest key per channel (bf16, rounded outward) of every kStatisticsBlock tokens
};

DECANT_HOST_DEVICE constexpr Format FormatOf(FormatId id) {
  switch (id) {
    case FormatId::kFullF32:
      return Format{Element::kF32, Element::kF32, false, false};
    case FormatId::kFullBf16:
      return Format{Element::kBf16, Element::kBf16, false, false};
    case FormatId::kK8V4:
      return Format{Element::kAffine8, Element::kAffine4, true, false};
    case FormatId::kK4V2:
      return Format{Element::kAffine4, Element::kAffine2, true, false};
    case FormatId::kTrackedF32:
      return Format{Element::kF32, Element::kF32, true, false};
    case FormatId::kTrackedBf16:
      return Format{Element::kBf16, Element::kBf16, true, false};
    case FormatId::kK4V4:
      return Format{Element::kAffine4, Element::kAffine4, false, false};
    case FormatId::kTrackedK4V4:
      return Format{Element::kAffine4, Element::kAffine4, true, false};
    case FormatId::kK4V8:
      return Format{Element::kAffine4, Element::kAffine8, true, false};
    case FormatId::kK4V1:
      return Format{Element::kAffine4, Element::kAffine1, true, false};
    case FormatId::kGroupK4V4:
      return Format{Element::kGroup4, Element::kGroup4, true, false};
    case FormatId::kGroupK2V2:
      return Format{Element::kGroup2, Element::kGroup2, true, false};
    case FormatId::kChannelK4:
      return Format{Element::kChannel4, Element::kNone, false, false};
    case FormatId::kChannelK2:
      return Format{Element::kChannel2, Element::kNone, false, false};
    case FormatId::kGroupV4:
      return Format{Element::kNone, Element::kGroup4, false, false};
    case FormatId::kGroupV2:
      return Format{Element::kNone, Element::kGroup2, false, false};
    case FormatId::kFullK32:
      return Format{Element::kF32, Element::kNone, false, false};
    case FormatId::kFullK16:
      return Format{Element::kBf16, Element::kNone, false, false};
    case FormatId::kFullV32:
      return Format{Element::kNone, Element::kF32, false, false};
    case FormatId::kFullV16:
      return Format{Element::kNone, Element::kBf16, false, false};
    case FormatId::kIndexedF32:
      return Format{Element::kF32, Element::kF32, false, true};
    case FormatId::kIndexedBf16:
      return Format{Element::kBf16, Element::kBf16, false, true};
    case FormatId::kPlainK8V4:
      return Format{Element::kAffine8, Element::kAffine4, false, false};
    case FormatId::kPlainK4V2:
      return Format{Element::kAffine4, Element::kAffine2, false, false};
    case FormatId::kNone:
      break;
  }
  return Format{Element::kNone, Element::kNone, false, false};
}

DECANT_HOST_DEVICE constexpr int32_t ElementBits(Element element) {
  switch (element) {
    case Element::kF32:
      return 32;
    case Element::kBf16:
      return 16;
    case Element::kAffine8:
      return 8;
    case Element::kAffine4:
    case Element::kGroup4:
    case Element::kChannel4:
      return 4;
    case Element::kAffine2:
    case Element::kGroup2:
    case Element::kChannel2:
      return 2;
    case Element::kAffine1:
      return 1;
    case Element::kNone:
      break;
  }
  return 0;
}

DECANT_HOST_DEVICE constexpr bool IsAffine(Element element) { return element >= Element::kAffine8; }
DECANT_HOST_DEVICE constexpr bool IsGrouped(Element element) {
  return element == Element::kGroup4 || element == Element::kGroup2;
}
DECANT_HOST_DEVICE constexpr bool IsChannel(Element element) { return element >= Element::kChannel4; }
DECANT_HOST_DEVICE constexpr bool IsFull(Element element) {
  return element == Element::kF32 || element == Element::kBf16;
}

// Holds only K or only V.
DECANT_HOST_DEVICE constexpr bool IsHalf(FormatId id) {
  const Format format = FormatOf(id);
  return (format.k == Element::kNone) != (format.v == Element::kNone);
}

// A page holds a multiple of this many tokens of the format, so that groups and blocks never cross pages.
DECANT_HOST_DEVICE constexpr int32_t TokenMultiple(FormatId id) {
  const Format format = FormatOf(id);
  if (IsChannel(format.k) || IsChannel(format.v)) return kTokenGroup;
  return format.statistics ? kStatisticsBlock : 1;
}

// Bytes of one token's vector without its scales and zeros; head_dim is a multiple of 8.
DECANT_HOST_DEVICE constexpr int64_t VectorBytes(Element element, int32_t head_dim) {
  return int64_t{head_dim} * ElementBits(element) / 8;
}

// Bytes of one token's own (scale, zero) pairs; 0 for plain floats and for channel elements, whose pairs belong to no
// single token.
DECANT_HOST_DEVICE constexpr int64_t MetaBytes(Element element, int32_t head_dim) {
  if (IsGrouped(element)) return int64_t{4} * ((head_dim + kElementGroup - 1) / kElementGroup);
  return IsAffine(element) && !IsChannel(element) ? 4 : 0;
}

// Bytes of the (scale, zero) pairs of a run of `tokens` tokens: [tokens, pairs] or, of channel elements, [groups,
// head_dim].
DECANT_HOST_DEVICE constexpr int64_t MetaSegmentBytes(Element element, int32_t head_dim, int64_t tokens) {
  if (IsChannel(element)) return (tokens + kTokenGroup - 1) / kTokenGroup * 4 * head_dim;
  return tokens * MetaBytes(element, head_dim);
}

// Bytes of the read statistics of `tokens` tokens: bf16 [blocks, 2, head_dim], smallest then largest.
DECANT_HOST_DEVICE constexpr int64_t StatisticsBytes(FormatId id, int32_t head_dim, int64_t tokens) {
  if (!FormatOf(id).statistics) return 0;
  return (tokens + kStatisticsBlock - 1) / kStatisticsBlock * 4 * head_dim;
}

// Bytes of `tokens` tokens of one head in a page, alignment and tail waste aside.
DECANT_HOST_DEVICE constexpr int64_t TokensBytes(FormatId id, int32_t head_dim, int64_t tokens) {
  const Format format = FormatOf(id);
  return tokens * (VectorBytes(format.k, head_dim) + VectorBytes(format.v, head_dim) + (format.tracked ? 8 : 0)) +
         MetaSegmentBytes(format.k, head_dim, tokens) + MetaSegmentBytes(format.v, head_dim, tokens) +
         StatisticsBytes(id, head_dim, tokens);
}

// The same of one token, averaged over a group or block.
DECANT_HOST_DEVICE constexpr int64_t TokenBytes(FormatId id, int32_t head_dim) {
  return TokensBytes(id, head_dim, kTokenGroup) / kTokenGroup;
}

// What was done to keys before they were stored, and so what attention has to do to the query that reads them.
struct KeyForm {
  uint8_t rope = 1;      // rotated by their position; 0: attention rotates them when it reads them
  uint8_t hadamard = 0;  // log2 of the block order of a Hadamard transform along head_dim; 0: none
  uint8_t balanced = 0;  // multiplied by a vector per layer and kv head that travels beside them

  friend DECANT_HOST_DEVICE constexpr bool operator==(const KeyForm& a, const KeyForm& b) {
    return a.rope == b.rope && a.hadamard == b.hadamard && a.balanced == b.balanced;
  }
  friend DECANT_HOST_DEVICE constexpr bool operator!=(const KeyForm& a, const KeyForm& b) { return !(a == b); }
};

}  // namespace decant

#endif  // DECANT_COMMON_KV_FORMAT_H_
