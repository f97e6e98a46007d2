// The device memory of a prompt's layers: K, V and signals of the last few of them.
#ifndef DECANT_GPU_ENGINE_LAYER_CACHE_H_
#define DECANT_GPU_ENGINE_LAYER_CACHE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "common/compress/profile.h"
#include "common/model/config.h"
#include "gpu/device/device.h"
#include "gpu/engine/layer_tap.h"

namespace decant {

struct LayerCacheOptions {
  RunType run_type = RunType::kBf16;
  int32_t tokens = 0;
  int32_t layers = 1;   // kept, at least 1
  int32_t sources = 0;  // of sums
  bool pre_rope_keys = false;
  bool channel_peaks = false;
};

// Layer l lies where layer l - `layers` lay. Only enqueues after Allocate.
class LayerCache {
 public:
  LayerCache(const ModelConfig& config, const LayerCacheOptions& options);
  // RESOURCE_EXHAUSTED when the device has no room.
  absl::Status Allocate(Device& device);

  // Clears the layer's signals; its K and V stay what they were.
  void Begin(Stream& stream, int32_t layer);

  // Device addresses.
  char* k(int32_t layer) const { return SlotOf(layer).k.As<char>(); }  // [kv_heads, tokens, head_dim]
  char* v(int32_t layer) const { return SlotOf(layer).v.As<char>(); }
  char* pre_rope_k(int32_t layer) const { return SlotOf(layer).pre_rope_k.As<char>(); }
  float* sums(int32_t layer, int32_t source) const;                                    // [q_heads, tokens]
  float* query_peaks(int32_t layer) const { return SlotOf(layer).peaks.As<float>(); }  // [kv_heads, head_dim]
  float* key_peaks(int32_t layer) const;                                               // the same
  int64_t head_stride() const { return int64_t{options_.tokens} * config_.head_dim; }  // elements between heads

 private:
  struct Slot {
    Buffer k;
    Buffer v;
    Buffer pre_rope_k;
    Buffer sums;   // [sources, q_heads, tokens] f32
    Buffer peaks;  // [2, kv_heads, head_dim] f32
  };
  const Slot& SlotOf(int32_t layer) const { return slots_[static_cast<size_t>(layer) % slots_.size()]; }

  const ModelConfig& config_;
  const LayerCacheOptions options_;
  std::vector<Slot> slots_;
};

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_LAYER_CACHE_H_
