#include "gpu/kernels/nn/scatter_rows.h"

#include <gtest/gtest.h>

#include "tests/support/device_array.h"
#include "tests/support/kernel_devices.h"

namespace decant {
namespace {

class ScatterRowsTest : public testing::TestWithParam<KernelDevice> {};
DECANT_ON_KERNEL_DEVICES(ScatterRowsTest);

TEST_P(ScatterRowsTest, PutsEveryRowInItsPlace) {
  constexpr int32_t kGroups = 3;
  constexpr int32_t kRoom = 50;  // rows of a group on both sides
  const auto device = GetParam().create(int64_t{16} << 20);
  const auto stream = device->NewStream();
  for (const int32_t width : {1, 3, 64}) {
    for (const int32_t count : {0, 1, 2, 49, 50}) {
      const std::vector<float> values = RandomFloats(static_cast<size_t>(kGroups * kRoom * width), 2);
      std::vector<int32_t> rows(static_cast<size_t>(kRoom));
      for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int32_t>(i * 13 % kRoom);
      std::vector<float> wanted(values.size(), 7.0f);
      for (int32_t g = 0; g < kGroups; ++g) {
        for (int32_t i = 0; i < count; ++i) {
          for (int32_t j = 0; j < width; ++j) {
            wanted[static_cast<size_t>((g * kRoom + rows[static_cast<size_t>(i)]) * width + j)] =
                values[static_cast<size_t>((g * kRoom + i) * width + j)];
          }
        }
      }
      const DeviceArray<float> in(*stream, values);
      const DeviceArray<int32_t> device_rows(*stream, rows);
      const DeviceArray<float> out(*stream, std::vector<float>(values.size(), 7.0f));
      ScatterRowsArgs args;
      args.in = in.data();
      args.rows = device_rows.data();
      args.count = count;
      args.groups = kGroups;
      args.row_bytes = int64_t{4} * width;
      args.in_group_bytes = kRoom * args.row_bytes;
      args.out = out.data();
      args.out_group_bytes = args.in_group_bytes;
      ScatterRows(*stream, args);
      ASSERT_EQ(out.Read(), wanted) << count << " rows of " << width;
    }
  }
}

}  // namespace
}  // namespace decant
