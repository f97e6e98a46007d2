#ifndef DECANT_COMMON_KV_GEOMETRY_H_
#define DECANT_COMMON_KV_GEOMETRY_H_

#include <cstdint>

#include "common/base/host_device.h"

namespace decant {

// Sizes of a model's KV; layers and heads are those of this shard.
struct Geometry {
  int32_t layers = 0;
  int32_t q_heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;

  // Query heads that share one kv head.
  DECANT_HOST_DEVICE int32_t group() const { return q_heads / kv_heads; }
  // What `kv_bytes_full` counts: 2 bytes per element of K and V.
  int64_t full_bytes_per_token() const { return int64_t{4} * layers * kv_heads * head_dim; }

  friend bool operator==(const Geometry& a, const Geometry& b) {
    return a.layers == b.layers && a.q_heads == b.q_heads && a.kv_heads == b.kv_heads && a.head_dim == b.head_dim;
  }
  friend bool operator!=(const Geometry& a, const Geometry& b) { return !(a == b); }
};

}  // namespace decant

#endif  // DECANT_COMMON_KV_GEOMETRY_H_
