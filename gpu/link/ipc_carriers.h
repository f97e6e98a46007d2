// CUDA IPC, or shared memory of host devices, as a carrier of payloads for processes on one host.
//
// The receiver reads the sender's memory: a slip says where the batch lies, and the receiver copies it from
// there into the granted memory. So nobody writes into another process, and a sender that goes wrong can spoil only
// what its checksum then refuses. Memory that can be exported is read where it is; anything else is first gathered in a
// ring that the carrier exports, whose room comes back with the acknowledgement.
#ifndef DECANT_GPU_LINK_IPC_CARRIERS_H_
#define DECANT_GPU_LINK_IPC_CARRIERS_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/base/link_kind.h"
#include "common/link/payload_carrier.h"
#include "gpu/device/device.h"
#include "gpu/link/ipc_functions.h"

namespace decant {

struct IpcOptions {
  int most_connections = 8;  // as a sender
  int64_t ring_bytes = int64_t{4} << 20;
  int most_regions = 32;  // of senders, opened at once
};

class IpcCarriers final : public PayloadCarriers {
 public:
  // `kind`: kCudaIpc or kSharedMemory, whose functions these are. `device` must outlive it and every carrier it gave.
  IpcCarriers(LinkKind kind, IpcFunctions ipc, Device& device, IpcOptions options = {});
  ~IpcCarriers() override;

  absl::string_view kind() const override { return NameOf(kind_); }
  void Stop() override;
  absl::StatusOr<std::shared_ptr<PayloadCarrier>> Connect(const std::string& peer, const Exchange& exchange,
                                                          absl::Time deadline) override;
  // FAILED_PRECONDITION unless this process can read what the sender shows it: then they are not on one host.
  absl::StatusOr<std::string> Accept(const std::string& peer, const std::string& hello) override;
  absl::Status Receive(const std::string& slip, MemoryRef to, Checksum checksum, absl::Time deadline,
                       std::function<void(const Arrival&)> done) override;

 private:
  class Carrier;
  class Exclusive;
  // Memory, and the allocation it lies in as others open it.
  struct Exported {
    Buffer buffer;
    IpcRegion region;
  };

  // Copies run one after another on one thread.
  absl::Status Post(std::function<void()> work);
  void Loop();
  // The sender's region in this process; the one used least recently is closed when there are too many.
  absl::StatusOr<IpcMapping> Open(const std::string& handle) ABSL_EXCLUSIVE_LOCKS_REQUIRED(regions_mutex_);
  Arrival Fetch(const std::string& handle, int64_t offset, Checksum checksum, MemoryRef to);
  void Evict(bool usable) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::unique_ptr<Exported>> RingMemory();
  absl::Status Gather(const std::vector<ConstMemoryRef>& parts, uint8_t* to, absl::Time deadline);
  // Sees that the peer can read this process's memory.
  absl::Status Meet(const Carrier& carrier, const Exchange& exchange, absl::Time deadline);
  void Use(const Carrier* carrier);

  const LinkKind kind_;
  const IpcFunctions ipc_;
  const IpcOptions options_;
  const std::unique_ptr<Stream> stream_;  // the thread's
  absl::Mutex mutex_;
  std::list<std::shared_ptr<Carrier>> carriers_ ABSL_GUARDED_BY(mutex_);  // the least recently used first
  int rings_ ABSL_GUARDED_BY(mutex_) = 0;                                 // that exist, each a carrier's or spare
  std::vector<std::unique_ptr<Exported>> spare_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::function<void()>> work_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Mutex regions_mutex_;
  std::unique_ptr<Stream> fetches_ ABSL_GUARDED_BY(regions_mutex_);
  std::list<std::pair<std::string, IpcMapping>> regions_ ABSL_GUARDED_BY(regions_mutex_);  // the same order
  std::thread thread_;
};

}  // namespace decant

#endif  // DECANT_GPU_LINK_IPC_CARRIERS_H_
