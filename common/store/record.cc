// Bytes are read in the order of the table in record.h. Nothing is believed before the head's CRC has been compared
// but the three numbers that say where to look for it.
#include "common/store/record.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

constexpr uint32_t kMagic = 0x54524344;
constexpr uint32_t kPlainVersion = 1;  // as it came: no steps of the ladder
constexpr size_t kPrefixBytes = 16;
constexpr size_t kLeastHeadBytes = 244;
constexpr size_t kMostHeadBytes = size_t{1} << 20;  // some 40,000 frames
constexpr size_t kTagOffset = 12;

absl::Status Damaged(absl::string_view what) { return absl::DataLossError(absl::StrCat("a record ", what)); }

absl::string_view BytesOf(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size()};
}

Digest GetDigest(ByteReader& reader) {
  Digest digest;
  const absl::string_view bytes = reader.GetBytes(digest.bytes.size());
  if (!bytes.empty()) std::memcpy(digest.bytes.data(), bytes.data(), bytes.size());
  return digest;
}

uint32_t TagOf(absl::string_view head) {
  return Crc32c(head.data() + kPrefixBytes, head.size() - kPrefixBytes, Crc32c(head.data(), kTagOffset));
}

absl::Status Compare(const RecordHead& head, const RecordId& want, std::optional<uint32_t> tag) {
  const RecordId is = IdOf(head.variant);
  if (is.model != want.model) return absl::FailedPreconditionError("a record is of another model");
  if (is.key != want.key) return absl::FailedPreconditionError("a record is of another key");
  if (is.variant != want.variant) return absl::FailedPreconditionError("a record is another variant of its key");
  if (is.first_token != want.first_token || is.tokens != want.tokens) {
    return absl::FailedPreconditionError(absl::StrCat("a record holds tokens ", is.first_token, "+", is.tokens,
                                                      ", wanted are ", want.first_token, "+", want.tokens));
  }
  if (tag.has_value() && *tag != head.tag) return absl::AbortedError("a record is not the one stored last");
  return absl::OkStatus();
}

}  // namespace

RecordId IdOf(const Variant& variant) {
  return RecordId{variant.key, VariantDigest(variant.profile, variant.context), variant.model, variant.first_token,
                  variant.tokens};
}

RecordName NameOf(const RecordId& id) { return RecordName{id.key, id.variant.Prefix64()}; }

std::string RecordName::ToBytes() const {
  std::string bytes;
  ByteWriter writer(bytes);
  writer.PutBytes(BytesOf(key));
  writer.Put(variant);
  return bytes;
}

std::optional<RecordName> RecordName::FromBytes(absl::string_view bytes) {
  if (bytes.size() != kBytes) return std::nullopt;
  ByteReader reader(bytes);
  RecordName name;
  name.key = GetDigest(reader);
  name.variant = reader.Get<uint64_t>();
  return name;
}

std::string EncodeRecord(const Record& record) {
  const Variant& variant = record.variant;
  uint64_t payload = 0;
  for (const LayerBlob& frame : record.frames) payload += static_cast<uint64_t>(frame.blob.bytes());
  std::string bytes;
  bytes.reserve(kLeastHeadBytes + variant.profile_name.size() + 4 + variant.encoded_from.size() +
                24 * record.frames.size() + payload);
  ByteWriter writer(bytes);
  writer.Put(kMagic);
  writer.Put(variant.encoded_from.empty() ? kPlainVersion : kRecordVersion);
  writer.Put(uint32_t{0});  // head bytes and tag: known at its end
  writer.Put(uint32_t{0});
  writer.Put(payload);
  for (const Digest* digest :
       {&variant.key, &variant.parent, &variant.model, &variant.profile, &variant.context, &record.tenant}) {
    writer.PutBytes(BytesOf(*digest));
  }
  writer.Put(static_cast<uint32_t>(variant.first_token));
  writer.Put(static_cast<uint32_t>(variant.tokens));
  writer.Put(static_cast<uint32_t>(variant.provenance));
  writer.Put(static_cast<uint32_t>(record.frames.size()));
  writer.Put(variant.quality);
  writer.PutString(variant.profile_name);
  if (!variant.encoded_from.empty()) writer.PutString(variant.encoded_from);
  for (const LayerBlob& frame : record.frames) {
    writer.Put(static_cast<uint32_t>(frame.first_layer));
    writer.Put(static_cast<uint32_t>(frame.layers));
    writer.Put(static_cast<uint64_t>(frame.blob.bytes()));
    writer.Put(frame.blob.crc32c());
    writer.Put(uint32_t{0});
  }
  const auto head_bytes = static_cast<uint32_t>(bytes.size());
  std::memcpy(bytes.data() + 8, &head_bytes, sizeof(head_bytes));
  const uint32_t tag = TagOf(bytes);
  std::memcpy(bytes.data() + kTagOffset, &tag, sizeof(tag));
  for (const LayerBlob& frame : record.frames) writer.PutBytes(frame.blob.view());
  return bytes;
}

