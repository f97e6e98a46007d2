// MemoryMover over a device's streams.
#ifndef DECANT_GPU_LINK_DEVICE_MOVER_H_
#define DECANT_GPU_LINK_DEVICE_MOVER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/link/payload_carrier.h"
#include "gpu/device/device.h"

namespace decant {

class DeviceMover final : public MemoryMover {
 public:
  // `device` must outlive it.
  explicit DeviceMover(Device& device);
  absl::Status Copy(MemoryRef to, ConstMemoryRef from) override;
  // Device memory is read back piece by piece.
  absl::StatusOr<uint32_t> Checksum(ConstMemoryRef bytes, uint32_t crc) override;

 private:
  absl::Mutex mutex_;
  const std::unique_ptr<Stream> stream_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint8_t> piece_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace decant

#endif  // DECANT_GPU_LINK_DEVICE_MOVER_H_
