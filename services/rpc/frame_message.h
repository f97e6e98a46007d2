// FrameMessage (proto/decant/v1/frames.proto) as raw bytes: the payload is sent as borrowed slices and taken from the
// received slices, so that a batch is copied once, into the memory it is meant for.
#ifndef DECANT_SERVICES_RPC_FRAME_MESSAGE_H_
#define DECANT_SERVICES_RPC_FRAME_MESSAGE_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/memory_ref.h"

namespace decant {

// As FrameMessage.Kind.
enum class FrameKind : uint32_t {
  kUnspecified = 0,
  kAnnounce = 1,
  kGrant = 2,
  kPayload = 3,
  kAck = 4,
  kCommit = 5,
  kAbort = 6,
  kCommitted = 7,
  kOpen = 8,
  kOpened = 9,
  kInline = 10,
};

// Every plain field.
struct FrameHead {
  FrameKind kind = FrameKind::kUnspecified;
  uint64_t sequence = 0;
  uint32_t layer = 0;
  uint64_t bytes = 0;  // of the payload, or of the announced one
  uint32_t crc32c = 0;
  uint64_t granted = 0;
  uint64_t landed = 0;
  uint64_t batches = 0;  // in the payload of a transfer
  uint32_t carried = 0;  // the LinkKind of what carries the payload; 0: this message
};

// More announcements in one message are refused, so that small messages can't fill the memory.
inline constexpr size_t kMostAhead = 64;

// One message to send. `keep` owns the memory of `parts` and is let go when gRPC holds none of them any more; without
// it the parts are copied at once. Host memory only.
struct FrameOut {
  FrameHead head;
  std::vector<FrameHead> ahead;  // announced batches
  std::vector<ConstMemoryRef> parts;
  std::shared_ptr<const void> keep;
};

// A message of kind `kind` whose payload is a copy of `bytes`, with its size and CRC.
FrameOut SmallFrame(FrameKind kind, absl::string_view bytes);

// `head` with the size and CRC-32C of the parts.
FrameHead HeadOf(FrameKind kind, uint64_t sequence, uint32_t layer, absl::Span<const ConstMemoryRef> parts);

// The wire form; parts are borrowed when the frame has a `keep`.
grpc::ByteBuffer EncodeFrame(const FrameOut& frame);

// One received message; the payload stays in gRPC's slices until it is copied out.
class FrameIn {
 public:
  FrameIn() = default;
  FrameIn(FrameIn&&) = default;
  FrameIn& operator=(FrameIn&&) = default;

  // INVALID_ARGUMENT for bytes that are no FrameMessage. Unknown fields are skipped, fields may come in any order and
  // the last of a repeated one counts, as in protobuf; groups are refused.
  static absl::StatusOr<FrameIn> Parse(const grpc::ByteBuffer& message);

  const FrameHead& head() const { return head_; }
  const std::vector<FrameHead>& ahead() const { return ahead_; }
  int64_t payload_bytes() const { return payload_bytes_; }

  // Copies `bytes` of the payload, from offset `from`, and returns their CRC-32C. REQUIRES: from + bytes <=
  // payload_bytes().
  uint32_t CopyWithCrc(int64_t from, int64_t bytes, void* destination) const;
  void Copy(int64_t from, int64_t bytes, void* destination) const;
  // Copies the payload out and checks it against the head: DATA_LOSS when its size or CRC differs.
  absl::Status Land(void* destination) const;
  // The payload in one piece, for small messages. DATA_LOSS as Land.
  absl::StatusOr<std::string> Payload() const;

 private:
  class Parser;

  // Calls visit(address, bytes) for each run of memory that a part of the payload lies in.
  template <typename Visit>
  void ForPlaces(int64_t from, int64_t bytes, const Visit& visit) const;

  FrameHead head_;
  std::vector<FrameHead> ahead_;
  int64_t payload_bytes_ = 0;
  std::vector<grpc::Slice> slices_;  // hold the received memory
  std::vector<ConstMemoryRef> payload_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_FRAME_MESSAGE_H_
