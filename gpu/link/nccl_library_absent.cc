// LoadNccl of a build without CUDA.
#include "gpu/link/nccl_functions.h"

namespace decant {

absl::StatusOr<NcclFunctions> LoadNccl(int /*device_ordinal*/, const std::string& /*library*/) {
  return absl::UnimplementedError("this build has no CUDA, so no NCCL; frames go over gRPC");
}

}  // namespace decant
