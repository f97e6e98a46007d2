// A format says how a page or a frame segment holds K and V of a token. It is data: kernels and codecs read it, none is
// written for one format only.
#ifndef DECANT_COMMON_KV_FORMAT_H_
#define DECANT_COMMON_KV_FORMAT_H_

#include <cstdint>

#include "common/base/host_device.h"

namespace decant {

// How one vector of head_dim elements is held. Affine elements are asymmetric per token with one fp16 (scale, zero)
// pair; codes are packed little end first: element 0 in the lowest bits of byte 0.
enum class Element : uint8_t { kNone = 0, kF32 = 1, kBf16 = 2, kAffine8 = 3, kAffine4 = 4, kAffine2 = 5 };

enum class FormatId : uint8_t { kNone = 0, kFullF32 = 1, kFullBf16 = 2, kK8V4 = 3, kK4V2 = 4 };
inline constexpr int kFormatCount = 5;

struct Format {
  Element k;
  Element v;
  bool tracked;  // every token carries a score sum (f32) and its true position (i32), which online policies need
};

DECANT_HOST_DEVICE constexpr Format FormatOf(FormatId id) {
  switch (id) {
    case FormatId::kFullF32:
      return Format{Element::kF32, Element::kF32, false};
    case FormatId::kFullBf16:
      return Format{Element::kBf16, Element::kBf16, false};
    case FormatId::kK8V4:
      return Format{Element::kAffine8, Element::kAffine4, true};
    case FormatId::kK4V2:
      return Format{Element::kAffine4, Element::kAffine2, true};
    case FormatId::kNone:
      break;
  }
  return Format{Element::kNone, Element::kNone, false};
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
      return 4;
    case Element::kAffine2:
      return 2;
    case Element::kNone:
      break;
  }
  return 0;
}

DECANT_HOST_DEVICE constexpr bool IsAffine(Element element) { return element >= Element::kAffine8; }

// Bytes of one token's vector without its scale and zero; head_dim is a multiple of 8.
DECANT_HOST_DEVICE constexpr int64_t VectorBytes(Element element, int32_t head_dim) {
  return int64_t{head_dim} * ElementBits(element) / 8;
}

// Bytes of one token's scale and zero, 0 for plain floats.
DECANT_HOST_DEVICE constexpr int64_t MetaBytes(Element element) { return IsAffine(element) ? 4 : 0; }

// Bytes of one token of one head in a page, tail waste aside.
DECANT_HOST_DEVICE constexpr int64_t TokenBytes(FormatId id, int32_t head_dim) {
  const Format format = FormatOf(id);
  return VectorBytes(format.k, head_dim) + VectorBytes(format.v, head_dim) + MetaBytes(format.k) + MetaBytes(format.v) +
         (format.tracked ? 8 : 0);
}

}  // namespace decant

#endif  // DECANT_COMMON_KV_FORMAT_H_
