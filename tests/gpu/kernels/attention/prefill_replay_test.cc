// The replay's score in PrefillAttention: a cache with a tail apart, a softmax over some of the keys, largest values.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "gpu/kernels/attention/prefill_attention.h"
#include "tests/support/device_array.h"
#include "tests/support/kernel_devices.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

struct Case {
  RunType type = RunType::kF32;
  int32_t prompt = 1;
  int32_t repeat = 1;  // queries, and keys behind the prompt's
  int32_t sinks = 0;
  int32_t begin = 0;
  int32_t end = 1;
  int32_t tile = 1 << 20;
  int32_t q_heads = 1;
  int32_t kv_heads = 1;
  int32_t head_dim = 16;
  float sharpness = 3;
};

struct Input {
  explicit Input(const Case& c)
      : row(static_cast<size_t>(c.kv_heads * c.head_dim)),
        q(RandomFloats(static_cast<size_t>(c.repeat * c.q_heads * c.head_dim), 1)),
        k(RandomFloats(static_cast<size_t>(c.prompt + c.repeat) * row, 2)),
        v(RandomFloats(static_cast<size_t>(c.prompt + c.repeat) * row, 3)) {
    for (float& x : q) x *= c.sharpness;
  }
  size_t row;
  std::vector<float> q;  // [repeat, q_heads, head_dim]
  std::vector<float> k;  // [kv_heads, prompt + repeat, head_dim]
  std::vector<float> v;
};

// Heads' tokens [first, first + count), with `spare` unused rows behind them.
std::vector<float> Cut(const Case& c, const std::vector<float>& all, int32_t first, int32_t count, int32_t spare) {
  std::vector<float> part;
  for (int32_t h = 0; h < c.kv_heads; ++h) {
    const auto from = all.begin() + (h * (c.prompt + c.repeat) + first) * c.head_dim;
    part.insert(part.end(), from, from + count * c.head_dim);
    part.insert(part.end(), static_cast<size_t>(spare * c.head_dim), 99.0f);
  }
  return part;
}

double Score(const Case& c, const Input& in, int32_t query, int32_t head, int32_t key) {
  const int32_t kv_head = head / (c.q_heads / c.kv_heads);
  double score = 0;
  for (int32_t i = 0; i < c.head_dim; ++i) {
    const auto q_at = static_cast<size_t>((query * c.q_heads + head) * c.head_dim + i);
    const auto k_at = static_cast<size_t>((kv_head * (c.prompt + c.repeat) + key) * c.head_dim + i);
    score += static_cast<double>(Rounded(c.type, in.q[q_at])) * static_cast<double>(Rounded(c.type, in.k[k_at]));
  }
  return score / std::sqrt(c.head_dim);
}

std::vector<float> ReferencePeaks(const Case& c, const Input& in) {
  std::vector<float> peaks(static_cast<size_t>(c.kv_heads * c.prompt));
  for (int32_t query = 0; query < c.repeat; ++query) {
    for (int32_t head = 0; head < c.q_heads; ++head) {
      std::vector<int32_t> keys;
      for (int32_t key = 0; key <= c.prompt + query; ++key) {
        if (key < c.sinks || (key >= c.begin && key < c.end) || key >= c.prompt) keys.push_back(key);
      }
      std::vector<double> scores;
      for (const int32_t key : keys) scores.push_back(Score(c, in, query, head, key));
      const double top = *std::max_element(scores.begin(), scores.end());
      double total = 0;
      for (const double score : scores) total += std::exp(score - top);
      for (size_t i = 0; i < keys.size(); ++i) {
        if (keys[i] < c.begin || keys[i] >= c.end) continue;
        float& peak = peaks[static_cast<size_t>(head / (c.q_heads / c.kv_heads) * c.prompt + keys[i])];
        peak = std::max(peak, static_cast<float>(std::exp(scores[i] - top) / total));
      }
    }
  }
  return peaks;
}

struct Result {
  std::vector<float> out;
  std::vector<float> peaks;
};

