#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/compress/code/coded_frame.h"

// Restores the coded frame; what comes out goes through the parser that its readers use, and is coded again.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // An allocation of its own, so that a sanitiser sees the first byte out of bounds.
  const std::vector<char> bytes(data, data + size);
  const auto restored = decant::RestoreFrame({bytes.data(), bytes.size()});
  if (!restored.ok()) return 0;
  const auto frame = decant::ParseFrame(restored->frame);
  if (frame.ok()) (void)decant::CodeFrame(*frame);
  return 0;
}
