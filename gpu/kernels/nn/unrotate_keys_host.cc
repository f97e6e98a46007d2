#include "common/base/half.h"
#include "gpu/kernels/nn/row_parts.h"
#include "gpu/kernels/nn/unrotate_keys.h"

namespace decant {
namespace {

float Float(float x) { return x; }
float Float(Bf16 x) { return ToFloat(x); }
void Put(float x, float& to) { to = x; }
void Put(float x, Bf16& to) { to = ToBf16(x); }

template <typename T>
void UnrotateRows(const UnrotateKeysArgs& args, int64_t first, int64_t last) {
  const int32_t half = args.head_dim / 2;
  for (int64_t row = first; row < last; ++row) {
    const int64_t at = (row / args.tokens * args.capacity + row % args.tokens) * args.head_dim;
    const T* in = static_cast<const T*>(args.k) + at;
    T* out = static_cast<T*>(args.out) + at;
    const float* cosines = args.angles + row % args.tokens * args.head_dim;
    const float* sines = cosines + half;
    for (int32_t i = 0; i < half; ++i) {
      // cos^2 + sin^2 is the square of the magnitude that both were multiplied by.
      const float scale = 1.0f / (cosines[i] * cosines[i] + sines[i] * sines[i]);
      const float a = Float(in[i]);
      const float b = Float(in[i + half]);
      Put((a * cosines[i] + b * sines[i]) * scale, out[i]);
      Put((b * cosines[i] - a * sines[i]) * scale, out[i + half]);
    }
  }
}

}  // namespace

void UnrotateKeysHost(Stream& stream, const UnrotateKeysArgs& args) {
  const HostAccess access(stream);
  Device& device = stream.device();
  ForRowParts(device, args.heads * args.tokens, args.head_dim, [&args](int32_t first, int32_t last) {
    if (args.run_type == RunType::kF32) {
      UnrotateRows<float>(args, first, last);
    } else {
      UnrotateRows<Bf16>(args, first, last);
    }
  });
}

}  // namespace decant
