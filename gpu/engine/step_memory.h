// The device memory of decode steps, taken once.
#ifndef DECANT_GPU_ENGINE_STEP_MEMORY_H_
#define DECANT_GPU_ENGINE_STEP_MEMORY_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/kv/rows.h"
#include "common/model/config.h"
#include "gpu/device/device.h"
#include "gpu/kernels/nn/sample.h"

namespace decant {

// What a step reads back, in one copy.
struct StepRecord {
  int32_t* tokens = nullptr;  // [rows] drawn
  int64_t* moved = nullptr;   // [rows, 2] demoted, dropped
  int64_t* read = nullptr;    // [rows] bytes that attention went through
  int32_t* error = nullptr;   // pages ran out
};

class StepMemory {
 public:
  static absl::StatusOr<StepMemory> Create(Device& device, const ModelConfig& config, int32_t max_rows);

  // Device addresses.
  SequenceRows* rows() const { return memory_.As<SequenceRows>(rows_); }
  Sampling* sampling() const { return memory_.As<Sampling>(sampling_); }
  // [3, max_rows]: ids that enter the step, their positions, the positions of the tokens to draw.
  int32_t* inputs() const { return memory_.As<int32_t>(inputs_); }
  StepRecord record() const { return RecordIn(memory_.As<uint8_t>(record_)); }
  uint8_t* record_bytes() const { return memory_.As<uint8_t>(record_); }
  int64_t record_size() const { return record_size_; }
  float* residual() const { return memory_.As<float>(residual_); }
  float* angles() const { return memory_.As<float>(angles_); }
  float* logits() const { return memory_.As<float>(logits_); }
  StepAction* actions() const { return memory_.As<StepAction>(actions_); }
  int32_t* plan_scratch() const { return memory_.As<int32_t>(plan_scratch_); }
  void* sample_scratch() const { return memory_.As<void>(sample_scratch_); }
  int32_t* grow_scratch() const { return memory_.As<int32_t>(grow_scratch_); }

  // The record as it lies in `bytes`, on the device or in a host copy.
  StepRecord RecordIn(uint8_t* bytes) const;

 private:
  StepMemory() = default;

  int32_t max_rows_ = 0;
  int64_t rows_ = 0;
  int64_t sampling_ = 0;
  int64_t inputs_ = 0;
  int64_t record_ = 0;
  int64_t record_size_ = 0;
  int64_t residual_ = 0;
  int64_t angles_ = 0;
  int64_t logits_ = 0;
  int64_t actions_ = 0;
  int64_t plan_scratch_ = 0;
  int64_t sample_scratch_ = 0;
  int64_t grow_scratch_ = 0;
  Buffer memory_;
};

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_STEP_MEMORY_H_
