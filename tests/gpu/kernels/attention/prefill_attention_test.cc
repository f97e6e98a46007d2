#include "gpu/kernels/attention/prefill_attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/device_array.h"
#include "tests/support/kernel_devices.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

struct Case {
  RunType type = RunType::kF32;
  int32_t keys = 1;  // all of them new unless first_query says otherwise
  int32_t first_query = 0;
  int32_t tile = 1 << 20;
  int32_t q_heads = 1;
  int32_t kv_heads = 1;
  int32_t head_dim = 64;
  int32_t sum_from = 0;
  bool sum_own_query = true;
};

struct Result {
  std::vector<float> out;   // [queries, q_heads, head_dim]
  std::vector<float> sums;  // [q_heads, keys]
};

struct Input {
  explicit Input(const Case& c)
      : queries(static_cast<size_t>(c.keys - c.first_query)),
        capacity(static_cast<size_t>(c.keys) + 3),
        q(RandomFloats(queries * static_cast<size_t>(c.q_heads * c.head_dim), 1)),
        k(RandomFloats(capacity * static_cast<size_t>(c.kv_heads * c.head_dim), 2)),
        v(RandomFloats(capacity * static_cast<size_t>(c.kv_heads * c.head_dim), 3)) {
    for (float& x : q) x *= 3;  // some attention is sharp
  }
  size_t queries;
  size_t capacity;
  std::vector<float> q;
  std::vector<float> k;
  std::vector<float> v;
};

Result Reference(const Case& c, const Input& in) {
  const auto d = static_cast<size_t>(c.head_dim);
  const auto heads = static_cast<size_t>(c.q_heads);
  const auto group = static_cast<size_t>(c.q_heads / c.kv_heads);
  const auto keys = static_cast<size_t>(c.keys);
  Result result{std::vector<float>(in.q.size()), std::vector<float>(heads * keys)};
  for (size_t query = 0; query < in.queries; ++query) {
    const size_t position = static_cast<size_t>(c.first_query) + query;
    for (size_t h = 0; h < heads; ++h) {
      const size_t at = (h / group) * in.capacity * d;
      std::vector<double> p(position + 1);
      double total = 0;
      for (size_t key = 0; key <= position; ++key) {
        double score = 0;
        for (size_t i = 0; i < d; ++i) {
          score += static_cast<double>(Rounded(c.type, in.q[(query * heads + h) * d + i])) *
                   static_cast<double>(Rounded(c.type, in.k[at + key * d + i]));
        }
        p[key] = std::exp(score / std::sqrt(c.head_dim));
        total += p[key];
      }
      for (size_t i = 0; i < d; ++i) {
        double sum = 0;
        for (size_t key = 0; key <= position; ++key) {
          sum += p[key] / total * static_cast<double>(Rounded(c.type, in.v[at + key * d + i]));
        }
        result.out[(query * heads + h) * d + i] = static_cast<float>(sum);
      }
      if (position < static_cast<size_t>(c.sum_from)) continue;
      for (size_t key = 0; key < (c.sum_own_query ? position + 1 : position); ++key) {
        result.sums[h * keys + key] += static_cast<float>(p[key] / total);
      }
    }
  }
  return result;
}

using Sources = std::vector<std::pair<int32_t, bool>>;  // sum_from, sum_own_query

struct Results {
  std::vector<float> out;
  std::vector<std::vector<float>> sums;  // of every source
};

Results ComputeAll(Device& device, const Case& c, const Input& in, const Sources& sources) {
  const auto stream = device.NewStream();
  const auto row = static_cast<size_t>(c.q_heads * c.head_dim);
  const DeviceArray<float> q(*stream, in.q);
  const DeviceArray<uint8_t> k(*stream, ToRunType(c.type, in.k));
  const DeviceArray<uint8_t> v(*stream, ToRunType(c.type, in.v));
  const DeviceArray<float> out(*stream, in.q.size());
  std::vector<DeviceArray<float>> sums;
  for (size_t s = 0; s < sources.size(); ++s) {
    sums.emplace_back(*stream, std::vector<float>(static_cast<size_t>(c.q_heads * c.keys)));
  }
  const auto queries = static_cast<int32_t>(in.queries);
  const int32_t tile = std::min(c.tile, queries);
  const auto signals = static_cast<int32_t>(sources.size());
  const DeviceArray<char> scratch(
      *stream, static_cast<size_t>(PrefillAttentionScratchBytes(device, c.type, tile, c.keys, c.q_heads, c.kv_heads,
                                                                c.head_dim, signals)));
  for (int32_t first = 0; first < queries; first += tile) {
    PrefillAttentionArgs args;
    args.run_type = c.type;
    args.q = q.data() + static_cast<size_t>(first) * row;
    args.q_stride = static_cast<int64_t>(row);
    args.queries = std::min(tile, queries - first);
    args.first_query = c.first_query + first;
    args.k = k.data();
    args.v = v.data();
    args.capacity = static_cast<int64_t>(in.capacity);
    args.q_heads = c.q_heads;
    args.kv_heads = c.kv_heads;
    args.head_dim = c.head_dim;
    args.scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
    args.out = out.data() + static_cast<size_t>(first) * row;
    args.out_stride = static_cast<int64_t>(row);
    for (const auto& [from, own] : sources) {
      const size_t s = static_cast<size_t>(args.sum_count++);
      args.sums[s] = AttentionSums{sums[s].data(), from, own};
    }
    args.sum_stride = c.keys;
    args.scratch = scratch.data();
    args.scratch_keys = c.keys;
    args.packed_keys = first == 0 ? 0 : c.first_query + first;
    PrefillAttention(*stream, args);
  }
  Results results{out.Read(), {}};
  for (const DeviceArray<float>& s : sums) results.sums.push_back(s.Read());
  return results;
}

