#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "gpu/device/cuda_stream.h"
#include "gpu/link/ipc_functions.h"

namespace decant {
namespace {

using AddressRange = CUresult (*)(CUdeviceptr* base, size_t* bytes, CUdeviceptr address);

absl::Status Failed(const char* what, cudaError_t error) {
  (void)cudaGetLastError();  // none of these spoils the context; nobody else shall find the error
  return absl::FailedPreconditionError(absl::StrCat("CUDA IPC: ", what, ": ", cudaGetErrorString(error)));
}

}  // namespace

absl::StatusOr<IpcFunctions> LoadCudaIpc(Device& device, int device_ordinal) {
  // The runtime names the handle of a whole allocation but not where it begins; the driver does.
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion("cuMemGetAddressRange", &found, 3020, cudaEnableDefault, &result);
  if (error != cudaSuccess || found == nullptr) return Failed("the driver has no cuMemGetAddressRange", error);
  const auto range = reinterpret_cast<AddressRange>(found);

  IpcFunctions table;
  table.allocate = [&device](int64_t bytes) { return device.Allocate(bytes); };
  table.export_region = [range, device_ordinal](const void* address) -> absl::StatusOr<IpcRegion> {
    RequireCuda(cudaSetDevice(device_ordinal), "cudaSetDevice");
    CUdeviceptr base = 0;
    size_t bytes = 0;
    if (range(&base, &bytes, reinterpret_cast<CUdeviceptr>(address)) != CUDA_SUCCESS) {
      return absl::FailedPreconditionError("CUDA IPC: the memory is no allocation of this device");
    }
    cudaIpcMemHandle_t handle;
    const cudaError_t made = cudaIpcGetMemHandle(&handle, reinterpret_cast<void*>(base));
    if (made != cudaSuccess) return Failed("cudaIpcGetMemHandle", made);
    IpcRegion region;
    region.handle.assign(reinterpret_cast<const char*>(&handle), sizeof(handle));
    region.base = reinterpret_cast<const void*>(base);
    region.bytes = static_cast<int64_t>(bytes);
    // CUDA does not tell the size to who opens it.
    region.handle.append(reinterpret_cast<const char*>(&region.bytes), sizeof(region.bytes));
    return region;
  };
  table.open = [device_ordinal](const std::string& bytes) -> absl::StatusOr<IpcMapping> {
    RequireCuda(cudaSetDevice(device_ordinal), "cudaSetDevice");
    cudaIpcMemHandle_t handle;
    int64_t region_bytes = 0;
    if (bytes.size() != sizeof(handle) + sizeof(region_bytes))
      return absl::InvalidArgumentError("this is no CUDA IPC handle");
    std::memcpy(&handle, bytes.data(), sizeof(handle));
    std::memcpy(&region_bytes, bytes.data() + sizeof(handle), sizeof(region_bytes));
    void* base = nullptr;
    const cudaError_t opened = cudaIpcOpenMemHandle(&base, handle, cudaIpcMemLazyEnablePeerAccess);
    if (opened != cudaSuccess) return Failed("cudaIpcOpenMemHandle", opened);
    return IpcMapping{base, region_bytes};
  };
  table.close = [](const IpcMapping& mapping) { (void)cudaIpcCloseMemHandle(const_cast<void*>(mapping.base)); };
  return table;
}

}  // namespace decant
