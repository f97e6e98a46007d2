#include "gpu/kernels/nn/matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "gpu/kernels/nn/embed.h"
#include "gpu/kernels/nn/packed_layout.h"
#include "gpu/kernels/nn/product_host.h"
#include "tests/support/device_array.h"
#include "tests/support/kernel_devices.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

constexpr RunType kTypes[] = {RunType::kF32, RunType::kBf16};

struct Case {
  RunType type;
  int32_t rows;
  int32_t outputs;
  int32_t inputs;
  bool accumulate;
};

size_t Area(int32_t a, int32_t b) { return static_cast<size_t>(a) * static_cast<size_t>(b); }

PackedMatrix Pack(Stream& stream, RunType type, int32_t outputs, int32_t inputs, const std::vector<float>& weights) {
  return PackMatrix(stream, type, outputs, inputs,
                    [&](int32_t first, int32_t count, float* out) {
                      std::memcpy(out, weights.data() + Area(first, inputs), Area(count, inputs) * 4);
                    })
      .value();
}

std::vector<float> Compute(Device& device, const Case& c, const std::vector<float>& in,
                           const std::vector<float>& weights, const std::vector<float>& before) {
  const auto stream = device.NewStream();
  const PackedMatrix matrix = Pack(*stream, c.type, c.outputs, c.inputs, weights);
  std::vector<float> padded = in;
  padded.resize(Area(MatmulRows(c.rows), c.inputs), NAN);
  const DeviceArray<uint8_t> a(*stream, ToRunType(c.type, padded));
  const DeviceArray<float> out(*stream, before);
  Matmul(*stream, MatmulArgs{&matrix, a.data(), c.rows, out.data(), c.accumulate});
  return out.Read();
}

void Check(Device& device, const Case& c) {
  SCOPED_TRACE(testing::Message() << (c.type == RunType::kBf16 ? "bf16 " : "f32 ") << c.rows << " x " << c.inputs
                                  << " x " << c.outputs << (c.accumulate ? " accumulated" : ""));
  const std::vector<float> in = RandomFloats(Area(c.rows, c.inputs), 1);
  const std::vector<float> weights = RandomFloats(Area(c.outputs, c.inputs), 2);
  const std::vector<float> before = RandomFloats(Area(c.rows, c.outputs), 3);
  const std::vector<float> out = Compute(device, c, in, weights, before);
  for (int32_t r = 0; r < c.rows; ++r) {
    for (int32_t o = 0; o < c.outputs; ++o) {
      double sum = c.accumulate ? before[Area(r, c.outputs) + static_cast<size_t>(o)] : 0.0f;
      for (int32_t i = 0; i < c.inputs; ++i) {
        const auto at = static_cast<size_t>(i);
        sum += static_cast<double>(Rounded(c.type, in[Area(r, c.inputs) + at])) *
               static_cast<double>(Rounded(c.type, weights[Area(o, c.inputs) + at]));
      }
      const float found = out[Area(r, c.outputs) + static_cast<size_t>(o)];
      ASSERT_NEAR(found, sum, 2e-5 * std::sqrt(c.inputs) + 1e-5) << "row " << r << " output " << o;
    }
  }
}

class MatmulOnDevicesTest : public testing::TestWithParam<KernelDevice> {};
DECANT_ON_KERNEL_DEVICES(MatmulOnDevicesTest);

TEST_P(MatmulOnDevicesTest, AgreesWithTheScalarProductAtOddSizes) {
  const auto device = GetParam().create(int64_t{64} << 20);
  for (const RunType type : kTypes) {
    for (const int32_t rows : {0, 1, 2, 3, 7, 8, 9, 15, 63, 64, 65, 129}) {
      for (const auto& [outputs, inputs] : {std::pair{1, 1}, {63, 31}, {64, 32}, {65, 33}, {130, 48}, {200, 100}}) {
        Check(*device, Case{type, rows, outputs, inputs, false});
        Check(*device, Case{type, rows, outputs, inputs, true});
      }
    }
  }
}

TEST(MatmulTest, GivesTheSameBitsForAnyNumberOfThreads) {
  for (const RunType type : kTypes) {
    for (const int32_t rows : {1, 5, 70, 200}) {
      const Case c{type, rows, 500, 96, true};
      const std::vector<float> in = RandomFloats(Area(c.rows, c.inputs), 1);
      const std::vector<float> weights = RandomFloats(Area(c.outputs, c.inputs), 2);
      const std::vector<float> before = RandomFloats(Area(c.rows, c.outputs), 3);
      const std::vector<float> one = Compute(*CreateTestDevice(1), c, in, weights, before);
      for (const int threads : {2, 3, 5}) EXPECT_EQ(Compute(*CreateTestDevice(threads), c, in, weights, before), one);
    }
  }
}

