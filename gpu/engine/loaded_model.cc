#include "gpu/engine/loaded_model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace decant {

absl::StatusOr<std::shared_ptr<const LoadedModel>> LoadedModel::Load(const std::string& folder, absl::string_view dtype,
                                                                     int threads) {
  return Load(folder, dtype, CreateHostDevice(threads));
}

absl::StatusOr<std::shared_ptr<const LoadedModel>> LoadedModel::Load(const std::string& folder, absl::string_view dtype,
                                                                     absl::string_view device,
                                                                     const DeviceOptions& options) {
  DECANT_ASSIGN_OR_RETURN(std::unique_ptr<Device> created, CreateDevice(device, options));
  return Load(folder, dtype, std::move(created));
}

absl::StatusOr<std::shared_ptr<const LoadedModel>> LoadedModel::Load(const std::string& folder, absl::string_view dtype,
                                                                     std::unique_ptr<Device> device) {
  if (dtype != "auto" && dtype != "bf16" && dtype != "f32") {
    return absl::InvalidArgumentError(absl::StrCat("run type '", dtype, "' is unknown; use auto, bf16 or f32"));
  }
  auto model = std::make_shared<LoadedModel>();
  DECANT_ASSIGN_OR_RETURN(model->folder, OpenModelFolder(folder));
  model->device = std::move(device);
  RunType run_type = PreferredRunType(*model->device);
  if (dtype != "auto") run_type = dtype == "f32" ? RunType::kF32 : RunType::kBf16;
  DECANT_ASSIGN_OR_RETURN(model->weights, Weights::Load(*model->device, model->folder, run_type));
  return std::shared_ptr<const LoadedModel>(std::move(model));
}

}  // namespace decant
