#include <cstddef>
#include <cstdint>
#include <vector>

#include "gpu/engine/wire_form.h"

// What decode does with a landed batch before it parses frames, for a small sequence.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static constexpr float kFrequencies[] = {1.0f, 0.25f, 0.0625f, 0.015625f};
  // An allocation of its own, so that a sanitiser sees the first byte out of bounds.
  const std::vector<char> bytes(data, data + size);
  const decant::WireContext context{{8, 6, 3, 8}, 256, decant::FormatId::kFullBf16, {kFrequencies, 1.0f}};
  (void)decant::PlainBatch({bytes.data(), bytes.size()}, context);
  return 0;
}