// With the tail apart, and the prompt's keys left packed by an earlier repeat where `packed`.
Result Compute(Device& device, const Case& c, const Input& in, bool packed = false) {
  const auto stream = device.NewStream();
  const auto row = static_cast<size_t>(c.q_heads * c.head_dim);
  const DeviceArray<float> q(*stream, in.q);
  const DeviceArray<uint8_t> k(*stream, ToRunType(c.type, Cut(c, in.k, 0, c.prompt, 2)));
  const DeviceArray<uint8_t> v(*stream, ToRunType(c.type, Cut(c, in.v, 0, c.prompt, 2)));
  const DeviceArray<uint8_t> tail_k(*stream, ToRunType(c.type, Cut(c, in.k, c.prompt, c.repeat, 1)));
  const DeviceArray<uint8_t> tail_v(*stream, ToRunType(c.type, Cut(c, in.v, c.prompt, c.repeat, 1)));
  const DeviceArray<float> out(*stream, in.q.size());
  const DeviceArray<float> peaks(*stream, std::vector<float>(static_cast<size_t>(c.kv_heads * c.prompt)));
  const int32_t tile = std::min(c.tile, c.repeat);
  const int32_t keys = c.prompt + c.repeat;
  const DeviceArray<char> scratch(*stream, static_cast<size_t>(PrefillAttentionScratchBytes(
                                               device, c.type, tile, keys, c.q_heads, c.kv_heads, c.head_dim, 1)));
  for (int32_t pass = packed ? 0 : 1; pass < 2; ++pass) {
    for (int32_t first = 0; first < c.repeat; first += tile) {
      PrefillAttentionArgs args;
      args.run_type = c.type;
      args.q = q.data() + static_cast<size_t>(first) * row;
      args.q_stride = static_cast<int64_t>(row);
      args.queries = std::min(tile, c.repeat - first);
      args.first_query = c.prompt + first;
      args.k = k.data();
      args.v = v.data();
      args.capacity = c.prompt + 2;
      args.tail_k = tail_k.data();
      args.tail_v = tail_v.data();
      args.tail_capacity = c.repeat + 1;
      args.tail_from = c.prompt;
      args.q_heads = c.q_heads;
      args.kv_heads = c.kv_heads;
      args.head_dim = c.head_dim;
      args.scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
      args.out = out.data() + static_cast<size_t>(first) * row;
      args.out_stride = static_cast<int64_t>(row);
      args.replay = ReplayPeaks{peaks.data(), c.prompt, c.sinks, c.begin, c.end};
      args.scratch = scratch.data();
      args.scratch_keys = keys;
      args.packed_keys = first > 0 ? c.prompt + first : pass == 1 && packed ? c.prompt : 0;
      PrefillAttention(*stream, args);
    }
  }
  return Result{out.Read(), peaks.Read()};
}

// The same attention with all keys in one array and no replay.
std::vector<float> WholeAttention(Device& device, const Case& c, const Input& in) {
  const auto stream = device.NewStream();
  const DeviceArray<float> q(*stream, in.q);
  const DeviceArray<uint8_t> k(*stream, ToRunType(c.type, in.k));
  const DeviceArray<uint8_t> v(*stream, ToRunType(c.type, in.v));
  const DeviceArray<float> out(*stream, in.q.size());
  const int32_t keys = c.prompt + c.repeat;
  const DeviceArray<char> scratch(*stream, static_cast<size_t>(PrefillAttentionScratchBytes(
                                               device, c.type, c.repeat, keys, c.q_heads, c.kv_heads, c.head_dim, 0)));
  PrefillAttentionArgs args;
  args.run_type = c.type;
  args.q = q.data();
  args.q_stride = args.out_stride = c.q_heads * c.head_dim;
  args.queries = c.repeat;
  args.first_query = c.prompt;
  args.k = k.data();
  args.v = v.data();
  args.capacity = keys;
  args.q_heads = c.q_heads;
  args.kv_heads = c.kv_heads;
  args.head_dim = c.head_dim;
  args.scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  args.out = out.data();
  args.scratch = scratch.data();
  args.scratch_keys = keys;
  PrefillAttention(*stream, args);
  return out.Read();
}

void Check(Device& device, const Case& c) {
  SCOPED_TRACE(testing::Message() << (c.type == RunType::kBf16 ? "bf16 " : "f32 ") << c.prompt << " + " << c.repeat
                                  << ", sinks " << c.sinks << ", keys " << c.begin << " to " << c.end << ", tile "
                                  << c.tile);
  const Input in(c);
  const std::vector<float> wanted = ReferencePeaks(c, in);
  const Result found = Compute(device, c, in);
  for (size_t i = 0; i < wanted.size(); ++i) ASSERT_NEAR(found.peaks[i], wanted[i], 2e-5f) << i;
  EXPECT_EQ(Compute(device, c, in, true).out, found.out);
  const std::vector<float> whole = WholeAttention(device, c, in);
  for (size_t i = 0; i < whole.size(); ++i) ASSERT_NEAR(found.out[i], whole[i], 1e-5f) << i;
}

