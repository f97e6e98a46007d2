#ifndef DECANT_GPU_ENGINE_WEIGHTS_H_
#define DECANT_GPU_ENGINE_WEIGHTS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "common/compress/profile.h"
#include "common/model/model_folder.h"
#include "gpu/device/device.h"

namespace decant {

struct ModelTensors;  // gpu/engine/model_tensors.h

// A model's weights on a device, packed once for its matrix products. Immutable; shared by prefill and decode of one
// process. What it holds is known to gpu/engine and gpu/kernels/nn only.
class Weights {
 public:
  // RESOURCE_EXHAUSTED when the device has no room. The folder's mapped memory is given back before it returns.
  static absl::StatusOr<std::unique_ptr<Weights>> Load(Device& device, const ModelFolder& folder, RunType run_type);
  virtual ~Weights() = default;

  virtual const ModelConfig& config() const = 0;
  virtual RunType run_type() const = 0;
  virtual Device& device() const = 0;
  virtual int64_t bytes() const = 0;
  virtual const ModelTensors& tensors() const = 0;
};

// bf16 on a GPU and where the processor multiplies it natively, else f32.
RunType PreferredRunType(const Device& device);

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_WEIGHTS_H_
