// Rotary position settings of config.json, turned into one angle per pair of dimensions.
#ifndef DECANT_COMMON_MODEL_ROPE_H_
#define DECANT_COMMON_MODEL_ROPE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/model/json_fields.h"

namespace decant {

struct Rope {
  std::vector<float> inverse_frequencies;  // [head_dim / 2]
  float magnitude = 1.0f;                  // factor on cos and sin
};

// Understands `rope_theta` with `rope_scaling` (`type` or `rope_type`) and `rope_parameters`; types default, linear,
// llama3 and yarn, with the formulas of transformers' modeling_rope_utils (Llama 3.1; YaRN, arXiv 2309.00071).
// UNIMPLEMENTED for another type. `head_dim` is even and positive.
absl::StatusOr<Rope> ReadRope(const JsonFields& config, int32_t head_dim, int32_t max_positions);

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_ROPE_H_
