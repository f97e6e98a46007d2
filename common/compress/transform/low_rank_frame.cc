#include "common/compress/transform/low_rank_frame.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/half.h"
#include "common/base/status_macros.h"
#include "common/kv/envelope.h"
#include "common/kv/frame_fields.h"
#include "common/kv/reject_reason.h"
#include "common/kv/rows.h"

namespace decant {
namespace {

constexpr int64_t kHeaderBytes = 160;
constexpr uint32_t kKNormApplied = 2;  // the flag of a frame
constexpr int64_t kLargest = 0x7fffffff;

void PutHeader(const LowRankHeader& header, std::string& out) {
  ByteWriter writer(out);
  writer.Put(header.k_norm_applied ? kKNormApplied : 0);
  writer.Put(static_cast<uint32_t>(header.provenance));
  writer.Put(static_cast<uint16_t>(header.first_layer));
  writer.Put(static_cast<uint16_t>(header.layers));
  writer.Put(static_cast<uint16_t>(header.first_head));
  writer.Put(static_cast<uint16_t>(header.heads));
  writer.Put(static_cast<uint16_t>(header.head_dim));
  writer.Put(uint16_t{0});
  writer.Put(static_cast<uint32_t>(header.first_position));
  writer.Put(header.model_fingerprint);
  PutDigest(header.profile, writer);
  PutDigest(header.context, writer);
  writer.Put(header.key_error.squared_difference);
  writer.Put(header.key_error.squared_norm);
  writer.Put(header.value_error.squared_difference);
  writer.Put(header.value_error.squared_norm);
  writer.Put(static_cast<uint32_t>(header.tokens));
  writer.Put(static_cast<uint32_t>(header.key_rank));
  writer.Put(static_cast<uint32_t>(header.value_rank));
  writer.Put(uint32_t{0});
}

// Numbers that no writer sets, or nothing.
std::string GetHeader(absl::string_view frame, LowRankHeader& header) {
  ByteReader reader(frame.substr(kEnvelopeBytes));
  const auto flags = reader.Get<uint32_t>();
  const auto provenance = reader.Get<uint32_t>();
  header.k_norm_applied = (flags & kKNormApplied) != 0;
  header.first_layer = reader.Get<uint16_t>();
  header.layers = reader.Get<uint16_t>();
  header.first_head = reader.Get<uint16_t>();
  header.heads = reader.Get<uint16_t>();
  header.head_dim = reader.Get<uint16_t>();
  const auto zero = reader.Get<uint16_t>();
  const int64_t first_position = reader.Get<uint32_t>();
  header.model_fingerprint = reader.Get<uint64_t>();
  header.profile = GetDigest(reader);
  header.context = GetDigest(reader);
  for (StoredError* error : {&header.key_error, &header.value_error}) {
    error->squared_difference = reader.Get<double>();
    error->squared_norm = reader.Get<double>();
  }
  const int64_t tokens = reader.Get<uint32_t>();
  const int64_t key_rank = reader.Get<uint32_t>();
  const int64_t value_rank = reader.Get<uint32_t>();
  const auto more_zero = reader.Get<uint32_t>();
  if (!reader.ok()) return "header ends early";
  if ((flags & ~kKNormApplied) != 0 || zero != 0 || more_zero != 0) return "flags or reserved bytes are set";
  if (provenance < static_cast<uint32_t>(Provenance::kQuantised) ||
      provenance > static_cast<uint32_t>(Provenance::kPredicted)) {
    return absl::StrCat("provenance ", provenance);
  }
  if (!IsErrorSum(header.key_error) || !IsErrorSum(header.value_error)) return "errors are no sums of squares";
  if (header.layers < 1 || header.heads < 1 || header.head_dim < 8 || header.head_dim % 8 != 0) {
    return absl::StrCat(header.layers, " layers, ", header.heads, " heads of ", header.head_dim, " elements");
  }
  const int64_t width = header.width();
  const int64_t most = std::min(tokens, width);
  // Every rank takes a number per token and column, so larger ones cannot be true, and sizes stay within 64 bits.
  const auto bytes = static_cast<int64_t>(frame.size());
  if (tokens < 1 || first_position + tokens > kLargest || tokens > bytes || width > bytes || key_rank < 1 ||
      key_rank > most || value_rank < 1 || value_rank > most) {
    return absl::StrCat("ranks ", key_rank, " and ", value_rank, " of ", tokens, " tokens x ", width, " from position ",
                        first_position);
  }
  header.provenance = static_cast<Provenance>(provenance);
  header.first_position = static_cast<int32_t>(first_position);
  header.tokens = static_cast<int32_t>(tokens);
  header.key_rank = static_cast<int32_t>(key_rank);
  header.value_rank = static_cast<int32_t>(value_rank);
  return std::string();
}

// Turns channel i and its partner by `sign` times the position's angle.
void Turn(const KeyRotation& rotation, int32_t position, float sign, float scale, absl::Span<float> key) {
  const size_t half = rotation.inverse_frequencies.size();
  DECANT_CHECK(2 * half == key.size());
  for (size_t i = 0; i < half; ++i) {
    const float angle = static_cast<float>(position) * rotation.inverse_frequencies[i];
    const float c = std::cos(angle) * scale;
    const float s = std::sin(angle) * scale * sign;
    const float a = key[i];
    const float b = key[i + half];
    key[i] = a * c - b * s;
    key[i + half] = b * c + a * s;
  }
}

void StoreVector(FormatId full, absl::Span<const float> vector, uint8_t* to) {
  if (full == FormatId::kFullF32) {
    std::memcpy(to, vector.data(), 4 * vector.size());
    return;
  }
  for (size_t i = 0; i < vector.size(); ++i) {
    const uint16_t bits = ToBf16(vector[i]).bits;
    std::memcpy(to + 2 * i, &bits, 2);
  }
}

FrameHeader PlainHeader(const LowRankHeader& header, FormatId full, int32_t layer, int32_t first, int32_t span) {
  FrameHeader plain;
  plain.formats[kHigh] = full;
  plain.provenance = header.provenance;
  plain.k_norm_applied = header.k_norm_applied;
  plain.first_layer = layer;
  plain.first_head = header.first_head;
  plain.heads = header.heads;
  plain.head_dim = header.head_dim;
  plain.first_position = header.first_position + first;
  plain.span = span;
  plain.model_fingerprint = header.model_fingerprint;
  plain.profile = header.profile;
  plain.context = header.context;
  // The sums are those of the whole group and cannot be told apart.
  return plain;
}

}  // namespace

int64_t LowRankFrameBytes(int64_t tokens, int64_t width, int64_t key_rank, int64_t value_rank) {
  return kHeaderBytes + AlignFrame(SharedBasisBytes(tokens, width, key_rank)) +
         AlignFrame(SharedBasisBytes(tokens, width, value_rank));
}

std::string SealLowRankFrame(LowRankHeader header, const SharedBasis& keys, const SharedBasis& values) {
  header.key_rank = keys.rank;
  header.value_rank = values.rank;
  for (const SharedBasis* basis : {&keys, &values}) {
    DECANT_CHECK(basis->tokens == header.tokens && basis->width == header.width() && basis->rank >= 1);
  }
  const int64_t bytes = LowRankFrameBytes(header.tokens, header.width(), keys.rank, values.rank);
  DECANT_CHECK(bytes <= kLargest);
  std::string frame;
  frame.reserve(static_cast<size_t>(bytes));
  PutEnvelope({kLowRankMagic, kLowRankVersion, static_cast<uint16_t>(kHeaderBytes), static_cast<uint32_t>(bytes), 0},
              frame);
  PutHeader(header, frame);
  DECANT_CHECK(frame.size() == kHeaderBytes);
  for (const SharedBasis* basis : {&keys, &values}) {
    const size_t start = frame.size();
    const int64_t stored = SharedBasisBytes(header.tokens, header.width(), basis->rank);
    frame.resize(start + static_cast<size_t>(AlignFrame(stored)), '\0');
    StoreSharedBasis(*basis, {reinterpret_cast<uint8_t*>(frame.data()) + start, static_cast<size_t>(stored)});
  }
  SealEnvelope(reinterpret_cast<uint8_t*>(frame.data()), bytes);
  return frame;
}

absl::StatusOr<LowRankView> ParseLowRankFrame(absl::string_view batch, int64_t offset) {
  const auto lost = [&](const auto&... parts) {
    return WithRejectReason(
        absl::DataLossError(absl::StrCat("low-rank frame at byte ", offset, ": ", parts..., "; treat it as a miss")),
        "malformed");
  };
  LowRankView view;
  const Envelope expected{kLowRankMagic, kLowRankVersion, static_cast<uint16_t>(kHeaderBytes), 0, 0};
  DECANT_ASSIGN_OR_RETURN(view.bytes, OpenEnvelope(batch, offset, expected, "low-rank frame"));
  if (const std::string mistake = GetHeader(view.bytes, view.header); !mistake.empty()) return lost(mistake);
  const LowRankHeader& header = view.header;
  const int64_t bytes = LowRankFrameBytes(header.tokens, header.width(), header.key_rank, header.value_rank);
  if (bytes != static_cast<int64_t>(view.bytes.size())) return lost(view.bytes.size(), " bytes, not ", bytes);
  const auto* base = reinterpret_cast<const uint8_t*>(view.bytes.data());
  const int64_t keys = SharedBasisBytes(header.tokens, header.width(), header.key_rank);
  const int64_t values = SharedBasisBytes(header.tokens, header.width(), header.value_rank);
  view.keys = {base + kHeaderBytes, static_cast<size_t>(keys)};
  view.values = {base + kHeaderBytes + AlignFrame(keys), static_cast<size_t>(values)};
  return view;
}

void RotateKey(const KeyRotation& rotation, int32_t position, absl::Span<float> key) {
  Turn(rotation, position, 1, rotation.magnitude, key);
}

void UnrotateKey(const KeyRotation& rotation, int32_t position, absl::Span<float> key) {
  Turn(rotation, position, -1, 1 / rotation.magnitude, key);
}

absl::Status ExpandLowRankFrame(const LowRankView& view, FormatId full, const KeyRotation& rotation, std::string& out) {
  const LowRankHeader& header = view.header;
  DECANT_CHECK(full == FormatId::kFullBf16 || full == FormatId::kFullF32);
  if (rotation.inverse_frequencies.size() * 2 != static_cast<size_t>(header.head_dim)) {
    return absl::InvalidArgumentError(absl::StrCat(rotation.inverse_frequencies.size(), " rotated pairs for heads of ",
                                                   header.head_dim, " elements"));
  }
  const auto width = static_cast<int32_t>(header.width());
  DECANT_ASSIGN_OR_RETURN(const SharedBasis keys, LoadSharedBasis(view.keys, header.tokens, width, header.key_rank));
  DECANT_ASSIGN_OR_RETURN(const SharedBasis values,
                          LoadSharedBasis(view.values, header.tokens, width, header.value_rank));
  const int32_t columns = header.heads * header.head_dim;
  const auto dim = static_cast<size_t>(header.head_dim);
  const int64_t vector_bytes = VectorBytes(FormatOf(full).k, header.head_dim);
  std::vector<float> k(static_cast<size_t>(header.tokens) * static_cast<size_t>(columns));
  std::vector<float> v(k.size());
  for (int32_t layer = 0; layer < header.layers; ++layer) {
    ExpandSharedBasis(keys, layer * columns, columns, absl::MakeSpan(k));
    ExpandSharedBasis(values, layer * columns, columns, absl::MakeSpan(v));
    for (int32_t first = 0; first < header.tokens; first += kMaxFrameSpan) {
      const int32_t span = std::min(kMaxFrameSpan, header.tokens - first);
      const FrameHeader plain = PlainHeader(header, full, header.first_layer + layer, first, span);
      std::vector<int32_t> counts(static_cast<size_t>(header.heads * kFrameTiers), 0);
      for (int32_t head = 0; head < header.heads; ++head) counts[static_cast<size_t>(head * kFrameTiers)] = span;
      const FrameLayout layout = LayOutFrame(plain, counts);
      const size_t start = out.size();
      out.resize(start + static_cast<size_t>(layout.bytes));
      auto* const frame = reinterpret_cast<uint8_t*>(out.data()) + start;
      for (int32_t head = 0; head < header.heads; ++head) {
        const FrameRun& run = layout.run(0, head, kHigh);
        for (int32_t token = 0; token < span; ++token) {
          const size_t from =
              static_cast<size_t>(first + token) * static_cast<size_t>(columns) + static_cast<size_t>(head) * dim;
          const absl::Span<float> key(k.data() + from, dim);
          RotateKey(rotation, header.first_position + first + token, key);
          StoreVector(full, key, frame + run.keys + token * vector_bytes);
          StoreVector(full, {v.data() + from, dim}, frame + run.values + token * vector_bytes);
        }
      }
      SealFrame(plain, layout, frame);
    }
  }
  return absl::OkStatus();
}

}  // namespace decant
