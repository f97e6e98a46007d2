// Protobuf's wire format, as far as FrameMessage needs it: fields 1 to 5 are varints, field 15 is bytes.
#include "services/rpc/frame_message.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"

namespace decant {
namespace {

constexpr uint32_t kVarint = 0;
constexpr uint32_t kFixed64 = 1;
constexpr uint32_t kBytes = 2;
constexpr uint32_t kFixed32 = 5;
constexpr uint32_t kPayloadField = 15;

// Field heads of five varint fields and of the payload: 5 x (1 + 10) + 1 + 10 bytes at most.
struct HeadBytes {
  uint8_t bytes[66];
  size_t size = 0;

  void PutVarint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes[size++] = static_cast<uint8_t>(value | 0x80);
    bytes[size++] = static_cast<uint8_t>(value);
  }
  void PutField(uint32_t field, uint64_t value) {
    if (value == 0) return;
    PutVarint(field << 3 | kVarint);
    PutVarint(value);
  }
};

grpc::Slice Borrowed(const ConstMemoryRef& part, const std::shared_ptr<const void>& keep) {
  auto* owner = new std::shared_ptr<const void>(keep);
  return grpc::Slice(
      const_cast<void*>(part.address), static_cast<size_t>(part.bytes),
      [](void* user_data) { delete static_cast<std::shared_ptr<const void>*>(user_data); }, owner);
}

// Reads across slice borders; false once the bytes have run out.
class SliceReader {
 public:
  explicit SliceReader(const std::vector<grpc::Slice>& slices) : slices_(slices) { SkipEmpty(); }

  bool done() const { return index_ == slices_.size(); }