class PrefillReplayTest : public testing::TestWithParam<KernelDevice> {
 protected:
  bool on_host() const { return device_->kind() == DeviceKind::kHost; }

  const std::unique_ptr<Device> device_ = GetParam().create(int64_t{256} << 20);
};
DECANT_ON_KERNEL_DEVICES(PrefillReplayTest);

TEST_P(PrefillReplayTest, GivesTheLargestAttentionWithinTheSubset) {
  for (const RunType type : {RunType::kF32, RunType::kBf16}) {
    for (const int32_t repeat : {1, 31, 32, 33, 63, 64, 65, 70}) {
      for (const int32_t prompt : {1, 31, 32, 33, 63, 64, 65, 130}) {
        // The launcher is slow; its tiles are half as large.
        if (!on_host() && (repeat > 33 || prompt > 33) && (repeat != 64 || prompt != 130)) continue;
        Case c;
        c.type = type;
        c.prompt = prompt;
        c.repeat = repeat;
        c.end = prompt;
        c.q_heads = 4;
        c.kv_heads = 2;
        Check(*device_, c);
      }
    }
  }
}

TEST_P(PrefillReplayTest, ChunksMayLieAnywhereBehindTheSinks) {
  struct Range {
    int32_t sinks, begin, end;
  };
  const Range ranges[] = {{0, 0, 1},     {4, 4, 5},       {4, 4, 20},     {4, 63, 65}, {1, 64, 128},
                          {0, 511, 513}, {130, 140, 600}, {64, 512, 513}, {4, 4, 600}, {600, 600, 600}};
  for (const RunType type : {RunType::kF32, RunType::kBf16}) {
    for (const Range& range : ranges) {
      if (!on_host() && type == RunType::kBf16 && range.end > 100) continue;
      Case c;
      c.type = type;
      c.prompt = 600;
      c.repeat = 17;
      c.sinks = range.sinks;
      c.begin = range.begin;
      c.end = range.end;
      Check(*device_, c);
    }
  }
}

TEST_P(PrefillReplayTest, TilesOfQueriesMerge) {
  for (const int32_t tile : {1, 16, 31, 32, 33, 64, 100}) {
    if (!on_host() && tile < 31) continue;
    Case c;
    c.prompt = 90;
    c.repeat = 100;
    c.sinks = 2;
    c.begin = 30;
    c.end = 75;
    c.tile = tile;
    c.q_heads = 3;
    Check(*device_, c);
  }
}

TEST_P(PrefillReplayTest, IsExactWhereTheSubsetHasNextToNoneOfTheFullAttention) {
  // Nearly all of the full attention goes to a key outside of the subset, so that what the subset gets of it vanishes.
  Case c;
  c.prompt = 40;
  c.repeat = 3;
  c.begin = 10;
  c.end = 20;
  Input in(c);
  std::fill(in.q.begin(), in.q.end(), 30.0f);
  for (float& x : in.k) x -= 1;  // scores near -120
  std::fill_n(in.k.begin(), in.row, 5.0f);
  const std::vector<float> found = Compute(*device_, c, in).peaks;
  const std::vector<float> wanted = ReferencePeaks(c, in);
  float largest = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_NEAR(found[i], wanted[i], 1e-4f) << i;
    largest = std::max(largest, wanted[i]);
  }
  EXPECT_GT(largest, 0.01f);
}

TEST(PrefillReplayOnHostTest, GivesTheSameBitsForAnyNumberOfThreads) {
  Case c;
  c.type = RunType::kBf16;
  c.prompt = 300;
  c.repeat = 140;
  c.begin = 100;
  c.end = 203;
  c.tile = 100;
  c.q_heads = 6;
  c.kv_heads = 2;
  const Input in(c);
  const Result one = Compute(*CreateTestDevice(1), c, in);
  for (const int threads : {2, 5}) {
    const Result more = Compute(*CreateTestDevice(threads), c, in);
    EXPECT_EQ(more.out, one.out);
    EXPECT_EQ(more.peaks, one.peaks);
  }
}

}  // namespace
}  // namespace decant
