// Frames whose segments hold what real ones hold, so that coders shorten them; the same bytes on every machine.
#ifndef DECANT_TESTS_COMMON_COMPRESS_CODE_CODED_SAMPLES_H_
#define DECANT_TESTS_COMMON_COMPRESS_CODE_CODED_SAMPLES_H_

#include <string>
#include <vector>

#include "common/kv/frame.h"

namespace decant {

// Bell-shaped codes and floats, scales and zeros of one size, ascending positions. `counts` as LayOutFrame takes them.
std::string BellFrame(const FrameHeader& header, const std::vector<int32_t>& counts);

struct NamedFrame {
  std::string name;
  std::string bytes;
};
// Every element, several tiers, positions, statistics and balancing vectors; 64 tokens, two heads of 32.
std::vector<NamedFrame> BellFrames();

}  // namespace decant

#endif  // DECANT_TESTS_COMMON_COMPRESS_CODE_CODED_SAMPLES_H_
