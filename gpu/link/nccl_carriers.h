// NCCL as a carrier of payloads.
//
// Each process keeps a bounded set of communicators of two ranks. A peer that is wanted when the set is full takes the
// place of the one that was used least recently and is idle; the other end of an evicted communicator learns of it when
// it is next used, and that batch goes with the messages. Batches of one communicator are numbered, so that a batch the
// receiver never heard of is noticed and not taken for the next one.
#ifndef DECANT_GPU_LINK_NCCL_CARRIERS_H_
#define DECANT_GPU_LINK_NCCL_CARRIERS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/link/payload_carrier.h"
#include "gpu/device/device.h"
#include "gpu/link/nccl_connection.h"
#include "gpu/link/nccl_functions.h"

namespace decant {

inline constexpr char kNcclKind[] = "nccl";

class NcclCarriers final : public PayloadCarriers {
 public:
  // `device` must outlive it and every carrier it gave.
  NcclCarriers(NcclFunctions nccl, Device& device, NcclOptions options = {});
  ~NcclCarriers() override;

  absl::string_view kind() const override { return kNcclKind; }
  void Stop() override;
  absl::StatusOr<std::shared_ptr<PayloadCarrier>> Connect(const std::string& peer, const Exchange& exchange,
                                                          absl::Time deadline) override;
  absl::StatusOr<std::string> Accept(const std::string& peer, const std::string& hello) override;
  absl::Status Receive(const std::string& slip, MemoryRef to, Checksum checksum, absl::Time deadline,
                       std::function<void(const Arrival&)> done) override;

  int connections() const;

 private:
  struct Connected {
    std::string peer;
    std::shared_ptr<NcclConnection> connection;
    uint64_t used = 0;  // by which order the least recently used is found
    uint64_t next = 0;  // batch, at the receiving end
    bool receives = false;
  };
  class Carrier;
  class Exclusive;

  // Puts a new communicator in, and what has to make room for it out.
  absl::StatusOr<std::shared_ptr<NcclConnection>> Add(const std::string& peer, uint64_t name, const NcclUniqueId& id,
                                                      int rank);
  absl::StatusOr<std::shared_ptr<NcclConnection>> TakeOut(const std::string& peer, bool receives);
  void Use(uint64_t name);

  const NcclFunctions nccl_;
  Device& device_;
  const NcclOptions options_;
  absl::Mutex add_mutex_;  // one communicator comes at a time, so that there are never more than allowed
  mutable absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t clock_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, Connected> connected_ ABSL_GUARDED_BY(mutex_);  // by name, which both ends know
};

}  // namespace decant

#endif  // DECANT_GPU_LINK_NCCL_CARRIERS_H_
