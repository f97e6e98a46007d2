#include "gpu/kernels/attention/prefill_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>
#include <vector>

#include "common/base/half.h"
#include "common/base/random.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

float Noise(uint64_t seed, uint64_t i) { return 2 * UniformFloat(seed, i) - 1; }

// A prompt's q, k and v, and what attention over it should give, in doubles.
struct Prompt {
  int32_t tokens, q_heads, kv_heads, head_dim;
  RunType type;
  std::vector<float> q, k, v;  // [tokens, q_heads, d], [kv_heads, tokens, d] already rounded to the run type

  Prompt(int32_t n, int32_t qh, int32_t kvh, int32_t d, RunType t)
      : tokens(n), q_heads(qh), kv_heads(kvh), head_dim(d), type(t) {
    const auto fill = [&](std::vector<float>& x, int64_t count, uint64_t seed, float size) {
      for (int64_t i = 0; i < count; ++i) x.push_back(Round(size * Noise(seed, static_cast<uint64_t>(i))));
    };
    fill(q, int64_t{n} * qh * d, 1, 3);
    fill(k, int64_t{n} * kvh * d, 2, 1);
    fill(v, int64_t{n} * kvh * d, 3, 1);
  }
  float Round(float x) const { return type == RunType::kBf16 ? ToFloat(ToBf16(x)) : x; }

  void Reference(float scale, int32_t sum_from, bool own, std::vector<double>& out, std::vector<double>& sums) const {
    out.assign(q.size(), 0);
    sums.assign(static_cast<size_t>(q_heads) * static_cast<size_t>(tokens), 0);
    for (int32_t t = 0; t < tokens; ++t) {
      for (int32_t h = 0; h < q_heads; ++h) {
        const int32_t g = h / (q_heads / kv_heads);
        std::vector<double> p(static_cast<size_t>(t) + 1);
        double top = -1e30, total = 0;
        for (int32_t s = 0; s <= t; ++s) {
          double dot = 0;
          for (int32_t i = 0; i < head_dim; ++i) {
            dot += double{q[static_cast<size_t>((t * q_heads + h) * head_dim + i)]} *
                   k[static_cast<size_t>((g * tokens + s) * head_dim + i)];
          }
          p[static_cast<size_t>(s)] = dot * scale;
          top = std::max(top, p[static_cast<size_t>(s)]);
        }
        for (double& x : p) total += x = std::exp(x - top);
        for (int32_t s = 0; s <= t; ++s) {
          const double w = p[static_cast<size_t>(s)] / total;
          if (t >= sum_from && (own || s < t)) sums[static_cast<size_t>(h * tokens + s)] += w;
          for (int32_t i = 0; i < head_dim; ++i) {
            out[static_cast<size_t>((t * q_heads + h) * head_dim + i)] +=
                w * v[static_cast<size_t>((g * tokens + s) * head_dim + i)];
          }
        }
      }
    }
  }
};

Buffer Upload(Device& device, Stream& stream, const void* data, size_t bytes) {
  Buffer buffer = *device.Allocate(static_cast<int64_t>(bytes));
  stream.Copy(buffer.As<void>(), data, static_cast<int64_t>(bytes));
  return buffer;
}

// Keys and values in the run type, heads `capacity` tokens apart, with NaN where no token is.
Buffer UploadHeads(Device& device, Stream& stream, const Prompt& p, const std::vector<float>& x, int64_t capacity) {
  const int64_t row = p.head_dim;
  const int64_t elements = p.kv_heads * capacity * row;
  std::vector<float> wide(static_cast<size_t>(elements), NAN);
  for (int32_t h = 0; h < p.kv_heads; ++h) {
    std::copy_n(x.begin() + h * p.tokens * row, p.tokens * row, wide.begin() + h * capacity * row);
  }
  if (p.type == RunType::kF32) return Upload(device, stream, wide.data(), wide.size() * 4);
  std::vector<Bf16> narrow;
  for (const float value : wide) narrow.push_back(ToBf16(value));
  return Upload(device, stream, narrow.data(), narrow.size() * 2);
}

struct Result {
  std::vector<float> out, sums;
};

