// The transform stage before the quantiser, and appended tokens in every key form.
#include "gpu/kernels/codec/shape_keys.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/base/half.h"
#include "common/base/random.h"
#include "common/compress/arith/key_shape.h"
#include "tests/gpu/kernels/codec/codec_case.h"
#include "tests/gpu/kernels/codec/codec_rig.h"
#include "tests/gpu/kernels/pages/page_rig.h"

namespace decant {
namespace {

using ShapeKeysTest = CodecCase;
using AppendInFormTest = CodecCase;
DECANT_ON_KERNEL_DEVICES(ShapeKeysTest);
DECANT_ON_KERNEL_DEVICES(AppendInFormTest);

std::vector<float> Uniforms(uint64_t seed, size_t count) {
  std::vector<float> x(count);
  for (size_t i = 0; i < count; ++i) x[i] = UniformFloat(seed, i) * 2 - 1;
  return x;
}

std::vector<float> Factors(size_t count) {
  std::vector<float> x(count);
  for (size_t i = 0; i < count; ++i) x[i] = 0.5f + static_cast<float>(i % 7);
  return x;
}

// Keys of the run type as bytes.
std::vector<uint8_t> InRunType(const std::vector<float>& x, RunType run_type) {
  std::vector<uint8_t> bytes(x.size() * (run_type == RunType::kF32 ? 4 : 2));
  for (size_t i = 0; i < x.size(); ++i) {
    const Bf16 half = ToBf16(x[i]);
    if (run_type == RunType::kF32) std::memcpy(bytes.data() + 4 * i, &x[i], 4);
    if (run_type == RunType::kBf16) std::memcpy(bytes.data() + 2 * i, &half, 2);
  }
  return bytes;
}

TEST_P(ShapeKeysTest, EqualsTheScalarOneForEveryFormAndSize) {
  constexpr int32_t kHeads = 2;
  constexpr int32_t kDim = 48;
  const auto device = NewDevice();
  const auto stream = device->NewStream();
  const std::vector<float> balance = Factors(kHeads * kDim);
  for (const RunType run_type : {RunType::kF32, RunType::kBf16}) {
    for (const int32_t tokens : {0, 1, 63, 64, 65, 150}) {
      for (const KeyForm& form : {KeyForm{1, 4, 0}, KeyForm{1, 0, 1}, KeyForm{1, 3, 1}}) {
        const int32_t capacity = tokens + 3;
        std::vector<float> keys = Uniforms(5, static_cast<size_t>(kHeads * capacity * kDim));
        if (run_type == RunType::kBf16) {
          for (float& x : keys) x = ToFloat(ToBf16(x));
        }
        const std::vector<uint8_t> bytes = InRunType(keys, run_type);
        const Buffer in = device->Allocate(static_cast<int64_t>(bytes.size())).value();
        const Buffer out = device->Allocate(static_cast<int64_t>(bytes.size())).value();
        const Buffer factors = device->Allocate(static_cast<int64_t>(balance.size()) * 4).value();
        stream->Copy(in.As<void>(), bytes.data(), in.bytes());
        stream->Copy(factors.As<void>(), balance.data(), factors.bytes());
        ShapeKeysArgs args;
        args.run_type = run_type;
        args.form = form;
        args.balance = factors.As<float>();
        args.k = in.As<void>();
        args.capacity = capacity;
        args.kv_heads = kHeads;
        args.tokens = tokens;
        args.head_dim = kDim;
        args.out = out.As<void>();
        args.out_capacity = tokens;
        ShapeKeys(*stream, args);
        std::vector<float> expected;
        for (int32_t head = 0; head < kHeads; ++head) {
          for (int32_t t = 0; t < tokens; ++t) {
            const auto first = keys.begin() + (head * capacity + t) * kDim;
            std::vector<float> key(first, first + kDim);
            ShapeKey(form, balance.data() + head * kDim, kDim, key.data());
            expected.insert(expected.end(), key.begin(), key.end());
          }
        }
        const std::vector<uint8_t> wanted = InRunType(expected, run_type);
        std::vector<uint8_t> shaped(wanted.size());
        stream->Copy(shaped.data(), out.As<void>(), static_cast<int64_t>(shaped.size()));
        EXPECT_EQ(shaped, wanted) << tokens << " tokens";
      }
    }
  }
}

TEST_P(ShapeKeysTest, FactorsAreThoseOfTheBalancer) {
  const auto device = NewDevice();
  const auto stream = device->NewStream();
  const std::vector<float> peaks = {4, 0, 9, 1, 1, 5, 0, 4};  // four of queries, four of keys
  const Buffer memory = device->Allocate(48).value();
  stream->Copy(memory.As<void>(), peaks.data(), 32);
  FitKeyBalance(*stream, FitKeyBalanceArgs{memory.As<float>(), memory.As<float>(16), 4, memory.As<float>(32)});
  std::vector<float> balance(4);
  stream->Copy(balance.data(), memory.As<float>(32), 16);
  EXPECT_EQ(balance, (std::vector<float>{2, 1, 1, 0.5f}));
}

TEST_P(AppendInFormTest, HoldsTheShapedKeyAndThePlainValue) {
  for (const KeyForm& form : {KeyForm{1, 0, 0}, KeyForm{1, 4, 0}, KeyForm{1, 3, 1}, KeyForm{0, 0, 0}}) {
    for (const FormatId id : {FormatId::kTrackedF32, FormatId::kK8V4}) {
      RigOptions options = NewOptions();
      options.geometry = Geometry{2, 2, 2, 16};
      options.high = id;
      options.low = FormatId::kNone;
      options.key_form = form;
      options.balance = Factors(2 * 2 * 16);
      PageRig rig(options);
      const auto vector = [](int32_t n, int32_t layer, int32_t head, int kind) {
        return Uniforms(static_cast<uint64_t>(((n * 2 + layer) * 2 + head) * 3 + kind), 16);
      };
      for (int32_t n = 0; n < 5; ++n) {
        rig.Plan();
        rig.Append([&](int32_t, int32_t layer, int32_t head,
                       bool is_value) { return vector(n, layer, head, is_value ? 1 : 0); },
                   [&](int32_t, int32_t layer, int32_t head) { return vector(n, layer, head, 2); });
        rig.Advance();
      }
      for (int32_t layer = 0; layer < 2; ++layer) {
        for (int32_t head = 0; head < 2; ++head) {
          const std::vector<StoredToken> tokens = rig.Tokens(0, layer, head, kHigh);
          ASSERT_EQ(tokens.size(), 5u);
          for (int32_t n = 0; n < 5; ++n) {
            std::vector<float> k = vector(n, layer, head, form.rope != 0 ? 0 : 2);
            ShapeKey(form, options.balance.data() + (layer * 2 + head) * 16, 16, k.data());
            const StoredToken& token = tokens[static_cast<size_t>(n)];
            EXPECT_EQ(token.k, ScalarRoundTrip(k.data(), 16, FormatOf(id).k));
            EXPECT_EQ(token.v, ScalarRoundTrip(vector(n, layer, head, 1).data(), 16, FormatOf(id).v));
          }
        }
      }
    }
  }
}

// Atom's integer zero point is clamped to the codes, so that a vector that does not straddle 0 is lost: its public code
// is off by 10 here. A float minimum is not (compression-methods, section 4.1; test (h)).
TEST(AtomTest, VectorsFarFromZeroKeepTheirPlace) {
  std::vector<float> x(128);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 10.0f + 0.01f * static_cast<float>(i);
  const float scale = (x.back() - x.front()) / 15;
  const float clamped_zero = std::clamp(std::round(-x.front() / scale), 0.0f, 15.0f);
  float atom_error = 0;
  for (const float value : x) {
    const float code = std::clamp(std::round(value / scale) + clamped_zero, 0.0f, 15.0f);
    atom_error = std::max(atom_error, std::abs((code - clamped_zero) * scale - value));
  }
  EXPECT_GT(atom_error, 9.9f);
  const std::vector<float> stored = ScalarRoundTrip(x.data(), 128, Element::kAffine4);
  float error = 0;
  for (size_t i = 0; i < x.size(); ++i) error = std::max(error, std::abs(stored[i] - x[i]));
  EXPECT_LT(error, 0.05f);
}

// SAW's clamp of the scale makes the zero of a constant vector huge; a rotated constant is a constant's transform, and
// what the format stores of a constant is exact.
TEST(SawTest, ConstantVectorsStayConstant) {
  std::vector<float> x(64, 0.75f);
  EXPECT_EQ(ScalarRoundTrip(x.data(), 64, Element::kAffine4), x);
  std::vector<float> rotated = x;
  RotateHadamard(rotated.data(), 64, 64);
  std::vector<float> back = ScalarRoundTrip(rotated.data(), 64, Element::kAffine4);
  RotateHadamard(back.data(), 64, 64);
  // All of it stands in one element, whose code is exact but for the scale's rounding to fp16.
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(back[i], x[i], x[i] / 2048);
}

}  // namespace
}  // namespace decant
