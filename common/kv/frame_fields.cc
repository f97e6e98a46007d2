#include "common/kv/frame_fields.h"

#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"

namespace decant {
namespace {

constexpr uint32_t kRopeApplied = 1;
constexpr uint32_t kKNormApplied = 2;
constexpr uint32_t kExplicitPositions = 4;
constexpr uint32_t kBalanced = 8;
constexpr uint32_t kKnownFlagsV1 = kRopeApplied | kKNormApplied | kExplicitPositions;
constexpr uint32_t kKnownFlags = kKnownFlagsV1 | kBalanced;
constexpr uint8_t kLastFormatV1 = 4;
constexpr uint8_t kMostHadamard = 8;  // blocks of 256

bool IsSum(double value) { return std::isfinite(value) && value >= 0; }

}  // namespace

void PutDigest(const Digest& digest, ByteWriter& writer) {
  writer.PutBytes({reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size()});
}

Digest GetDigest(ByteReader& reader) {
  Digest digest;
  const absl::string_view bytes = reader.GetBytes(digest.bytes.size());
  if (reader.ok()) std::memcpy(digest.bytes.data(), bytes.data(), bytes.size());
  return digest;
}

bool IsErrorSum(const StoredError& error) { return IsSum(error.squared_difference) && IsSum(error.squared_norm); }

std::vector<int32_t> GetCounts(uint16_t version, int64_t layers, int64_t heads, absl::string_view bytes) {
  const int32_t tiers = FrameTiers(version);
  if (static_cast<uint64_t>(2 * layers * heads * tiers) > bytes.size()) return {};
  std::vector<int32_t> counts(static_cast<size_t>(layers * heads * kFrameTiers), 0);
  ByteReader reader(bytes);
  for (size_t i = 0; i < counts.size(); i += kFrameTiers) {
    for (size_t tier = 0; tier < static_cast<size_t>(tiers); ++tier) counts[i + tier] = reader.Get<uint16_t>();
  }
  return counts;
}

void PutFrameFields(const FrameHeader& header, std::string& out) {
  ByteWriter writer(out);
  writer.Put((header.key_form.rope != 0 ? kRopeApplied : 0) | (header.k_norm_applied ? kKNormApplied : 0) |
             (header.explicit_positions ? kExplicitPositions : 0) | (header.key_form.balanced != 0 ? kBalanced : 0));
  writer.Put(static_cast<uint8_t>(header.provenance));
  writer.Put(static_cast<uint8_t>(header.formats[0]));
  writer.Put(static_cast<uint8_t>(header.formats[1]));
  writer.Put(uint8_t{0});
  writer.Put(static_cast<uint16_t>(header.first_layer));
  writer.Put(static_cast<uint16_t>(header.layers));
  writer.Put(static_cast<uint16_t>(header.first_head));
  writer.Put(static_cast<uint16_t>(header.heads));
  writer.Put(static_cast<uint16_t>(header.head_dim));
  writer.Put(static_cast<uint16_t>(header.span));
  writer.Put(static_cast<uint32_t>(header.first_position));
  writer.Put(header.model_fingerprint);
  PutDigest(header.profile, writer);
  PutDigest(header.context, writer);
  writer.Put(header.key_error.squared_difference);
  writer.Put(header.key_error.squared_norm);
  writer.Put(header.value_error.squared_difference);
  writer.Put(header.value_error.squared_norm);
  writer.Put(static_cast<uint8_t>(header.formats[2]));
  writer.Put(static_cast<uint8_t>(header.formats[3]));
  writer.Put(header.key_form.hadamard);
  writer.PutBytes(absl::string_view("\0\0\0\0\0\0\0\0\0\0\0\0\0", 13));
}

std::string GetFrameFields(absl::string_view frame, FrameHeader& header) {
  ByteReader reader(frame.substr(kEnvelopeBytes));
  const auto flags = reader.Get<uint32_t>();
  header.key_form.rope = (flags & kRopeApplied) != 0 ? 1 : 0;
  header.key_form.balanced = (flags & kBalanced) != 0 ? 1 : 0;
  header.k_norm_applied = (flags & kKNormApplied) != 0;
  header.explicit_positions = (flags & kExplicitPositions) != 0;
  const auto provenance = reader.Get<uint8_t>();
  const auto high = reader.Get<uint8_t>();
  const auto low = reader.Get<uint8_t>();
  const auto reserved = reader.Get<uint8_t>();
  header.first_layer = reader.Get<uint16_t>();
  header.layers = reader.Get<uint16_t>();
  header.first_head = reader.Get<uint16_t>();
  header.heads = reader.Get<uint16_t>();
  header.head_dim = reader.Get<uint16_t>();
  header.span = reader.Get<uint16_t>();
  const auto first_position = reader.Get<uint32_t>();
  header.model_fingerprint = reader.Get<uint64_t>();
  header.profile = GetDigest(reader);
  header.context = GetDigest(reader);
  header.key_error.squared_difference = reader.Get<double>();
  header.key_error.squared_norm = reader.Get<double>();
  header.value_error.squared_difference = reader.Get<double>();
  header.value_error.squared_norm = reader.Get<double>();
  uint8_t formats[kFrameTiers] = {high, low, 0, 0};
  if (header.version > 1) {
    formats[2] = reader.Get<uint8_t>();
    formats[3] = reader.Get<uint8_t>();
    header.key_form.hadamard = reader.Get<uint8_t>();
    for (const char byte : reader.GetBytes(13)) {
      if (byte != 0) return "reserved bytes of the header are not zero";
    }
  }
  const uint32_t known = header.version == 1 ? kKnownFlagsV1 : kKnownFlags;
  const int last_format = header.version == 1 ? kLastFormatV1 : kFormatCount - 1;
  if ((flags & ~known) != 0) return absl::StrCat("flags ", absl::Hex(flags), " are unknown");
  if (provenance > static_cast<uint8_t>(Provenance::kPredicted)) return absl::StrCat("provenance ", provenance);
  for (const uint8_t format : formats) {
    if (format > last_format) return absl::StrCat("format ", format);
  }
  if (header.key_form.hadamard > kMostHadamard) return absl::StrCat("Hadamard order 2^", header.key_form.hadamard);
  if (reserved != 0) return absl::StrCat("reserved byte ", reserved);
  if (first_position > 0x7fffffffu) return absl::StrCat("first position ", first_position);
  header.provenance = static_cast<Provenance>(provenance);
  for (int32_t tier = 0; tier < kFrameTiers; ++tier) header.formats[tier] = static_cast<FormatId>(formats[tier]);
  header.first_position = static_cast<int32_t>(first_position);
  return {};
}

namespace {

// Whether the tokens of one half, K or V, of a head can be: within the span, and all of it unless positions are listed.
std::string HalfMistake(const FrameHeader& header, absl::Span<const int32_t> counts, bool keys) {
  int32_t held = 0;
  bool whole = false;
  for (int32_t tier = 0; tier < kFrameTiers; ++tier) {
    const Format format = FormatOf(header.formats[tier]);
    if ((keys ? format.k : format.v) == Element::kNone) continue;
    held += counts[static_cast<size_t>(tier)];
    if (held > header.span) return absl::StrCat("holds ", held, keys ? " keys" : " values", " of ", header.span);
    whole = whole || counts[static_cast<size_t>(tier)] == header.span;
  }
  if (!header.explicit_positions && !whole) return "lacks tokens, but positions are not listed";
  return {};
}

std::string CountsMistake(const FrameHeader& header, absl::Span<const int32_t> counts) {
  for (int32_t tier = 0; tier < kFrameTiers; ++tier) {
    const int32_t count = counts[static_cast<size_t>(tier)];
    if (count < 0 || count > header.span) return absl::StrCat("holds ", count, " of ", header.span);
    if (count > 0 && header.formats[tier] == FormatId::kNone) return "holds tokens in a tier without a format";
  }
  if (std::string mistake = HalfMistake(header, counts, true); !mistake.empty()) return mistake;
  return HalfMistake(header, counts, false);
}

}  // namespace

std::string FrameMistake(const FrameHeader& header, absl::Span<const int32_t> counts) {
  if (header.provenance == Provenance::kUnspecified) return "provenance is unspecified";
  if (header.layers < 1 || header.first_layer < 0 || header.first_layer + header.layers > 65536) {
    return absl::StrCat("layers ", header.first_layer, " + ", header.layers);
  }
  if (header.heads < 1 || header.first_head < 0 || header.first_head + header.heads > 65536) {
    return absl::StrCat("heads ", header.first_head, " + ", header.heads);
  }
  if (header.head_dim < 8 || header.head_dim > 1024 || header.head_dim % 8 != 0) {
    return absl::StrCat("head_dim ", header.head_dim);
  }
  if (header.span < 1 || header.span > kMaxFrameSpan) return absl::StrCat("span of ", header.span, " tokens");
  if (header.first_position < 0 || header.first_position > 0x7fffffff - header.span) {
    return absl::StrCat("first position ", header.first_position, " with a span of ", header.span);
  }
  if (!IsErrorSum(header.key_error) || !IsErrorSum(header.value_error)) return "error sums are not finite sums";
  if (counts.empty()) return {};
  if (static_cast<int64_t>(counts.size()) != int64_t{header.layers} * header.heads * kFrameTiers) {
    return absl::StrCat(counts.size(), " counts for ", header.layers, " layers of ", header.heads, " heads");
  }
  for (size_t i = 0; i < counts.size(); i += kFrameTiers) {
    const std::string mistake = CountsMistake(header, counts.subspan(i, kFrameTiers));
    if (!mistake.empty()) return absl::StrCat("head ", i / kFrameTiers, " ", mistake);
  }
  return {};
}

}  // namespace decant
