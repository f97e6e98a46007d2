#ifndef DECANT_COMMON_BASE_MEMORY_REF_H_
#define DECANT_COMMON_BASE_MEMORY_REF_H_

#include <cstdint>

namespace decant {

enum class MemorySpace : uint8_t { kHost = 0, kDevice = 1 };

// Borrowed bytes in some memory; `address` may be dereferenced by the CPU only when space is kHost.
struct MemoryRef {
  MemorySpace space = MemorySpace::kHost;
  void* address = nullptr;
  int64_t bytes = 0;
};

struct ConstMemoryRef {
  MemorySpace space = MemorySpace::kHost;
  const void* address = nullptr;
  int64_t bytes = 0;
};

}  // namespace decant

#endif  // DECANT_COMMON_BASE_MEMORY_REF_H_
