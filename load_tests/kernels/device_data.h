// Device memory of a benchmark case.
#ifndef DECANT_LOAD_TESTS_KERNELS_DEVICE_DATA_H_
#define DECANT_LOAD_TESTS_KERNELS_DEVICE_DATA_H_

#include <cstdint>
#include <vector>

#include "common/base/check.h"
#include "common/base/half.h"
#include "common/base/random.h"
#include "gpu/device/device.h"

namespace decant {

class DeviceData {
 public:
  explicit DeviceData(Stream& stream) : stream_(stream) {}

  template <typename T>
  T* New(int64_t count) {
    buffers_.push_back(stream_.device().Allocate(count * static_cast<int64_t>(sizeof(T))).value());
    return buffers_.back().As<T>();
  }
  template <typename T>
  T* Upload(const std::vector<T>& values) {
    T* const to = New<T>(static_cast<int64_t>(values.size()));
    stream_.Copy(to, values.data(), static_cast<int64_t>(values.size() * sizeof(T)));
    DECANT_CHECK(stream_.Synchronize().ok());
    return to;
  }
  // bf16 numbers between -1 and 1, `bytes` of them in all.
  uint8_t* Noise(int64_t bytes) {
    std::vector<Bf16> values(static_cast<size_t>((bytes + 1) / 2));
    for (size_t i = 0; i < values.size(); ++i) values[i] = ToBf16(UniformFloat(1, i) * 2 - 1);
    return reinterpret_cast<uint8_t*>(Upload(values));
  }

 private:
  Stream& stream_;
  std::vector<Buffer> buffers_;
};

}  // namespace decant

#endif  // DECANT_LOAD_TESTS_KERNELS_DEVICE_DATA_H_
