// The operations on rows against plain loops, at sizes around the vector width.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "gpu/kernels/nn/add_bias.h"
#include "gpu/kernels/nn/convert_rows.h"
#include "gpu/kernels/nn/rms_norm.h"
#include "gpu/kernels/nn/rope.h"
#include "gpu/kernels/nn/swi_glu.h"
#include "tests/support/device_array.h"
#include "tests/support/kernel_devices.h"

namespace decant {
namespace {

constexpr RunType kTypes[] = {RunType::kF32, RunType::kBf16};
// Around the vectors of the host, and the pieces and warps of a device.
constexpr int32_t kWidths[] = {1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 100, 513, 1025};

class RowOperationsTest : public testing::TestWithParam<KernelDevice> {
 protected:
  const std::unique_ptr<Device> device_ = GetParam().create(int64_t{64} << 20);
  const std::unique_ptr<Stream> stream_ = device_->NewStream();
};

DECANT_ON_KERNEL_DEVICES(RowOperationsTest);

// bf16 keeps 8 bits: half a unit of the value.
float Tolerance(RunType type, float value) {
  return type == RunType::kBf16 ? std::abs(value) / 200.0f + 1e-6f : std::abs(value) * 1e-5f + 1e-6f;
}

TEST_P(RowOperationsTest, RmsNormDividesByTheRootMeanSquare) {
  for (const RunType type : kTypes) {
    for (const int32_t width : kWidths) {
      for (const int32_t rows : {0, 1, 3, width < 100 ? 300 : 5}) {
        const int32_t groups = 2;
        const auto stride = static_cast<size_t>(groups * width + 3);
        const std::vector<float> in = RandomFloats(static_cast<size_t>(rows) * stride, 1);
        const std::vector<float> weight = RandomFloats(static_cast<size_t>(width), 2);
        const DeviceArray<float> a(*stream_, in);
        const DeviceArray<float> w(*stream_, weight);
        const DeviceArray<uint8_t> out(*stream_, std::vector<uint8_t>(in.size() * (type == RunType::kBf16 ? 2 : 4)));
        RmsNorm(*stream_, RmsNormArgs{a.data(), static_cast<int64_t>(stride), rows, groups, width, w.data(), 1e-5f,
                                      type, out.data(), static_cast<int64_t>(stride)});
        const std::vector<float> found = FromRunType(type, out.Read());
        for (size_t r = 0; r < static_cast<size_t>(rows); ++r) {
          for (size_t g = 0; g < 2; ++g) {
            const float* x = in.data() + r * stride + g * weight.size();
            double squares = 0;
            for (size_t i = 0; i < weight.size(); ++i) squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
            const double scale = 1 / std::sqrt(squares / width + 1e-5);
            for (size_t i = 0; i < weight.size(); ++i) {
              const auto wanted = static_cast<float>(static_cast<double>(x[i]) * scale) * weight[i];
              ASSERT_NEAR(found[r * stride + g * weight.size() + i], wanted, Tolerance(type, wanted));
            }
          }
        }
      }
    }
  }
}

TEST_P(RowOperationsTest, RmsNormWorksInPlace) {
  const DeviceArray<float> x(*stream_, std::vector<float>{3, 4});
  const DeviceArray<float> w(*stream_, std::vector<float>{1, 2});
  RmsNorm(*stream_, RmsNormArgs{x.data(), 2, 1, 1, 2, w.data(), 0, RunType::kF32, x.data(), 2});
  EXPECT_FLOAT_EQ(x.Read()[0], 3 / std::sqrt(12.5f));
  EXPECT_FLOAT_EQ(x.Read()[1], 8 / std::sqrt(12.5f));
}

TEST_P(RowOperationsTest, RopeRotatesHalvesByPosition) {
  for (const int32_t head_dim : {2, 4, 30, 64, 66}) {
    const int32_t heads = 3;
    const std::vector<int32_t> positions = {0, 1, 5, 8191, 100000};
    const auto half = static_cast<size_t>(head_dim / 2);
    std::vector<float> frequencies(half);
    for (size_t i = 0; i < half; ++i) {
      frequencies[i] = std::pow(10000.0f, -static_cast<float>(i) / static_cast<float>(half));
    }
    const size_t stride = static_cast<size_t>(heads * head_dim) + 5;
    const std::vector<float> in = RandomFloats(positions.size() * stride, 3);
    const DeviceArray<int32_t> p(*stream_, positions);
    const DeviceArray<float> f(*stream_, frequencies);
    const DeviceArray<float> angles(*stream_, positions.size() * static_cast<size_t>(head_dim));
    const DeviceArray<float> x(*stream_, in);
    RopeAngles(*stream_, RopeAnglesArgs{p.data(), f.data(), 1.5f, 5, head_dim, angles.data()});
    Rope(*stream_, RopeArgs{angles.data(), 5, heads, head_dim, x.data(), static_cast<int64_t>(stride)});
    const std::vector<float> out = x.Read();
    std::vector<float> wanted = in;
    for (size_t r = 0; r < positions.size(); ++r) {
      for (size_t at = r * stride; at < r * stride + static_cast<size_t>(heads * head_dim);
           at += static_cast<size_t>(head_dim)) {
        for (size_t i = 0; i < half; ++i) {
          const float angle = static_cast<float>(positions[r]) * frequencies[i];
          const float c = 1.5f * std::cos(angle);
          const float s = 1.5f * std::sin(angle);
          wanted[at + i] = in[at + i] * c - in[at + half + i] * s;
          wanted[at + half + i] = in[at + half + i] * c + in[at + i] * s;
        }
      }
    }
    for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(out[i], wanted[i], 1e-6) << head_dim << " at " << i;
  }
}

TEST_P(RowOperationsTest, SwiGluGatesWithTheSigmoid) {
  for (const RunType type : kTypes) {
    for (const int32_t width : kWidths) {
      const auto n = static_cast<size_t>(width);
      std::vector<float> in = RandomFloats(3 * 2 * n, 4);
      for (float& x : in) x *= 8;
      in[0] = -200;  // exp would overflow
      const DeviceArray<float> gate_up(*stream_, in);
      const DeviceArray<uint8_t> out(*stream_, 3 * n * (type == RunType::kBf16 ? 2 : 4));
      SwiGlu(*stream_, SwiGluArgs{gate_up.data(), 3, width, type, out.data()});
      const std::vector<float> found = FromRunType(type, out.Read());
      for (size_t r = 0; r < 3; ++r) {
        for (size_t i = 0; i < n; ++i) {
          const double gate = in[r * 2 * n + i];
          const auto wanted = static_cast<float>(gate / (1 + std::exp(-gate)) * in[r * 2 * n + n + i]);
          ASSERT_NEAR(found[r * n + i], wanted, Tolerance(type, wanted)) << gate;
        }
      }
    }
  }
}

TEST_P(RowOperationsTest, ConvertRowsRoundsToNearestEvenAndMovesHeads) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const int32_t width : kWidths) {
    const auto n = static_cast<size_t>(width);
    std::vector<float> in = RandomFloats(5 * (2 * n + 1), 5);
    in[0] = BitsToFloat(0x3f808000u);  // half way, even below
    in[n] = BitsToFloat(0x3f818000u);  // half way, even above
    in[2 * n + 1] = infinity;
    in[3 * n + 1] = BitsToFloat(0x7fffffffu);  // a NaN that rounding would turn into -0
    const DeviceArray<float> a(*stream_, in);
    const DeviceArray<uint8_t> out(*stream_, std::vector<uint8_t>(2 * 7 * n * 2));
    ConvertRows(*stream_, ConvertRowsArgs{a.data(), 2 * width + 1, 5, 2, width, RunType::kBf16, out.data(), width,
                                          7 * int64_t{width}});
    const std::vector<uint8_t> found = out.Read();
    for (size_t r = 0; r < 5; ++r) {
      for (size_t g = 0; g < 2; ++g) {
        for (size_t i = 0; i < n; ++i) {
          uint16_t bits = 0;
          memcpy(&bits, found.data() + ((g * 7 + r) * n + i) * 2, 2);
          ASSERT_EQ(bits, ToBf16(in[r * (2 * n + 1) + g * n + i]).bits) << width << " row " << r << " at " << i;
        }
      }
    }
  }
}

TEST_P(RowOperationsTest, AddBiasAddsToEveryRow) {
  const DeviceArray<float> x(*stream_, std::vector<float>{1, 2, 3, 4, 5, 6});
  const DeviceArray<float> bias(*stream_, std::vector<float>{10, 20, 30});
  AddBias(*stream_, AddBiasArgs{bias.data(), 2, 3, x.data()});
  EXPECT_EQ(x.Read(), (std::vector<float>{11, 22, 33, 14, 25, 36}));
}

}  // namespace
}  // namespace decant