Result Attend(Device& device, const Prompt& p, int32_t tile, int32_t sum_from, bool own, bool with_sums = true) {
  auto stream = device.NewStream();
  const int64_t capacity = p.tokens + 7;
  Buffer q = Upload(device, *stream, p.q.data(), p.q.size() * 4);
  Buffer k = UploadHeads(device, *stream, p, p.k, capacity);
  Buffer v = UploadHeads(device, *stream, p, p.v, capacity);
  Buffer out = *device.Allocate(static_cast<int64_t>(p.q.size()) * 4);
  Buffer sums = *device.Allocate(int64_t{p.q_heads} * p.tokens * 4);
  stream->Fill(sums.As<void>(), 0, sums.bytes());
  Buffer scratch =
      *device.Allocate(PrefillAttentionScratchBytes(device, p.type, tile, p.tokens, p.q_heads, p.kv_heads, p.head_dim));
  const int64_t stride = int64_t{p.q_heads} * p.head_dim;
  int32_t packed = 0;
  for (int32_t first = 0; first < p.tokens; first += tile) {
    PrefillAttentionArgs args;
    args.run_type = p.type;
    args.q = q.As<float>(first * stride * 4);
    args.q_stride = stride;
    args.queries = std::min(tile, p.tokens - first);
    args.first_query = first;
    args.k = k.As<void>();
    args.v = v.As<void>();
    args.capacity = capacity;
    args.q_heads = p.q_heads;
    args.kv_heads = p.kv_heads;
    args.head_dim = p.head_dim;
    args.scale = 0.5f;
    args.out = out.As<float>(first * stride * 4);
    args.out_stride = stride;
    args.sums = with_sums ? sums.As<float>() : nullptr;
    args.sum_stride = p.tokens;
    args.sum_from = sum_from;
    args.sum_own_query = own;
    args.scratch = scratch.As<void>();
    args.scratch_keys = p.tokens;
    args.packed_keys = packed;
    PrefillAttention(*stream, args);
    packed = first + args.queries;
  }
  Result result{std::vector<float>(p.q.size()), std::vector<float>(static_cast<size_t>(p.q_heads * p.tokens))};
  stream->Copy(result.out.data(), out.As<void>(), out.bytes());
  stream->Copy(result.sums.data(), sums.As<void>(), sums.bytes());
  return result;
}

using Case = std::tuple<int32_t, int32_t, int32_t, int32_t, RunType>;  // tokens, q heads, kv heads, head_dim, type

class PrefillAttentionTest : public testing::TestWithParam<Case> {};

TEST_P(PrefillAttentionTest, MatchesTheReferenceInOneTileAndInMany) {
  const auto [tokens, q_heads, kv_heads, head_dim, type] = GetParam();
  const Prompt p(tokens, q_heads, kv_heads, head_dim, type);
  std::vector<double> out, sums;
  const int32_t from = tokens / 3;
  p.Reference(0.5f, from, false, out, sums);
  const auto device = CreateTestDevice(2);
  // Weights are rounded to the run type before they meet the values; sums are taken before that.
  const double tolerance = type == RunType::kBf16 ? 6e-3 : 2e-5;
  for (const int32_t tile : {tokens, 48}) {
    const Result result = Attend(*device, p, tile, from, false);
    for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(result.out[i], out[i], tolerance) << i << " tile " << tile;
    for (size_t i = 0; i < sums.size(); ++i)
      ASSERT_NEAR(result.sums[i], sums[i], 1e-4 * (1 + sums[i])) << i << " tile " << tile;
  }
}

INSTANTIATE_TEST_SUITE_P(OddSizes, PrefillAttentionTest,
                         testing::Values(Case{1, 1, 1, 32, RunType::kF32}, Case{2, 2, 1, 64, RunType::kBf16},
                                         Case{63, 3, 1, 64, RunType::kBf16}, Case{64, 4, 2, 64, RunType::kF32},
                                         Case{65, 2, 2, 40, RunType::kF32}, Case{129, 3, 3, 96, RunType::kBf16},
                                         Case{255, 2, 1, 128, RunType::kF32}, Case{256, 2, 2, 64, RunType::kBf16},
                                         Case{257, 6, 2, 64, RunType::kBf16}, Case{300, 2, 1, 256, RunType::kBf16}));

TEST(PrefillAttentionTest, AKeysOwnQueryCountsOnlyWhenAsked) {
  const Prompt p(70, 2, 1, 64, RunType::kF32);
  std::vector<double> out, with, without;
  p.Reference(0.5f, 6, true, out, with);
  p.Reference(0.5f, 6, false, out, without);
  const auto device = CreateTestDevice(2);
  const Result own = Attend(*device, p, 70, 6, true);
  const Result later = Attend(*device, p, 70, 6, false);
  for (size_t i = 0; i < with.size(); ++i) {
    ASSERT_NEAR(own.sums[i], with[i], 1e-4 * (1 + with[i]));
    ASSERT_NEAR(later.sums[i], without[i], 1e-4 * (1 + without[i]));
  }
}

TEST(PrefillAttentionTest, SumsAndThreadsDoNotChangeTheOutput) {
  const Prompt p(200, 6, 2, 64, RunType::kBf16);
  const auto one = CreateTestDevice(1);
  const auto three = CreateTestDevice(3);
  const Result a = Attend(*one, p, 200, 0, true, true);
  const Result b = Attend(*three, p, 200, 0, true, false);
  const Result c = Attend(*three, p, 200, 0, true, true);
  EXPECT_EQ(a.out, b.out);
  EXPECT_EQ(a.sums, c.sums);
}

TEST(PrefillAttentionTest, NoQueriesTouchNothing) {
  const auto device = CreateTestDevice(1);
  auto stream = device->NewStream();
  PrefillAttention(*stream, PrefillAttentionArgs{});
  EXPECT_TRUE(stream->Synchronize().ok());
}

}  // namespace
}  // namespace decant
