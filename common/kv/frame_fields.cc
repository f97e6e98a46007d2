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
constexpr uint32_t kKnownFlags = kRopeApplied | kKNormApplied | kExplicitPositions;

void PutDigest(const Digest& digest, ByteWriter& writer) {
  writer.PutBytes({reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size()});
}

Digest GetDigest(ByteReader& reader) {
  Digest digest;
  const absl::string_view bytes = reader.GetBytes(digest.bytes.size());
  if (reader.ok()) std::memcpy(digest.bytes.data(), bytes.data(), bytes.size());
  return digest;
}

bool IsSum(double value) { return std::isfinite(value) && value >= 0; }

bool IsErrorSum(const StoredError& error) { return IsSum(error.squared_difference) && IsSum(error.squared_norm); }

}  // namespace

void PutFrameFields(const FrameHeader& header, std::string& out) {
  ByteWriter writer(out);
  writer.Put((header.rope_applied ? kRopeApplied : 0) | (header.k_norm_applied ? kKNormApplied : 0) |
             (header.explicit_positions ? kExplicitPositions : 0));
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
}

std::string GetFrameFields(absl::string_view frame, FrameHeader& header) {
  ByteReader reader(frame.substr(kEnvelopeBytes));
  const auto flags = reader.Get<uint32_t>();
  header.rope_applied = (flags & kRopeApplied) != 0;
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
  if ((flags & ~kKnownFlags) != 0) return absl::StrCat("flags ", absl::Hex(flags), " are unknown");
  if (provenance > static_cast<uint8_t>(Provenance::kPredicted)) return absl::StrCat("provenance ", provenance);
  if (high >= kFormatCount || low >= kFormatCount) return absl::StrCat("formats ", high, " and ", low);
  if (reserved != 0) return absl::StrCat("reserved byte ", reserved);
  if (first_position > 0x7fffffffu) return absl::StrCat("first position ", first_position);
  header.provenance = static_cast<Provenance>(provenance);
  header.formats[0] = static_cast<FormatId>(high);
  header.formats[1] = static_cast<FormatId>(low);
  header.first_position = static_cast<int32_t>(first_position);
  return {};
}

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
    const int32_t high = counts[i];
    const int32_t low = counts[i + 1];
    if (high < 0 || low < 0 || high > header.span || low > header.span - high) {
      return absl::StrCat("head ", i / kFrameTiers, " holds ", high, " high and ", low, " low of ", header.span);
    }
    if ((high > 0 && header.formats[0] == FormatId::kNone) || (low > 0 && header.formats[1] == FormatId::kNone)) {
      return absl::StrCat("head ", i / kFrameTiers, " holds tokens in a tier without a format");
    }
    if (!header.explicit_positions && high != header.span && low != header.span) {
      return absl::StrCat("head ", i / kFrameTiers, " lacks tokens, but positions are not listed");
    }
  }
  return {};
}

}  // namespace decant
