#include "gpu/kernels/nn/gather_rows.h"

#include <gtest/gtest.h>

#include "tests/support/device_array.h"
#include "tests/support/kernel_devices.h"

namespace decant {
namespace {

class GatherRowsTest : public testing::TestWithParam<KernelDevice> {};
DECANT_ON_KERNEL_DEVICES(GatherRowsTest);

TEST_P(GatherRowsTest, CopiesTheRowsNamed) {
  const auto device = GetParam().create(int64_t{16} << 20);
  const auto stream = device->NewStream();
  for (const int32_t width : {1, 3, 16, 700}) {
    for (const int32_t count : {0, 1, 2, 31, 100}) {
      const std::vector<float> values = RandomFloats(static_cast<size_t>(100 * width), 1);
      std::vector<int32_t> rows(static_cast<size_t>(count) + 1);
      for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int32_t>(i * 37 % 100);
      const DeviceArray<float> in(*stream, values);
      const DeviceArray<int32_t> device_rows(*stream, rows);
      const DeviceArray<float> out(*stream, std::vector<float>(static_cast<size_t>((count + 1) * width), 7.0f));
      GatherRows(*stream, GatherRowsArgs{in.data(), device_rows.data(), count, int64_t{width} * 4, out.data()});
      const std::vector<float> found = out.Read();
      for (int32_t i = 0; i <= count; ++i) {
        for (int32_t j = 0; j < width; ++j) {
          const float wanted = i < count ? values[static_cast<size_t>(rows[static_cast<size_t>(i)] * width + j)] : 7.0f;
          ASSERT_EQ(found[static_cast<size_t>(i * width + j)], wanted) << count << " rows of " << width;
        }
      }
    }
  }
}

}  // namespace
}  // namespace decant
