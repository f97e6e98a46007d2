#include "gpu/engine/step_memory.h"

#include "common/base/status_macros.h"
#include "gpu/kernels/pages/page_ops.h"

namespace decant {

absl::StatusOr<StepMemory> StepMemory::Create(Device& device, const ModelConfig& config, int32_t max_rows) {
  StepMemory memory;
  int64_t bytes = 0;
  const auto place = [&bytes](int64_t& offset, int64_t count, size_t size) {
    offset = bytes;
    bytes += (count * static_cast<int64_t>(size) + 63) / 64 * 64;
  };
  const int64_t heads = int64_t{max_rows} * config.layers * config.kv_heads;
  memory.max_rows_ = max_rows;
  memory.record_size_ = int64_t{max_rows} * (3 * 8 + 4) + 8;
  place(memory.rows_, max_rows, sizeof(SequenceRows));
  place(memory.sampling_, max_rows, sizeof(Sampling));
  place(memory.inputs_, 3 * int64_t{max_rows}, sizeof(int32_t));
  place(memory.record_, memory.record_size_, 1);
  place(memory.residual_, int64_t{max_rows} * config.hidden, sizeof(float));
  place(memory.angles_, int64_t{max_rows} * config.head_dim, sizeof(float));
  place(memory.logits_, int64_t{max_rows} * config.vocabulary, sizeof(float));
  place(memory.actions_, heads, sizeof(StepAction));
  place(memory.plan_scratch_, PlanStepScratch(heads), sizeof(int32_t));
  place(memory.sample_scratch_, SampleScratchBytes(max_rows, config.vocabulary), 1);
  place(memory.grow_scratch_, config.kv_heads * kTierCount + 1, sizeof(int32_t));
  DECANT_ASSIGN_OR_RETURN(memory.memory_, device.Allocate(bytes));
  return memory;
}

StepRecord StepMemory::RecordIn(uint8_t* bytes) const {
  StepRecord record;
  record.moved = reinterpret_cast<int64_t*>(bytes);
  record.read = record.moved + 2 * int64_t{max_rows_};
  record.tokens = reinterpret_cast<int32_t*>(bytes + int64_t{max_rows_} * 24);
  record.error = record.tokens + max_rows_;
  return record;
}

}  // namespace decant
