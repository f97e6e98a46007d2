// LoadCudaIpc of a build without CUDA.
#include "gpu/link/ipc_functions.h"

namespace decant {

absl::StatusOr<IpcFunctions> LoadCudaIpc(Device& /*device*/, int /*device_ordinal*/) {
  return absl::UnimplementedError("this build has no CUDA; frames go over gRPC");
}

}  // namespace decant
