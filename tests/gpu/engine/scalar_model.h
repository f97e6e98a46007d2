// The transformer as plain loops in double precision: what the engine's signals are compared with.
#ifndef DECANT_TESTS_GPU_ENGINE_SCALAR_MODEL_H_
#define DECANT_TESTS_GPU_ENGINE_SCALAR_MODEL_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "common/model/model_folder.h"

namespace decant {

using Doubles = std::vector<double>;

// One layer's vectors of the rows that went through it, heads inside rows.
struct ScalarLayer {
  std::vector<int32_t> positions;
  Doubles q;           // [rows, q_heads, head_dim] after rope
  Doubles k;           // [rows, kv_heads, head_dim] after rope
  Doubles pre_rope_k;  // the same before
  Doubles v;
};

struct ScalarRun {
  std::vector<ScalarLayer> layers;
  Doubles logits;  // [rows of the last layer, vocabulary]
};

class ScalarModel {
 public:
  explicit ScalarModel(const ModelFolder& folder) : folder_(folder), config_(folder.config) {}

  // Which rows of a layer go on; all where it is empty.
  using Select = std::function<std::vector<int32_t>(int32_t layer, const ScalarLayer&)>;

  // `tokens` behind those of `past`, whose keys and values they see in full; null: none.
  ScalarRun Forward(const std::vector<int32_t>& tokens, const ScalarRun* past = nullptr,
                    const Select& select = nullptr) const;
  // Normalised attention of row `row` of `layer`, query head `head`, over the keys of rows 0 .. row.
  Doubles Attention(const ScalarLayer& layer, int32_t row, int32_t head) const;
  double Dot(const double* q, const ScalarLayer& layer, int32_t row, int32_t head) const;

 private:
  Doubles Tensor(const std::string& name, std::vector<int64_t> shape) const;
  // rows x matrix^T (+ bias, where there is one).
  Doubles Product(const Doubles& in, const std::string& name, int64_t inputs, int64_t outputs) const;
  void Norm(Doubles& rows, const std::string& name, int64_t width) const;
  void Rotate(Doubles& rows, const std::vector<int32_t>& positions, int32_t heads) const;
  ScalarLayer Project(int32_t layer, const Doubles& residual, const std::vector<int32_t>& positions) const;
  Doubles Attend(const ScalarLayer& layer, const ScalarLayer* past) const;
  void Finish(int32_t layer, const Doubles& attention, Doubles& residual) const;

  const ModelFolder& folder_;
  const ModelConfig& config_;
};

}  // namespace decant

#endif  // DECANT_TESTS_GPU_ENGINE_SCALAR_MODEL_H_
