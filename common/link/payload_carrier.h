// How the payload of a transfer moves beside its messages: NCCL, CUDA IPC, shared memory.
//
// Announcements, grants, acknowledgements and ends always travel as messages of the transfer. A carrier moves only the
// bytes of granted batches: for each batch the sender's end gives a slip, a few bytes which travel as a message, and
// the receiver's end fetches what the slip names into the granted memory. Whatever a carrier does not take, or loses,
// goes with the messages instead, so a carrier may fail at any time without failing a transfer.
#ifndef DECANT_COMMON_LINK_PAYLOAD_CARRIER_H_
#define DECANT_COMMON_LINK_PAYLOAD_CARRIER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/memory_ref.h"

namespace decant {

// Copies and checksums bytes wherever they lie. Thread-safe; waits until the work is done.
class MemoryMover {
 public:
  virtual ~MemoryMover() = default;
  // REQUIRES: to.bytes >= from.bytes.
  virtual absl::Status Copy(MemoryRef to, ConstMemoryRef from) = 0;
  // CRC-32C of the bytes, continuing from `crc`.
  virtual absl::StatusOr<uint32_t> Checksum(ConstMemoryRef bytes, uint32_t crc) = 0;
};

// The carrier while one transfer has it to itself. Not thread-safe. Giving it back with a batch that was neither
// acknowledged nor refused breaks the carrier: nobody knows what the receiver will still fetch.
class Passage {
 public:
  virtual ~Passage() = default;
  // Starts to move one batch made of `parts` in order. An error, before anything has happened, leaves it to the caller:
  // RESOURCE_EXHAUSTED for this batch only, anything else for good. After OK, never from inside this call: `tell` runs
  // once, on any thread, with the slip or with why there is none (the batch is then the caller's again); then `done`
  // runs once, when the parts are not read any more, at the latest soon after `deadline`.
  virtual absl::Status Send(std::vector<ConstMemoryRef> parts, absl::Time deadline,
                            std::function<void(absl::StatusOr<std::string>)> tell, std::function<void()> done) = 0;
  // The receiver has acknowledged the oldest batch that was sent and not acknowledged.
  virtual void Landed() = 0;
};

// The sending end, connected to one receiver. Thread-safe.
class PayloadCarrier {
 public:
  virtual ~PayloadCarrier() = default;
  // "nccl", "cuda_ipc" or "shared_memory".
  virtual absl::string_view kind() const = 0;
  // False once it has failed or was evicted: connect again.
  virtual bool usable() const = 0;
  // Null while another transfer has it, or when it is not usable.
  virtual std::unique_ptr<Passage> Take() = 0;
};

// Both ends of one kind of carrier in one process. Thread-safe.
class PayloadCarriers {
 public:
  // Brings `hello` to the receiver's Accept and its answer back: the bootstrap, which the owner of the network
  // supplies.
  using Exchange = std::function<absl::StatusOr<std::string>(const std::string& hello, absl::Time deadline)>;

  virtual ~PayloadCarriers() = default;
  virtual absl::string_view kind() const = 0;
  // Fails what is under way, so that a Connect that waits returns soon, and what comes later.
  virtual void Stop() = 0;

  // Connects to the receiver called `peer`; waits until that is done or `deadline` has come. RESOURCE_EXHAUSTED while
  // every connection that may exist is busy. The carrier ends with this object at the latest.
  virtual absl::StatusOr<std::shared_ptr<PayloadCarrier>> Connect(const std::string& peer, const Exchange& exchange,
                                                                  absl::Time deadline) = 0;
  // The receiving end of Connect; does not wait for the connection.
  virtual absl::StatusOr<std::string> Accept(const std::string& peer, const std::string& hello) = 0;
  // Of a batch that has come: its CRC-32C where that came with the copy, which only happens when it was wanted.
  using Arrival = absl::StatusOr<std::optional<uint32_t>>;
  enum class Checksum { kNo, kWanted };
  // Fetches what `slip` names, which must be as many bytes, into `to`. After OK, `done` runs once, on any thread but not inside this call, at the
  // latest soon after `deadline`, also with why the batch was lost. Nothing writes to `to` after that.
  virtual absl::Status Receive(const std::string& slip, MemoryRef to, Checksum checksum, absl::Time deadline,
                               std::function<void(const Arrival&)> done) = 0;
};

// Who knows the carriers of a sending process.
class CarrierSource {
 public:
  virtual ~CarrierSource() = default;
  // The carrier to the receiver at `address`, null while there is none. Does not wait: a connection that is worth
  // having is made meanwhile.
  virtual std::shared_ptr<PayloadCarrier> CarrierTo(const std::string& address) = 0;
};

}  // namespace decant

#endif  // DECANT_COMMON_LINK_PAYLOAD_CARRIER_H_
