// What a carrier between processes of one host needs, as a table: CUDA IPC, or shared memory on a host device.
#ifndef DECANT_GPU_LINK_IPC_FUNCTIONS_H_
#define DECANT_GPU_LINK_IPC_FUNCTIONS_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "gpu/device/device.h"

namespace decant {

// An allocation of this process as another process on this host may open it.
struct IpcRegion {
  std::string handle;
  const void* base = nullptr;
  int64_t bytes = 0;
};

// A region of another process in this one's address space.
struct IpcMapping {
  const void* base = nullptr;
  int64_t bytes = 0;
};

struct IpcFunctions {
  // Memory that can be exported.
  std::function<absl::StatusOr<Buffer>(int64_t bytes)> allocate;
  // The allocation that `address` lies in. FAILED_PRECONDITION when that can't be exported.
  std::function<absl::StatusOr<IpcRegion>(const void* address)> export_region;
  // The region in this process's address space until close; not of one's own process.
  std::function<absl::StatusOr<IpcMapping>(const std::string& handle)> open;
  std::function<void(const IpcMapping&)> close;
};

// UNIMPLEMENTED in a build without CUDA. `device` is the CUDA device of that number and must outlive the table.
absl::StatusOr<IpcFunctions> LoadCudaIpc(Device& device, int device_ordinal);

}  // namespace decant

#endif  // DECANT_GPU_LINK_IPC_FUNCTIONS_H_
