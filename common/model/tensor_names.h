// The tensors that an architecture reads, by their Hugging Face names.
#ifndef DECANT_COMMON_MODEL_TENSOR_NAMES_H_
#define DECANT_COMMON_MODEL_TENSOR_NAMES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/model/config.h"

namespace decant {

struct TensorNeed {
  std::string name;
  std::vector<int64_t> shape;  // row-major; a matrix is [outputs, inputs]
};

// "model.layers.<layer>.<part>", with `part` such as "self_attn.q_proj.weight".
std::string LayerTensorName(int32_t layer, absl::string_view part);

// Everything a forward pass reads, embeddings first, then layer by layer, then the final norm and, unless tied,
// lm_head.
std::vector<TensorNeed> NeededTensors(const ModelConfig& config);

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_TENSOR_NAMES_H_
