#include "gpu/engine/layer_cache.h"

#include "common/base/status_macros.h"
#include "gpu/kernels/nn/packed_layout.h"

namespace decant {

LayerCache::LayerCache(const ModelConfig& config, const LayerCacheOptions& options)
    : config_(config), options_(options), slots_(static_cast<size_t>(options.layers)) {}

absl::Status LayerCache::Allocate(Device& device) {
  const int64_t kv_bytes = head_stride() * config_.kv_heads * RunTypeBytes(options_.run_type);
  for (Slot& slot : slots_) {
    DECANT_ASSIGN_OR_RETURN(slot.k, device.Allocate(kv_bytes));
    DECANT_ASSIGN_OR_RETURN(slot.v, device.Allocate(kv_bytes));
    if (options_.pre_rope_keys) {
      DECANT_ASSIGN_OR_RETURN(slot.pre_rope_k, device.Allocate(kv_bytes));
    }
    if (options_.sources > 0) {
      DECANT_ASSIGN_OR_RETURN(slot.sums,
                              device.Allocate(int64_t{options_.sources} * config_.q_heads * options_.tokens * 4));
    }
    if (options_.channel_peaks) {
      DECANT_ASSIGN_OR_RETURN(slot.peaks, device.Allocate(int64_t{2} * config_.kv_heads * config_.head_dim * 4));
    }
  }
  return absl::OkStatus();
}

void LayerCache::Begin(Stream& stream, int32_t layer) {
  const Slot& slot = SlotOf(layer);
  if (slot.sums.bytes() > 0) stream.Fill(slot.sums.As<float>(), 0, slot.sums.bytes());
  if (slot.peaks.bytes() > 0) stream.Fill(slot.peaks.As<float>(), 0, slot.peaks.bytes());
}

float* LayerCache::sums(int32_t layer, int32_t source) const {
  return SlotOf(layer).sums.As<float>() + int64_t{source} * config_.q_heads * options_.tokens;
}

float* LayerCache::key_peaks(int32_t layer) const {
  const Slot& slot = SlotOf(layer);
  return slot.peaks.bytes() > 0 ? query_peaks(layer) + int64_t{config_.kv_heads} * config_.head_dim : nullptr;
}

}  // namespace decant
