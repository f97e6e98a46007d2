#include <cstddef>
#include <cstdint>

#include "common/kv/batch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  (void)decant::SplitBatch({reinterpret_cast<const char*>(data), size});
  return 0;
}
