#include "common/kv/envelope.h"

#include <cstddef>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/kv/reject_reason.h"

namespace decant {
namespace {

constexpr size_t kCrcOffset = 12;

uint32_t PartCrc(const void* part, size_t bytes) {
  const auto* first = static_cast<const uint8_t*>(part);
  const uint32_t zero = 0;
  uint32_t crc = Crc32c(first, kCrcOffset);
  crc = Crc32c(&zero, sizeof(zero), crc);
  return Crc32c(first + kEnvelopeBytes, bytes - kEnvelopeBytes, crc);
}

}  // namespace

void PutEnvelope(const Envelope& envelope, std::string& out) {
  ByteWriter writer(out);
  writer.Put(envelope.magic);
  writer.Put(envelope.version);
  writer.Put(envelope.header_bytes);
  writer.Put(envelope.total_bytes);
  writer.Put(uint32_t{0});
}

void SealEnvelope(uint8_t* part, int64_t bytes) {
  const uint32_t crc = PartCrc(part, static_cast<size_t>(bytes));
  std::memcpy(part + kCrcOffset, &crc, sizeof(crc));
}

uint16_t EnvelopeVersion(absl::string_view batch, int64_t offset) {
  if (offset < 0 || static_cast<uint64_t>(offset) > batch.size()) return 0;
  ByteReader reader(batch.substr(static_cast<size_t>(offset)));
  reader.Get<uint32_t>();
  const auto version = reader.Get<uint16_t>();
  return reader.ok() ? version : uint16_t{0};
}

absl::StatusOr<absl::string_view> OpenEnvelope(absl::string_view batch, int64_t offset, const Envelope& expected,
                                               absl::string_view what) {
  const auto lost = [&](absl::string_view reason, const auto&... parts) {
    return WithRejectReason(
        absl::DataLossError(absl::StrCat(what, " at byte ", offset, ": ", parts..., "; treat it as a miss")), reason);
  };
  if (offset < 0 || static_cast<uint64_t>(offset) > batch.size())
    return lost("truncated", "batch has only ", batch.size(), " bytes");
  const absl::string_view rest = batch.substr(static_cast<size_t>(offset));
  ByteReader reader(rest);
  Envelope found;
  found.magic = reader.Get<uint32_t>();
  found.version = reader.Get<uint16_t>();
  found.header_bytes = reader.Get<uint16_t>();
  found.total_bytes = reader.Get<uint32_t>();
  found.crc = reader.Get<uint32_t>();
  if (!reader.ok()) return lost("truncated", "only ", rest.size(), " bytes left");
  if (found.magic != expected.magic) return lost("malformed", "magic ", absl::Hex(found.magic), " is unknown");
  if (found.version != expected.version) {
    return WithRejectReason(
        absl::FailedPreconditionError(absl::StrCat(what, " at byte ", offset, ": version ", found.version,
                                                   ", but this build reads version ", expected.version,
                                                   "; run the same release on both sides")),
        "version");
  }
  if (found.header_bytes != expected.header_bytes) return lost("malformed", "header of ", found.header_bytes, " bytes");
  if (found.total_bytes < found.header_bytes || found.total_bytes > rest.size() ||
      found.total_bytes % kEnvelopeBytes != 0) {
    return lost("truncated", "size ", found.total_bytes, " with ", rest.size(), " bytes left");
  }
  const absl::string_view part = rest.substr(0, found.total_bytes);
  if (PartCrc(part.data(), part.size()) != found.crc) return lost("checksum", "checksum differs");
  return part;
}

}  // namespace decant
