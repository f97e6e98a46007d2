// Protobuf's wire format, as far as FrameMessage needs it: plain fields are varints, 6 holds messages, 15 is bytes.
#include "services/rpc/frame_message.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

constexpr uint32_t kVarint = 0;
constexpr uint32_t kFixed64 = 1;
constexpr uint32_t kBytes = 2;
constexpr uint32_t kFixed32 = 5;
constexpr uint32_t kAheadField = 6;
constexpr uint32_t kPayloadField = 15;

void PutVarint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void PutField(std::string& out, uint32_t field, uint64_t value) {
  if (value == 0) return;
  PutVarint(out, field << 3 | kVarint);
  PutVarint(out, value);
}

void PutHead(std::string& out, const FrameHead& head) {
  PutField(out, 1, static_cast<uint64_t>(head.kind));
  PutField(out, 2, head.sequence);
  PutField(out, 3, head.layer);
  PutField(out, 4, head.bytes);
  PutField(out, 5, head.crc32c);
  PutField(out, 7, head.granted);
  PutField(out, 8, head.landed);
  PutField(out, 9, head.batches);
  PutField(out, 10, head.carried);
}

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
  uint64_t position() const { return position_; }

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
    position_ += bytes;
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
  uint64_t position_ = 0;
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
    case 7:
      head.granted = value;
      break;
    case 8:
      head.landed = value;
      break;
    case 9:
      head.batches = value;
      break;
    case 10:
      head.carried = static_cast<uint32_t>(value);
      break;
    default:
      break;
  }
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
  FrameHead head;
  head.kind = kind;
  head.sequence = sequence;
  head.layer = layer;
  for (const ConstMemoryRef& part : parts) {
    head.bytes += static_cast<uint64_t>(part.bytes);
    head.crc32c = Crc32c(part.address, static_cast<size_t>(part.bytes), head.crc32c);
  }
  return head;
}

grpc::ByteBuffer EncodeFrame(const FrameOut& frame) {
  std::string head;
  PutHead(head, frame.head);
  for (const FrameHead& announced : frame.ahead) {
    std::string fields;
    PutHead(fields, announced);
    PutVarint(head, kAheadField << 3 | kBytes);
    PutVarint(head, fields.size());
    head += fields;
  }
  uint64_t payload = 0;
  for (const ConstMemoryRef& part : frame.parts) payload += static_cast<uint64_t>(part.bytes);
  if (payload > 0) {
    PutVarint(head, kPayloadField << 3 | kBytes);
    PutVarint(head, payload);
  }
  std::vector<grpc::Slice> slices;
  slices.reserve(1 + frame.parts.size());
  slices.emplace_back(head);
  for (const ConstMemoryRef& part : frame.parts) {
    if (part.bytes == 0) continue;
    slices.push_back(frame.keep != nullptr ? Borrowed(part, frame.keep)
                                           : grpc::Slice(part.address, static_cast<size_t>(part.bytes)));
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

// Fills one FrameIn.
class FrameIn::Parser {
 public:
  Parser(FrameIn& frame, uint64_t bytes) : frame_(frame), bytes_(bytes), reader_(frame.slices_) {}

  absl::Status Parse() {
    while (!reader_.done()) DECANT_RETURN_IF_ERROR(ParseField(frame_.head_, true));
    return absl::OkStatus();
  }

 private:
  absl::Status Malformed(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("received ", bytes_, " bytes that are no FrameMessage: ", what,
                                                   "; the peer speaks another protocol"));
  }
  // An announcement (`whole` is false) has plain fields only; others in it are skipped as unknown.
  absl::Status ParseField(FrameHead& head, bool whole) {
    uint64_t tag = 0;
    if (!reader_.ReadVarint(tag) || tag >> 3 == 0 || tag >> 32 != 0) return Malformed("bad field tag");
    const uint64_t field = tag >> 3;
    uint64_t value = 0;
    bool complete = false;
    switch (tag & 7) {
      case kVarint:
        complete = reader_.ReadVarint(value);
        if (complete) SetField(head, field, value);
        break;
      case kFixed64:
        complete = reader_.Take(8, nullptr);
        break;
      case kFixed32:
        complete = reader_.Take(4, nullptr);
        break;
      case kBytes:
        complete = reader_.ReadVarint(value) && value <= bytes_ - reader_.position();
        if (complete && whole && field == kAheadField) return ParseAhead(reader_.position() + value);
        if (complete && whole && field == kPayloadField) {
          frame_.payload_.clear();
          frame_.payload_bytes_ = static_cast<int64_t>(value);
          complete = reader_.Take(value, &frame_.payload_);
        } else if (complete) {
          complete = reader_.Take(value, nullptr);
        }
        break;
      default:
        return Malformed(absl::StrCat("field ", field, " has wire type ", tag & 7));
    }
    return complete ? absl::OkStatus() : Malformed(absl::StrCat("it ends inside field ", field));
  }
  absl::Status ParseAhead(uint64_t end) {
    if (frame_.ahead_.size() == kMostAhead) return Malformed(absl::StrCat("more than ", kMostAhead, " announcements"));
    FrameHead announced;
    announced.kind = FrameKind::kAnnounce;
    while (reader_.position() < end) DECANT_RETURN_IF_ERROR(ParseField(announced, false));
    if (reader_.position() != end) return Malformed("an announcement is longer than it says");
    frame_.ahead_.push_back(announced);
    return absl::OkStatus();
  }

  FrameIn& frame_;
  const uint64_t bytes_;
  SliceReader reader_;
};

absl::StatusOr<FrameIn> FrameIn::Parse(const grpc::ByteBuffer& message) {
  FrameIn frame;
  if (!message.Dump(&frame.slices_).ok()) {
    return absl::InvalidArgumentError(
        "received a message that can't be decompressed; the peer speaks another protocol");
  }
  uint64_t bytes = 0;
  for (const grpc::Slice& slice : frame.slices_) bytes += slice.size();
  DECANT_RETURN_IF_ERROR(Parser(frame, bytes).Parse());
  return frame;
}

template <typename Visit>
void FrameIn::ForPlaces(int64_t from, int64_t bytes, const Visit& visit) const {
  for (const ConstMemoryRef& place : payload_) {
    if (bytes == 0) return;
    if (from >= place.bytes) {
      from -= place.bytes;
      continue;
    }
    const int64_t here = std::min(bytes, place.bytes - from);
    visit(static_cast<const uint8_t*>(place.address) + from, static_cast<size_t>(here));
    from = 0;
    bytes -= here;
  }
}

uint32_t FrameIn::CopyWithCrc(int64_t from, int64_t bytes, void* destination) const {
  auto* to = static_cast<uint8_t*>(destination);
  uint32_t crc = 0;
  ForPlaces(from, bytes, [&](const uint8_t* place, size_t here) {
    crc = CopyWithCrc32c(to, place, here, crc);
    to += here;
  });
  return crc;
}

void FrameIn::Copy(int64_t from, int64_t bytes, void* destination) const {
  auto* to = static_cast<uint8_t*>(destination);
  ForPlaces(from, bytes, [&](const uint8_t* place, size_t here) {
    CopyPastCaches(to, place, here);
    to += here;
  });
}

absl::Status FrameIn::Land(void* destination) const {
  if (static_cast<uint64_t>(payload_bytes_) != head_.bytes) {
    return absl::DataLossError(absl::StrCat("message ", head_.sequence, " holds ", payload_bytes_, " bytes instead of ",
                                            head_.bytes, "; send it again"));
  }
  if (const uint32_t crc = CopyWithCrc(0, payload_bytes_, destination); crc != head_.crc32c) {
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
