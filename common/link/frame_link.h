// How frames move between two processes.
//
// The sender announces a batch (layer, bytes, CRC); the receiver grants landing memory, which is the credit; the
// payload moves; the receiver verifies and acknowledges. A transfer has exactly one end state: committed or aborted.
// Every wait has a deadline.
//
// A batch is frames and overlays back to back (proto/decant/v1/README.md); links do not look inside.
#ifndef DECANT_COMMON_LINK_FRAME_LINK_H_
#define DECANT_COMMON_LINK_FRAME_LINK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/base/link_kind.h"
#include "common/base/memory_ref.h"

namespace decant {

struct TransferOpen {
  uint64_t ticket = 0;
  std::string sender;
  Digest model_fingerprint;
  uint32_t frame_version = 0;
};

// The end of a transfer: what decode needs to go on.
struct TransferCommit {
  uint64_t ticket = 0;
  uint64_t batches = 0;
  int32_t prompt_tokens = 0;
  int32_t first_token = 0;
  int32_t prefix_tokens_reused = 0;
  int32_t tokens_computed = 0;
  int64_t payload_bytes = 0;
  bool finished = false;  // the first token already ended the text
};

struct BatchHeader {
  uint64_t sequence = 0;  // counts the batches of a transfer from 0; anything else than the next number is an error
  uint32_t layer = 0;     // the last layer this batch holds frames of
  int64_t bytes = 0;
  uint32_t crc32c = 0;
  LinkKind link = LinkKind::kUnspecified;  // that its bytes came over; set when it has landed
};

// The receiving end of one process. Calls of one transfer come one after another in order; calls of different transfers
// may come from several threads at once. No call may block for long: work is queued.
class FrameSink {
 public:
  virtual ~FrameSink() = default;

  // NOT_FOUND for an unknown or ended ticket, FAILED_PRECONDITION for another model or frame version, ALREADY_EXISTS
  // for a second open.
  virtual absl::Status Open(const TransferOpen& open) = 0;
  // Landing memory of header.bytes that stays valid until Landed or Aborted. RESOURCE_EXHAUSTED when there is none now:
  // the link asks again until the deadline.
  virtual absl::StatusOr<MemoryRef> Grant(uint64_t ticket, const BatchHeader& header) = 0;
  // The bytes are in the granted memory and their CRC is right. An error aborts the transfer.
  virtual absl::Status Landed(uint64_t ticket, const BatchHeader& header, MemoryRef memory) = 0;
  // Every batch has landed. `done` runs once, on any thread, perhaps before this returns, and does not block; after OK
  // the transfer is committed, an error aborts it. It need not run any more once Aborted was called.
  virtual void Committed(const TransferCommit& commit, std::function<void(const absl::Status&)> done) = 0;
  // Called once for every opened transfer that did not commit, perhaps while the answer to a commit is outstanding:
  // that answer then counts for nothing.
  virtual void Aborted(uint64_t ticket, const absl::Status& why) = 0;
};

// The sending end of one transfer. Not thread-safe. Destroying it before Commit returned OK aborts the transfer, and so
// does any error: later calls then return it again.
class FrameSender {
 public:
  virtual ~FrameSender() = default;

  // Queues one batch made of `parts` in order; returns when it is queued, which waits while too many batches are in
  // flight. The parts must stay valid and unchanged until Flush or Commit has returned. Errors: DEADLINE_EXCEEDED,
  // UNAVAILABLE (the link broke), or what the receiver answered.
  virtual absl::Status Send(uint32_t layer, absl::Span<const ConstMemoryRef> parts, absl::Time deadline) = 0;
  // Waits until every batch sent so far is acknowledged.
  virtual absl::Status Flush(absl::Time deadline) = 0;
  // Flushes, then ends the transfer for good. `commit.batches`, `payload_bytes` and `ticket` are filled in by the
  // sender.
  virtual absl::Status Commit(TransferCommit commit, absl::Time deadline) = 0;
  virtual void Abort(const absl::Status& why) = 0;
  // From any thread, at any time: a call that waits for the receiver returns soon with CANCELLED. For a receiver that
  // hangs; Abort is kinder. Does nothing in links that never wait long.
  virtual void Cancel() {}
  // Bytes of batches and of the link's own messages written so far.
  virtual int64_t wire_bytes() const = 0;
  // Of these, what a carrier beside the link moved (payload_carrier.h).
  struct Carried {
    LinkKind by = LinkKind::kUnspecified;
    int64_t bytes = 0;
  };
  virtual Carried carried() const { return {}; }
};

// A way to reach a receiver. Thread-safe.
class FrameLink {
 public:
  virtual ~FrameLink() = default;

  // Its name in metrics: "loopback", "grpc", "nccl", "cuda_ipc" or "shared_memory".
  virtual absl::string_view kind() const = 0;
  // Opens a transfer to the receiver at `address`.
  virtual absl::StatusOr<std::unique_ptr<FrameSender>> Open(const std::string& address, const TransferOpen& open,
                                                            absl::Time deadline) = 0;
};

}  // namespace decant

#endif  // DECANT_COMMON_LINK_FRAME_LINK_H_