// A product with packed weights of its own.
struct PackedCase {
  PackedCase(RunType type, int32_t columns, int32_t depth, int32_t rows)
      : packed(static_cast<size_t>(PackedElements(type, depth, columns) * RunTypeBytes(type))),
        a(ToRunType(type, RandomFloats(Area(rows, depth), 5))),
        product{type, rows, columns, depth, false, a.data(), packed.data(), nullptr} {
    const std::vector<uint8_t> weights = ToRunType(type, RandomFloats(Area(columns, depth), 4));
    const int32_t bytes = RunTypeBytes(type);
    for (int32_t k = 0; k < depth; ++k) {
      for (int32_t column = 0; column < columns; ++column) {
        std::memcpy(packed.data() + PackedIndex(type, depth, k, column) * bytes,
                    weights.data() + (Area(column, depth) + static_cast<size_t>(k)) * static_cast<size_t>(bytes),
                    static_cast<size_t>(bytes));
      }
    }
  }
  std::vector<float> Result(void (*run)(const Product&), int32_t rows, bool accumulate) const {
    std::vector<float> c = RandomFloats(Area(rows, product.columns), 6);
    Product p = product;
    p.rows = rows;
    p.accumulate = accumulate;
    p.c = c.data();
    run(p);
    return c;
  }
  std::vector<uint8_t> packed;
  std::vector<uint8_t> a;
  Product product;
};

constexpr std::pair<int32_t, int32_t> kProductSizes[] = {{1, 1}, {64, 16}, {65, 31}, {100, 33}, {192, 576}, {64, 1537}};

TEST(ProductTest, AllKernelsAgree) {
  for (const RunType type : kTypes) {
    for (const auto& [columns, depth] : kProductSizes) {
      const PackedCase c(type, columns, depth, 64);
      for (const int32_t rows : {1, 2, 3, 4, 5, 7, 64}) {
        for (const bool accumulate : {false, true}) {
          const std::vector<float> chosen = c.Result(RunProduct, rows, accumulate);
          const std::vector<float> portable = c.Result(RunSmallProduct, rows, accumulate);
          for (size_t i = 0; i < chosen.size(); ++i) ASSERT_NEAR(chosen[i], portable[i], 1e-4) << rows << " " << depth;
          if (type != RunType::kBf16 || !HasBf16Dot()) continue;
          const std::vector<float> dot = c.Result(RunBf16Dot, rows, accumulate);
          for (size_t i = 0; i < dot.size(); ++i) ASSERT_NEAR(dot[i], portable[i], 1e-4) << rows << " " << depth;
        }
      }
    }
  }
}

TEST(ProductTest, ARowDoesNotDependOnHowManyAreComputedWithIt) {
  for (const RunType type : kTypes) {
    for (const auto& [columns, depth] : kProductSizes) {
      const PackedCase c(type, columns, depth, 64);
      for (const bool accumulate : {false, true}) {
        const std::vector<float> whole = c.Result(RunProduct, 64, accumulate);
        for (const int32_t rows : {1, 2, 3, 4, 8, 16, 24}) {
          const std::vector<float> few = c.Result(RunProduct, rows, accumulate);
          EXPECT_TRUE(std::equal(few.begin(), few.end(), whole.begin()))
              << (type == RunType::kBf16 ? "bf16 " : "f32 ") << rows << " rows of " << columns << " x " << depth;
        }
      }
    }
  }
}

TEST(MatmulTest, SaysHowMuchMemoryIsMissing) {
  const auto device = CreateTestDevice(1, 4096);
  const auto stream = device->NewStream();
  const auto matrix = PackMatrix(*stream, RunType::kF32, 640, 640, [](int32_t, int32_t, float*) { FAIL(); });
  EXPECT_EQ(matrix.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_P(MatmulOnDevicesTest, EmbedReadsRowsOutOfThePackedMatrix) {
  const auto device = GetParam().create(int64_t{16} << 20);
  const auto stream = device->NewStream();
  for (const RunType type : kTypes) {
    for (const int32_t width : {1, 33, 64}) {
      const std::vector<float> table = RandomFloats(Area(130, width), 6);
      const PackedMatrix matrix = Pack(*stream, type, 130, width, table);
      const std::vector<int32_t> ids = {0, 129, 64, 63, 65, 0};
      const DeviceArray<int32_t> device_ids(*stream, ids);
      const DeviceArray<float> out(*stream, Area(6, width));
      Embed(*stream, EmbedArgs{&matrix, device_ids.data(), 6, out.data()});
      const std::vector<float> rows = out.Read();
      for (size_t r = 0; r < ids.size(); ++r) {
        for (int32_t i = 0; i < width; ++i) {
          EXPECT_EQ(rows[Area(static_cast<int32_t>(r), width) + static_cast<size_t>(i)],
                    Rounded(type, table[Area(ids[r], width) + static_cast<size_t>(i)]));
        }
      }
    }
  }
}

}  // namespace
}  // namespace decant
