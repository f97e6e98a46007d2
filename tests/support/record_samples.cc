#include "tests/support/record_samples.h"

#include "absl/strings/str_cat.h"
#include "common/base/random.h"

namespace decant::record_samples {
namespace {

Variant VariantOfNumber(uint64_t number) {
  Variant variant;
  variant.key = Sha256(absl::StrCat("key ", number));
  variant.parent = number == 0 ? Digest() : Sha256(absl::StrCat("key ", number - 1));
  variant.model = Sha256("sample model");
  variant.profile = Sha256("sample profile");
  variant.profile_name = "k8v4";
  variant.first_token = static_cast<int32_t>(number % 1000) * 64;
  variant.tokens = 64;
  variant.provenance = Provenance::kQuantised;
  variant.quality = 0.5;
  return variant;
}

std::string FrameBytes(const Digest& key, uint32_t version, int32_t layer, int64_t bytes) {
  std::string frame = absl::StrCat(key.Hex(), " ", version, " ", layer, " ");
  const uint64_t seed = key.Prefix64() ^ MixBits(version, static_cast<uint64_t>(layer));
  for (uint64_t i = 0; static_cast<int64_t>(frame.size()) < bytes; ++i) {
    const uint64_t word = MixBits(seed, i);
    frame.append(reinterpret_cast<const char*>(&word), sizeof(word));
  }
  frame.resize(static_cast<size_t>(bytes));
  return frame;
}

}  // namespace

Record RecordOf(uint64_t number, uint32_t version, const Shape& shape) {
  Record record;
  record.variant = VariantOfNumber(number);
  record.tenant = Sha256("sample tenant");
  for (int32_t layer = 0; layer < shape.layers; ++layer) {
    record.frames.push_back(
        LayerBlob{layer, 1, Blob::CopyOf(FrameBytes(record.variant.key, version, layer, shape.frame_bytes))});
    record.variant.bytes += shape.frame_bytes;
  }
  return record;
}

RecordId IdOfNumber(uint64_t number) { return IdOf(VariantOfNumber(number)); }

bool IsRecord(const Record& record, uint64_t number, uint32_t version, const Shape& shape) {
  return EncodeRecord(record) == EncodeRecord(RecordOf(number, version, shape));
}

int64_t TemporaryFolder::Bytes() const {
  int64_t bytes = 0;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator it(path_, error), end; !error && it != end; it.increment(error)) {
    std::error_code gone;
    const auto size = it->is_regular_file(gone) ? it->file_size(gone) : 0;
    if (!gone) bytes += static_cast<int64_t>(size);
  }
  return bytes;
}

}  // namespace decant::record_samples
