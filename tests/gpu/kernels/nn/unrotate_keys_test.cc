#include "gpu/kernels/nn/unrotate_keys.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "common/base/half.h"
#include "common/base/random.h"
#include "gpu/kernels/nn/rope.h"
#include "tests/support/kernel_devices.h"

namespace decant {
namespace {

class UnrotateKeysTest : public testing::TestWithParam<KernelDevice> {};
DECANT_ON_KERNEL_DEVICES(UnrotateKeysTest);

// Rope and its way back, in both run types, with a magnitude and room between heads.
TEST_P(UnrotateKeysTest, GivesBackWhatRopeTook) {
  constexpr int32_t kHeads = 3;
  for (const RunType run_type : {RunType::kF32, RunType::kBf16}) {
    for (const int32_t head_dim : {8, 40, 64}) {
      for (const int32_t tokens : {0, 1, 33}) {
        const auto device = GetParam().create(int64_t{16} << 20);
        const auto stream = device->NewStream();
        const int32_t capacity = tokens + 2;
        const auto half = static_cast<size_t>(head_dim / 2);
        std::vector<float> angles;
        for (int32_t p = 0; p < tokens; ++p) {
          for (size_t i = 0; i < half; ++i)
            angles.push_back(1.25f * std::cos(static_cast<float>(p) / static_cast<float>(i + 1)));
          for (size_t i = 0; i < half; ++i)
            angles.push_back(1.25f * std::sin(static_cast<float>(p) / static_cast<float>(i + 1)));
        }
        const auto dim = static_cast<size_t>(head_dim);
        std::vector<float> keys(static_cast<size_t>(kHeads * capacity) * dim);
        for (size_t i = 0; i < keys.size(); ++i) keys[i] = UniformFloat(9, i) * 2 - 1;
        std::vector<float> rotated = keys;
        for (size_t row = 0; row < rotated.size() / dim; ++row) {
          const size_t token = row % static_cast<size_t>(capacity);
          if (token >= static_cast<size_t>(tokens)) continue;
          for (size_t i = 0; i < half; ++i) {
            const float c = angles[token * dim + i];
            const float s = angles[token * dim + half + i];
            rotated[row * dim + i] = keys[row * dim + i] * c - keys[row * dim + half + i] * s;
            rotated[row * dim + half + i] = keys[row * dim + half + i] * c + keys[row * dim + i] * s;
          }
        }
        std::vector<Bf16> halves;
        for (const float x : rotated) halves.push_back(ToBf16(x));
        const bool f32 = run_type == RunType::kF32;
        const int64_t bytes = static_cast<int64_t>(rotated.size()) * (f32 ? 4 : 2);
        const Buffer memory = device->Allocate(bytes + 1).value();
        const Buffer table = device->Allocate(static_cast<int64_t>(angles.size()) * 4 + 1).value();
        stream->Copy(memory.As<void>(), f32 ? static_cast<const void*>(rotated.data()) : halves.data(), bytes);
        stream->Copy(table.As<void>(), angles.data(), static_cast<int64_t>(angles.size()) * 4);
        UnrotateKeysArgs args;
        args.run_type = run_type;
        args.angles = table.As<float>();
        args.k = memory.As<void>();
        args.out = memory.As<void>();
        args.capacity = capacity;
        args.heads = kHeads;
        args.tokens = tokens;
        args.head_dim = head_dim;
        UnrotateKeys(*stream, args);
        stream->Copy(f32 ? static_cast<void*>(rotated.data()) : halves.data(), memory.As<void>(), bytes);
        for (size_t i = 0; i < keys.size(); ++i) {
          EXPECT_NEAR(f32 ? rotated[i] : ToFloat(halves[i]), keys[i], f32 ? 1e-6 : 1e-2) << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace decant