  bool ReadVarint(uint64_t& value) {
    value = 0;
    for (uint32_t shift = 0; shift < 70; shift += 7) {
      if (done()) return false;
      const uint8_t byte = slices_[index_].begin()[offset_];
      Advance(1);
      if (shift == 63 && byte > 1) return false;
      value |= static_cast<uint64_t>(byte & 0x7fu) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  // Appends the places of the next `bytes` bytes unless `places` is null.
  bool Take(uint64_t bytes, std::vector<ConstMemoryRef>* places) {
    while (bytes > 0) {
      if (done()) return false;
      const uint64_t here = std::min<uint64_t>(bytes, slices_[index_].size() - offset_);
      if (places != nullptr) {
        places->push_back({MemorySpace::kHost, slices_[index_].begin() + offset_, static_cast<int64_t>(here)});
      }
      Advance(here);
      bytes -= here;
    }
    return true;
  }

 private:
  void Advance(uint64_t bytes) {
    offset_ += bytes;
    if (offset_ == slices_[index_].size()) {
      offset_ = 0;
      ++index_;
      SkipEmpty();
    }
  }
  void SkipEmpty() {
    while (index_ < slices_.size() && slices_[index_].size() == 0) ++index_;
  }

  const std::vector<grpc::Slice>& slices_;
  size_t index_ = 0;
  uint64_t offset_ = 0;
};

void SetField(FrameHead& head, uint64_t field, uint64_t value) {
  switch (field) {
    case 1:
      head.kind = static_cast<FrameKind>(value);
      break;
    case 2:
      head.sequence = value;
      break;
    case 3:
      head.layer = static_cast<uint32_t>(value);
      break;
    case 4:
      head.bytes = value;
      break;
    case 5:
      head.crc32c = static_cast<uint32_t>(value);
      break;
    default:
      break;
  }
}

absl::Status Malformed(size_t bytes, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("received ", bytes, " bytes that are no FrameMessage: ", what,
                                                 "; the peer speaks another protocol"));
}

}  // namespace

FrameOut SmallFrame(FrameKind kind, absl::string_view bytes) {
  auto owned = std::make_shared<std::string>(bytes);
  FrameOut frame;
  frame.parts = {{MemorySpace::kHost, owned->data(), static_cast<int64_t>(owned->size())}};
  frame.head = HeadOf(kind, 0, 0, frame.parts);
  frame.keep = std::move(owned);
  return frame;
}

FrameHead HeadOf(FrameKind kind, uint64_t sequence, uint32_t layer, absl::Span<const ConstMemoryRef> parts) {
  FrameHead head{kind, sequence, layer, 0, 0};
  for (const ConstMemoryRef& part : parts) {
    head.bytes += static_cast<uint64_t>(part.bytes);
    head.crc32c = Crc32c(part.address, static_cast<size_t>(part.bytes), head.crc32c);
  }
  return head;
}

grpc::ByteBuffer EncodeFrame(const FrameOut& frame) {
  HeadBytes head;
  head.PutField(1, static_cast<uint64_t>(frame.head.kind));
  head.PutField(2, frame.head.sequence);
  head.PutField(3, frame.head.layer);
  head.PutField(4, frame.head.bytes);
  head.PutField(5, frame.head.crc32c);
  uint64_t payload = 0;
  for (const ConstMemoryRef& part : frame.parts) payload += static_cast<uint64_t>(part.bytes);
  if (payload > 0) {
    head.PutVarint(kPayloadField << 3 | kBytes);
    head.PutVarint(payload);
  }
  std::vector<grpc::Slice> slices;
  slices.reserve(1 + frame.parts.size());
  slices.emplace_back(head.bytes, head.size);
  for (const ConstMemoryRef& part : frame.parts) {
    if (part.bytes == 0) continue;
    slices.push_back(frame.keep != nullptr ? Borrowed(part, frame.keep)
                                           : grpc::Slice(part.address, static_cast<size_t>(part.bytes)));
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

absl::StatusOr<FrameIn> FrameIn::Parse(const grpc::ByteBuffer& message) {
  FrameIn frame;
  if (!message.Dump(&frame.slices_).ok()) return Malformed(message.Length(), "it can't be decompressed");
  SliceReader reader(frame.slices_);
  while (!reader.done()) {
    uint64_t tag = 0;
    uint64_t value = 0;
    if (!reader.ReadVarint(tag) || tag >> 3 == 0 || tag >> 32 != 0) return Malformed(message.Length(), "bad field tag");
    const uint64_t field = tag >> 3;
    bool complete = false;
    switch (tag & 7) {
      case kVarint:
        complete = reader.ReadVarint(value);
        if (complete) SetField(frame.head_, field, value);
        break;
      case kFixed64:
        complete = reader.Take(8, nullptr);
        break;
      case kFixed32:
        complete = reader.Take(4, nullptr);
        break;
      case kBytes: {
        const bool is_payload = field == kPayloadField;
        if (is_payload) frame.payload_.clear();
        complete = reader.ReadVarint(value) && reader.Take(value, is_payload ? &frame.payload_ : nullptr);
        if (is_payload) frame.payload_bytes_ = static_cast<int64_t>(value);
        break;
      }
      default:
        return Malformed(message.Length(), absl::StrCat("field ", field, " has wire type ", tag & 7));
    }
    if (!complete) return Malformed(message.Length(), absl::StrCat("it ends inside field ", field));
  }
  return frame;
}

uint32_t FrameIn::CopyWithCrc(void* destination) const {
  auto* to = static_cast<uint8_t*>(destination);
  uint32_t crc = 0;
  for (const ConstMemoryRef& place : payload_) {
    crc = CopyWithCrc32c(to, place.address, static_cast<size_t>(place.bytes), crc);
    to += place.bytes;
  }
  return crc;
}

void FrameIn::Copy(void* destination) const {
  auto* to = static_cast<uint8_t*>(destination);
  for (const ConstMemoryRef& place : payload_) {
    std::memcpy(to, place.address, static_cast<size_t>(place.bytes));
    to += place.bytes;
  }
}

absl::Status FrameIn::Land(void* destination) const {
  if (static_cast<uint64_t>(payload_bytes_) != head_.bytes) {
    return absl::DataLossError(absl::StrCat("message ", head_.sequence, " holds ", payload_bytes_, " bytes instead of ",
                                            head_.bytes, "; send it again"));
  }
  if (const uint32_t crc = CopyWithCrc(destination); crc != head_.crc32c) {
    return absl::DataLossError(absl::StrCat("message ", head_.sequence, " has CRC-32C ", absl::Hex(crc), " instead of ",
                                            absl::Hex(head_.crc32c), "; send it again"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> FrameIn::Payload() const {
  std::string bytes(static_cast<size_t>(payload_bytes_), '\0');
  if (absl::Status landed = Land(bytes.data()); !landed.ok()) return landed;
  return bytes;
}

}  // namespace decant
