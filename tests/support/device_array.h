// Arrays in device memory, filled from and read back to host vectors through the stream.
#ifndef DECANT_TESTS_SUPPORT_DEVICE_ARRAY_H_
#define DECANT_TESTS_SUPPORT_DEVICE_ARRAY_H_

#include <cstdint>
#include <vector>

#include "common/base/half.h"
#include "common/base/random.h"
#include "common/compress/profile.h"
#include "gpu/device/device.h"

namespace decant {

template <typename T>
class DeviceArray {
 public:
  DeviceArray(Stream& stream, const std::vector<T>& values)
      : stream_(stream), size_(values.size()), buffer_(stream.device().Allocate(bytes()).value()) {
    stream.Copy(buffer_.As<T>(), values.data(), bytes());
  }
  // Uninitialised.
  DeviceArray(Stream& stream, size_t size)
      : stream_(stream), size_(size), buffer_(stream.device().Allocate(bytes()).value()) {}

  T* data() const { return buffer_.As<T>(); }
  std::vector<T> Read() const {
    std::vector<T> values(size_);
    stream_.Copy(values.data(), buffer_.As<T>(), bytes());
    return values;
  }

 private:
  int64_t bytes() const { return static_cast<int64_t>(size_ * sizeof(T)); }

  Stream& stream_;
  size_t size_;
  Buffer buffer_;
};

// Uniform in [-1, 1), the same for the same seed.
inline std::vector<float> RandomFloats(size_t count, uint64_t seed) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = 2.0f * UniformFloat(seed, i) - 1.0f;
  return values;
}

// `x` as it is after a stay in the run type.
inline float Rounded(RunType type, float x) { return type == RunType::kBf16 ? ToFloat(ToBf16(x)) : x; }

// The bytes of `values` in the run type.
inline std::vector<uint8_t> ToRunType(RunType type, const std::vector<float>& values) {
  std::vector<uint8_t> bytes;
  for (const float value : values) {
    const Bf16 half = ToBf16(value);
    const auto* from =
        type == RunType::kBf16 ? reinterpret_cast<const uint8_t*>(&half) : reinterpret_cast<const uint8_t*>(&value);
    bytes.insert(bytes.end(), from, from + (type == RunType::kBf16 ? 2 : 4));
  }
  return bytes;
}
inline std::vector<float> FromRunType(RunType type, const std::vector<uint8_t>& bytes) {
  std::vector<float> values(bytes.size() / (type == RunType::kBf16 ? 2 : 4));
  for (size_t i = 0; i < values.size(); ++i) {
    if (type == RunType::kBf16) {
      Bf16 half;
      memcpy(&half, bytes.data() + 2 * i, 2);
      values[i] = ToFloat(half);
    } else {
      memcpy(&values[i], bytes.data() + 4 * i, 4);
    }
  }
  return values;
}

}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_DEVICE_ARRAY_H_