Result Compute(Device& device, const Case& c, const Input& in) {
  Results results = ComputeAll(device, c, in, {{c.sum_from, c.sum_own_query}});
  return Result{std::move(results.out), std::move(results.sums[0])};
}

void Check(Device& device, const Case& c) {
  SCOPED_TRACE(testing::Message() << (c.type == RunType::kBf16 ? "bf16 " : "f32 ") << c.keys << " keys, queries from "
                                  << c.first_query << ", tile " << c.tile << ", heads " << c.q_heads << "/"
                                  << c.kv_heads << " of " << c.head_dim);
  const Input in(c);
  const Result wanted = Reference(c, in);
  const Result found = Compute(device, c, in);
  const float tolerance = c.type == RunType::kF32 ? 2e-5f : 1e-2f;
  for (size_t i = 0; i < wanted.out.size(); ++i) ASSERT_NEAR(found.out[i], wanted.out[i], tolerance) << i;
  // Sums add up f32 probabilities in either run type.
  for (size_t i = 0; i < wanted.sums.size(); ++i) {
    ASSERT_NEAR(found.sums[i], wanted.sums[i], 2e-5f * (1 + wanted.sums[i])) << i;
  }
  EXPECT_EQ(ComputeAll(device, c, in, {}).out, found.out);
}

class PrefillAttentionTest : public testing::TestWithParam<KernelDevice> {
 protected:
  bool on_host() const { return device_->kind() == DeviceKind::kHost; }
  // The launcher is slow: it takes every second of many sizes.
  bool Skips(size_t number) const { return !on_host() && number % 2 != 0; }

  const std::unique_ptr<Device> device_ = GetParam().create(int64_t{256} << 20);
};
DECANT_ON_KERNEL_DEVICES(PrefillAttentionTest);

TEST_P(PrefillAttentionTest, IsExactAtOddSizes) {
  const auto& device = device_;
  for (const RunType type : {RunType::kF32, RunType::kBf16}) {
    for (const int32_t keys : {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200}) {
      for (const int32_t head_dim : {8, 32, 48, 64, 72, 128, 136, 256}) {
        if (!on_host() && keys > 65 && head_dim != 64) continue;
        Case c;
        c.type = type;
        c.keys = keys;
        c.head_dim = head_dim;
        c.q_heads = 3;
        Check(*device, c);
      }
    }
  }
}

TEST(PrefillAttentionOnHostTest, CrossesPanelsOfKeysAndSmallerTilesOfLongPrompts) {
  const auto device = CreateTestDevice(3);
  for (const RunType type : {RunType::kF32, RunType::kBf16}) {
    // From 2048 and 4096 keys on the tiles have fewer rows.
    for (const int32_t keys : {511, 512, 513, 576, 1100, 2049, 4097}) {
      Case c;
      c.type = type;
      c.keys = keys;
      c.first_query = keys < 2000 ? 0 : keys - 70;
      c.head_dim = 16;
      Check(*device, c);
    }
  }
}

TEST_P(PrefillAttentionTest, TilesAndReusedPrefixesAddUp) {
  const auto& device = device_;
  for (const RunType type : {RunType::kF32, RunType::kBf16}) {
    for (const int32_t tile : {1, 7, 64, 65, 100}) {
      if (!on_host() && tile < 7) continue;
      for (const int32_t first_query : {0, 1, 63, 64, 65, 149}) {
        if (Skips(static_cast<size_t>(first_query))) continue;
        Case c;
        c.type = type;
        c.keys = 150;
        c.first_query = first_query;
        c.tile = tile;
        c.q_heads = 4;
        c.kv_heads = 2;
        c.head_dim = 32;
        c.sum_from = first_query;
        Check(*device, c);
      }
    }
  }
}

TEST_P(PrefillAttentionTest, SumsFromAQueryOnWithOrWithoutTheOwnOne) {
  const auto& device = device_;
  for (const int32_t sum_from : {0, 1, 64, 100, 149, 150}) {
    for (const bool own : {false, true}) {
      Case c;
      c.keys = 150;
      c.tile = 40;
      c.q_heads = 2;
      c.head_dim = 16;
      c.sum_from = sum_from;
      c.sum_own_query = own;
      Check(*device, c);
    }
  }
}

TEST_P(PrefillAttentionTest, CollectsSeveralSumsInOnePass) {
  const auto& device = device_;
  const Sources sources = {{0, false}, {90, true}, {0, true}, {149, true}, {85, false}};
  for (const RunType type : {RunType::kF32, RunType::kBf16}) {
    Case c;
    c.type = type;
    c.keys = 150;
    c.tile = 64;
    c.q_heads = 4;
    c.kv_heads = 2;
    const Input in(c);
    const std::vector<std::vector<float>> all = ComputeAll(*device, c, in, sources).sums;
    for (size_t s = 0; s < sources.size(); ++s) {
      std::tie(c.sum_from, c.sum_own_query) = sources[s];
      EXPECT_EQ(all[s], Compute(*device, c, in).sums) << s;
    }
  }
}

TEST(PrefillAttentionOnHostTest, GivesTheSameBitsForAnyNumberOfThreads) {
  Case c;
  c.type = RunType::kBf16;
  c.keys = 333;
  c.tile = 200;
  c.q_heads = 6;
  c.kv_heads = 2;
  const Input in(c);
  const Result one = Compute(*CreateTestDevice(1), c, in);
  for (const int threads : {2, 5}) {
    const Result more = Compute(*CreateTestDevice(threads), c, in);
    EXPECT_EQ(more.out, one.out);
    EXPECT_EQ(more.sums, one.sums);
  }
}

}  // namespace
}  // namespace decant
