// Quest's bounds and choice as kernels, on the launcher whatever there is: beside sums in double precision and a sort.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "common/base/half.h"
#include "common/base/random.h"
#include "gpu/kernels/attention/block_choice.h"
#include "gpu/kernels/attention/block_choice_cuda.h"
#include "tests/support/device_array.h"
#include "tests/support/launcher/launcher_device.h"

namespace decant {
namespace {

using launcher::WarpOrder;

constexpr int32_t kKvHeads = 2;
constexpr int32_t kGroup = 3;

struct Case {
  int32_t head_dim;
  int32_t tokens;
  int32_t read;
};

// The statistics of every block of a head: smallest and largest of each channel.
struct Statistics {
  std::vector<Bf16> entries;  // [blocks, 2, head_dim]
};

Statistics RandomStatistics(const Case& test, uint64_t seed, bool ties) {
  Statistics statistics;
  const int32_t blocks = BlocksOf(test.tokens);
  for (int32_t block = 0; block < blocks; ++block) {
    // Every second block is that before it once more.
    const uint64_t draw = seed + static_cast<uint64_t>(ties ? block / 2 : block) * 1000;
    for (const float end : {0.0f, 1.0f}) {
      for (int32_t i = 0; i < test.head_dim; ++i) {
        statistics.entries.push_back(ToBf16(UniformFloat(draw, static_cast<uint64_t>(i)) * 2 - 2 + 2 * end));
      }
    }
  }
  return statistics;
}

double BoundOf(const Case& test, const Statistics& statistics, int32_t block, const float* q) {
  double most = -INFINITY;
  const Bf16* const ends = statistics.entries.data() + int64_t{2} * block * test.head_dim;
  for (int32_t h = 0; h < kGroup; ++h) {
    double sum = 0;
    for (int32_t i = 0; i < test.head_dim; ++i) {
      const double x = q[h * test.head_dim + i];
      sum += x * ToFloat(ends[x > 0 ? test.head_dim + i : i]);
    }
    most = std::max(most, sum);
  }
  return most;
}

// All but the last by their bounds, equal ones the earlier first, ascending; and the last.
std::vector<int32_t> BestOf(const float* bounds, int32_t blocks, int32_t read) {
  std::vector<int32_t> order(static_cast<size_t>(blocks - 1));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [bounds](int32_t a, int32_t b) { return bounds[a] > bounds[b]; });
  order.resize(static_cast<size_t>(read - 1));
  std::sort(order.begin(), order.end());
  order.push_back(blocks - 1);
  return order;
}

void ExpectChoice(const Case& test, WarpOrder warp_order, bool ties) {
  LauncherOptions options;
  options.order = warp_order;
  options.arena_bytes = int64_t{64} << 20;
  const auto device = CreateLauncherDevice(options);
  const auto stream = device->NewStream();
  DecodeAttentionArgs args;
  args.arena.geometry = Geometry{1, kKvHeads * kGroup, kKvHeads, test.head_dim};
  args.arena.page_bytes = 40960;
  const PageLayout layout = FitLayout(FormatId::kIndexedBf16, test.head_dim, args.arena.page_bytes);
  args.arena.layouts[static_cast<int32_t>(FormatId::kIndexedBf16)] = layout;
  const int32_t pages = (test.tokens + layout.tokens - 1) / layout.tokens;
  args.arena.page_count = pages * kKvHeads;
  std::vector<uint8_t> memory(static_cast<size_t>(args.arena.page_bytes * args.arena.page_count));
  std::vector<Statistics> statistics;
  std::vector<HeadState> states(kKvHeads);
  std::vector<int32_t> ids(static_cast<size_t>(args.arena.page_count));
  for (int32_t head = 0; head < kKvHeads; ++head) {
    states[static_cast<size_t>(head)].tokens[kHigh] = test.tokens;
    states[static_cast<size_t>(head)].pages[kHigh] = pages;
    // Pages in reverse, so that ids matter.
    for (int32_t page = 0; page < pages; ++page) {
      ids[static_cast<size_t>(head * pages + RowPlace(states[static_cast<size_t>(head)], pages, kHigh, page))] =
          args.arena.page_count - 1 - (head * pages + page);
    }
    statistics.push_back(RandomStatistics(test, static_cast<uint64_t>(head + 1) << 32, ties));
    const int64_t entry = int64_t{4} * test.head_dim;
    for (int32_t block = 0; block < BlocksOf(test.tokens); ++block) {
      const int32_t slot = block * kStatisticsBlock;
      const int64_t id = args.arena.page_count - 1 - (head * pages + slot / layout.tokens);
      const int64_t at =
          id * args.arena.page_bytes + layout.statistics + slot % layout.tokens / kStatisticsBlock * entry;
      std::memcpy(memory.data() + at, statistics.back().entries.data() + int64_t{2} * block * test.head_dim,
                  static_cast<size_t>(entry));
    }
  }
  const DeviceArray<uint8_t> device_memory(*stream, memory);
  const DeviceArray<HeadState> device_states(*stream, states);
  const DeviceArray<int32_t> device_ids(*stream, ids);
  SequenceRows row;
  row.heads = device_states.data();
  row.page_ids = device_ids.data();
  row.capacity = pages;
  row.formats[kHigh] = FormatId::kIndexedBf16;
  row.read.tokens = test.read;
  const DeviceArray<SequenceRows> rows(*stream, std::vector<SequenceRows>{row});
  std::vector<float> q = RandomFloats(static_cast<size_t>(kKvHeads * kGroup * test.head_dim), 9);
  const DeviceArray<float> device_q(*stream, q);
  args.arena.pages = device_memory.data();
  args.rows = rows.data();
  args.sequences = 1;
  args.q = device_q.data();
  args.q_stride = static_cast<int64_t>(q.size());
  const int32_t blocks = std::max(BlocksOf(test.tokens), 1);
  const DeviceArray<float> bounds(*stream, static_cast<size_t>(kKvHeads * blocks));
  const DeviceArray<int32_t> chosen(*stream, static_cast<size_t>(kKvHeads * blocks));
  const DeviceArray<int32_t> counts(*stream, std::vector<int32_t>(kKvHeads, -1));
  ChooseBlocksCuda(*stream, args, BlockLists{bounds.data(), chosen.data(), counts.data(), blocks});
  const std::vector<float> found = bounds.Read();
  const std::vector<int32_t> lists = chosen.Read();
  for (int32_t head = 0; head < kKvHeads; ++head) {
    const int32_t count = counts.Read()[static_cast<size_t>(head)];
    if (!ChoosesBlocks(row, states[static_cast<size_t>(head)], 0)) {
      EXPECT_EQ(count, 0);
      continue;
    }
    ASSERT_EQ(count, BlocksRead(row));
    const float* const own = found.data() + head * blocks;
    for (int32_t block = 0; block + 1 < blocks; ++block) {
      const float* const queries = q.data() + head * kGroup * test.head_dim;
      const double bound = BoundOf(test, statistics[static_cast<size_t>(head)], block, queries);
      EXPECT_NEAR(own[block], bound, 1e-5 * std::sqrt(test.head_dim) * std::max(1.0, std::abs(bound)));
    }
    const auto first = lists.begin() + head * blocks;
    EXPECT_EQ(std::vector<int32_t>(first, first + count), BestOf(own, blocks, count))
        << test.tokens << " tokens, " << test.read << " read";
  }
}

TEST(BlockChoiceKernelTest, ChoosesTheBestAtOddSizes) {
  for (const WarpOrder order : {WarpOrder::kForward, WarpOrder::kReverse, WarpOrder::kRandom}) {
    for (const int32_t tokens : {0, 1, 16, 17, 65, 300}) {
      for (const int32_t read : {1, 32, 64}) ExpectChoice({40, tokens, read}, order, tokens == 65);
    }
  }
}

// More blocks than a block of bounds takes, and than the choice looks at at once; ties across the cut.
TEST(BlockChoiceKernelTest, ChoosesTheBestOfMany) {
  for (const int32_t head_dim : {64, 128, 256}) ExpectChoice({head_dim, 2047, 512}, WarpOrder::kForward, true);
  ExpectChoice({64, 257 * kStatisticsBlock + 1, 1600}, WarpOrder::kForward, true);
}

}  // namespace
}  // namespace decant
