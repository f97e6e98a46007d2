#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/compress/code/block.h"

// The first two bytes are the size that the caller expects, little-endian; the rest is the block. It is tried without a
// shared table and with one of its coder's alphabet.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  // An allocation of its own each, so that a sanitiser sees the first byte out of bounds.
  const std::vector<uint8_t> block(data + 2, data + size);
  std::vector<uint8_t> out(data[0] + size_t{256} * data[1]);
  (void)decant::DecodeBlock(block, absl::MakeSpan(out));
  const int32_t alphabet = block.empty() ? 0 : decant::CoderAlphabet(static_cast<decant::Coder>(block[0] & 0x0f));
  const auto shared = decant::SharedRansTable::Create(decant::RansCounts{}, std::max(alphabet, 2));
  if (shared.ok()) (void)decant::DecodeBlock(block, absl::MakeSpan(out), &*shared);
  return 0;
}
