#include "common/store/eviction.h"

#include "common/store/lru.h"
#include "common/store/s3_fifo.h"

namespace decant {

std::unique_ptr<EvictionPolicy> MakeEviction(EvictionKind kind) {
  if (kind == EvictionKind::kS3Fifo) return std::make_unique<S3FifoEviction>();
  return std::make_unique<LruEviction>();
}

}  // namespace decant
