#ifndef DECANT_GPU_ENGINE_LOADED_MODEL_H_
#define DECANT_GPU_ENGINE_LOADED_MODEL_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/model/model_folder.h"
#include "gpu/device/create_device.h"
#include "gpu/device/device.h"
#include "gpu/engine/weights.h"

namespace decant {

// What a process loads once and all its workers share. Immutable.
struct LoadedModel {
  ModelFolder folder;
  std::unique_ptr<Device> device;
  std::unique_ptr<Weights> weights;  // of `device`

  // On the host. `dtype`: auto (PreferredRunType), bf16 or f32. `threads`: 0 = one per core. Errors name the folder or
  // the value.
  static absl::StatusOr<std::shared_ptr<const LoadedModel>> Load(const std::string& folder, absl::string_view dtype,
                                                                 int threads);
  // On the device that CreateDevice makes of a name.
  static absl::StatusOr<std::shared_ptr<const LoadedModel>> Load(const std::string& folder, absl::string_view dtype,
                                                                 absl::string_view device,
                                                                 const DeviceOptions& options);
  // On a device of the caller's choice.
  static absl::StatusOr<std::shared_ptr<const LoadedModel>> Load(const std::string& folder, absl::string_view dtype,
                                                                 std::unique_ptr<Device> device);
};

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_LOADED_MODEL_H_
