#ifndef DECANT_GPU_KERNELS_CODEC_REENCODE_FRAMES_H_
#define DECANT_GPU_KERNELS_CODEC_REENCODE_FRAMES_H_

#include <cstdint>

#include "common/kv/format.h"
#include "common/kv/receipt.h"
#include "common/kv/rows.h"
#include "gpu/device/device.h"

namespace decant {

// Stored vectors of one half, K or V, of one (layer, head, tier): byte offsets into `in`, multiples of kFrameAlignment.
struct StoredVectors {
  Element element = Element::kNone;
  int64_t codes = 0;
  int64_t meta = 0;
};

// Which stored vector a token comes from, as one number.
DECANT_HOST_DEVICE constexpr uint32_t StoredPlace(int32_t tier, int32_t token) {
  return static_cast<uint32_t>(token) << 2 | static_cast<uint32_t>(tier);
}
DECANT_HOST_DEVICE constexpr int32_t TierOfPlace(uint32_t place) { return static_cast<int32_t>(place & 3u); }
DECANT_HOST_DEVICE constexpr int32_t TokenOfPlace(uint32_t place) { return static_cast<int32_t>(place >> 2); }

// One half of what becomes one (layer, head, tier) of another frame.
struct ReencodeRun {
  StoredVectors sources[kTierCount];  // by tier of the stored frame
  int64_t places = -1;  // first of `tokens` places; -1: the first tokens of sources[0], one after the other
  int32_t tokens = 0;
  Element element = Element::kNone;  // wanted
  int32_t levels = 0;                // codes in use, 0: all
  // Hadamard rotation along head_dim, log2 of the block order: undone and done.
  uint8_t unrotate = 0;
  uint8_t rotate = 0;
  int64_t codes = 0;  // byte offsets into `out`, multiples of kFrameAlignment
  int64_t meta = 0;
  int64_t statistics = -1;  // of keys in a full element; -1: none wanted
};

struct ReencodeFramesArgs {
  const uint8_t* in = nullptr;       // stored frames; 16-byte aligned
  const uint32_t* places = nullptr;  // StoredPlace
  const ReencodeRun* runs = nullptr;
  int32_t run_count = 0;
  int32_t head_dim = 0;           // a multiple of 8 up to 256
  uint8_t* out = nullptr;         // 16-byte aligned
  StoredError* errors = nullptr;  // [run_count], out: between the stored vectors as they are read and the new ones
};
// Decodes stored vectors to f32 and encodes them in another element; nothing leaves the device in between. A vector
// whose element is the wanted one, where neither levels nor rotation ask for another form, is copied bit for bit and
// adds nothing to the errors; elements whose pairs belong to channels are always made anew.
void ReencodeFrames(Stream& stream, const ReencodeFramesArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_REENCODE_FRAMES_H_