absl::string_view HeadBytes(absl::string_view record) {
  ByteReader prefix(record);
  prefix.Get<uint64_t>();
  const auto head_bytes = prefix.Get<uint32_t>();
  if (!prefix.ok() || head_bytes < kLeastHeadBytes || head_bytes > std::min(record.size(), kMostHeadBytes)) return {};
  return record.substr(0, head_bytes);
}

absl::StatusOr<RecordHead> DecodeHead(absl::string_view record) {
  ByteReader prefix(record);
  const auto magic = prefix.Get<uint32_t>();
  const auto version = prefix.Get<uint32_t>();
  if (!prefix.ok() || magic != kMagic) return Damaged("does not begin as one");
  if (version < kPlainVersion || version > kRecordVersion) {
    return absl::UnimplementedError(
        absl::StrCat("a record of version ", version, "; this build reads up to ", kRecordVersion));
  }
  const absl::string_view bytes = HeadBytes(record);
  if (bytes.empty()) return Damaged(absl::StrCat("of ", record.size(), " bytes is cut within its head"));
  ByteReader reader(bytes);
  reader.GetBytes(kTagOffset);
  RecordHead head;
  head.head_bytes = static_cast<int64_t>(bytes.size());
  head.tag = reader.Get<uint32_t>();
  if (TagOf(bytes) != head.tag) return Damaged("has a damaged head");
  const auto payload = reader.Get<uint64_t>();
  Variant& variant = head.variant;
  for (Digest* digest :
       {&variant.key, &variant.parent, &variant.model, &variant.profile, &variant.context, &head.tenant}) {
    *digest = GetDigest(reader);
  }
  variant.first_token = static_cast<int32_t>(reader.Get<uint32_t>());
  variant.tokens = static_cast<int32_t>(reader.Get<uint32_t>());
  const auto provenance = reader.Get<uint32_t>();
  variant.provenance = static_cast<Provenance>(provenance);
  const auto frames = reader.Get<uint32_t>();
  variant.quality = reader.Get<double>();
  variant.profile_name = std::string(reader.GetString());
  if (version > kPlainVersion) variant.encoded_from = std::string(reader.GetString());
  uint64_t sum = 0;
  for (uint32_t i = 0; i < frames && reader.ok(); ++i) {
    RecordFrame frame;
    frame.first_layer = static_cast<int32_t>(reader.Get<uint32_t>());
    frame.layers = static_cast<int32_t>(reader.Get<uint32_t>());
    const auto size = reader.Get<uint64_t>();
    frame.bytes = static_cast<int64_t>(size);
    frame.crc32c = reader.Get<uint32_t>();
    reader.Get<uint32_t>();
    if (size > payload || sum > payload - size) return Damaged("states frames beyond its end");
    sum += size;
    head.frames.push_back(frame);
  }
  const bool sound = reader.ok() && reader.rest().empty() && sum == payload &&
                     provenance <= static_cast<uint32_t>(Provenance::kPredicted);
  if (!sound) return Damaged("has a head that contradicts itself");
  variant.bytes = static_cast<int64_t>(payload);
  return head;
}

absl::StatusOr<Record> DecodeRecord(absl::string_view record, const RecordId& want, std::optional<uint32_t> tag,
                                    BlobMemory* where) {
  DECANT_ASSIGN_OR_RETURN(RecordHead head, DecodeHead(record));
  DECANT_RETURN_IF_ERROR(Compare(head, want, tag));
  absl::string_view rest = record.substr(static_cast<size_t>(head.head_bytes));
  if (static_cast<int64_t>(rest.size()) != head.variant.bytes) {
    return Damaged(absl::StrCat("holds ", rest.size(), " bytes of frames, its head says ", head.variant.bytes));
  }
  Record decoded;
  decoded.frames.reserve(head.frames.size());
  for (const RecordFrame& frame : head.frames) {
    const absl::string_view bytes = rest.substr(0, static_cast<size_t>(frame.bytes));
    rest.remove_prefix(bytes.size());
    Blob blob = Blob::CopyOf(bytes, where);
    if (blob.crc32c() != frame.crc32c) {
      return Damaged(absl::StrCat("has a damaged frame at layer ", frame.first_layer));
    }
    decoded.frames.push_back(LayerBlob{frame.first_layer, frame.layers, std::move(blob)});
  }
  decoded.variant = std::move(head.variant);
  decoded.tenant = head.tenant;
  return decoded;
}

}  // namespace decant
