// The record of a chunk variant: what a byte tier keeps of it, its receipt and all its frames in one run of bytes.
//
//   offset  bytes  what (little-endian)
//   0       4      0x54524344, "DCRT"
//   4       4      version: 2, or 1 for a record without the field that is marked so
//   8       4      head bytes H: everything before the frames
//   12      4      CRC-32C of bytes [0, 12) and [16, H): the tag
//   16      8      bytes of all frames
//   24      192    key, parent, model fingerprint, profile digest, context digest, tenant namespace
//   216     16     first token, tokens, provenance, frames: 4 x u32
//   232     8      quality, f64
//   240     4 + n  profile name with its length
//           4 + n  version 2: Variant::encoded_from with its length
//           24 x   per frame, ascending layers: first layer u32, layers u32, bytes u64, CRC-32C u32, zeros u32
//   H              the frames back to back
//
// The tag covers every frame's CRC, so it names the content of the whole record. A reader that knows what it asks for
// takes nothing else: DecodeRecord is the one place where bytes of a tier become frames. A chunk that is as it came is
// written as version 1, so that builds from before still read it.
#ifndef DECANT_COMMON_STORE_RECORD_H_
#define DECANT_COMMON_STORE_RECORD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/digest.h"
#include "common/index/variant.h"
#include "common/store/host_tier.h"

namespace decant {

inline constexpr uint32_t kRecordVersion = 2;  // the newest; all from 1 on are read

// What a reader must know of a record beforehand: whose KV it is, of which form, at which place.
struct RecordId {
  Digest key;
  Digest variant;  // VariantDigest
  Digest model;    // fingerprint
  int32_t first_token = 0;
  int32_t tokens = 0;

  friend bool operator==(const RecordId& a, const RecordId& b) {
    return a.key == b.key && a.variant == b.variant && a.model == b.model && a.first_token == b.first_token &&
           a.tokens == b.tokens;
  }
  template <typename H>
  friend H AbslHashValue(H h, const RecordId& id) {
    return H::combine(std::move(h), id.key, id.variant, id.model, id.first_token, id.tokens);
  }
};
RecordId IdOf(const Variant& variant);

// What a tier files a record under. Two records of one name are told apart by what they say of themselves, so a clash
// is a miss.
struct RecordName {
  Digest key;
  uint64_t variant = 0;  // the first 8 bytes of VariantDigest

  static constexpr size_t kBytes = 40;
  std::string ToBytes() const;
  static std::optional<RecordName> FromBytes(absl::string_view bytes);

  friend bool operator==(const RecordName& a, const RecordName& b) { return a.key == b.key && a.variant == b.variant; }
  template <typename H>
  friend H AbslHashValue(H h, const RecordName& name) {
    return H::combine(std::move(h), name.key, name.variant);
  }
};
RecordName NameOf(const RecordId& id);

struct Record {
  Variant variant;                // `entry`, and whatever else is a number of one process, means nothing here
  Digest tenant;                  // NamespaceOf, for quotas after a restart; zeros when it is not stated
  std::vector<LayerBlob> frames;  // ascending layers
};

struct RecordFrame {
  int32_t first_layer = 0;
  int32_t layers = 0;
  int64_t bytes = 0;
  uint32_t crc32c = 0;
};

// What the head says; `variant.bytes` is that of the frames.
struct RecordHead {
  Variant variant;
  Digest tenant;
  std::vector<RecordFrame> frames;
  uint32_t tag = 0;
  int64_t head_bytes = 0;
};

std::string EncodeRecord(const Record& record);

// The bytes of the head alone, as far as the prefix can be read; empty when it can't. For tiers that file it apart.
absl::string_view HeadBytes(absl::string_view record);

// Reads a head; whatever follows it is ignored. DATA_LOSS when it is damaged or cut, UNIMPLEMENTED for another version.
absl::StatusOr<RecordHead> DecodeHead(absl::string_view record);

// Verifies everything and copies the frames out. DATA_LOSS for damaged or cut bytes, UNIMPLEMENTED for another version,
// FAILED_PRECONDITION for the record of another key, variant, model or place, ABORTED when `tag` is known and another
// one stands there (an older record of the same name).
absl::StatusOr<Record> DecodeRecord(absl::string_view record, const RecordId& want, std::optional<uint32_t> tag = {},
                                    BlobMemory* where = nullptr);

}  // namespace decant

#endif  // DECANT_COMMON_STORE_RECORD_H_
