// What only the launcher can tell of the attention kernels: both ways of computing a tile, and what they ask of memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "gpu/kernels/attention/decode_attention_cuda.h"
#include "gpu/kernels/attention/decode_split.h"
#include "gpu/kernels/attention/prefill_attention.h"
#include "gpu/kernels/attention/prefill_cuda.h"
#include "tests/gpu/kernels/attention/paged_batch.h"
#include "tests/support/device_array.h"
#include "tests/support/launcher/launcher_device.h"

namespace decant {
namespace {

constexpr double kTolerance = 4e-5;  // that of every way to compute decode attention

TestSequence Uniform(FormatId format, int32_t tokens, OnlinePolicy policy = OnlinePolicy::kNone) {
  TestSequence sequence;
  sequence.formats[kHigh] = format;
  sequence.tokens = {{tokens, 0, 0, 0}};
  sequence.policy = policy;
  return sequence;
}

class DecodePathTest : public testing::TestWithParam<DecodePath> {
 protected:
  double Difference(const Geometry& geometry, const std::vector<TestSequence>& sequences, int64_t page_bytes = 8192) {
    PagedBatch batch(*device_, geometry, page_bytes, sequences, 7);
    const std::vector<float> expected = batch.Reference();
    const std::vector<float> actual = batch.Attend(
        [](Stream& stream, const DecodeAttentionArgs& args) { DecodeAttentionCuda(stream, args, GetParam()); });
    double largest = batch.LargestScoreDifference();
    for (size_t i = 0; i < actual.size(); ++i) {
      const double difference = std::abs(static_cast<double>(actual[i]) - expected[i]);
      if (!(difference <= largest)) largest = std::isnan(difference) ? INFINITY : difference;
    }
    return largest;
  }

  const std::unique_ptr<LauncherDevice> device_ = CreateLauncherDevice();
};

TEST_P(DecodePathTest, EqualsTheReferenceInEveryFormatHeadDimAndGroup) {
  for (const FormatId format :
       {FormatId::kFullF32, FormatId::kFullBf16, FormatId::kK8V4, FormatId::kK4V2, FormatId::kK4V8, FormatId::kK4V1,
        FormatId::kGroupK4V4, FormatId::kGroupK2V2, FormatId::kIndexedBf16}) {
    const int64_t page_bytes = FormatOf(format).statistics ? 40960 : 8192;
    for (const int32_t head_dim : {40, 64, 96, 128, 256}) {
      for (const int32_t group : {1, 4, 5, 8}) {
        if (head_dim != 64 && group != 4) continue;
        EXPECT_LT(Difference(Geometry{1, 2 * group, 2, head_dim}, {Uniform(format, 61)}, page_bytes), kTolerance)
            << "format " << static_cast<int>(format) << " head_dim " << head_dim << " group " << group;
      }
    }
  }
}

TEST_P(DecodePathTest, EqualsTheReferenceAtOddCountsInMixedAndSplitRows) {
  for (const int32_t tokens : {1, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 200}) {
    TestSequence tiers;
    tiers.formats = {FormatId::kK8V4, FormatId::kK4V2, FormatId::kFullBf16};
    tiers.tokens = {{tokens, 2 * tokens, tokens / 2, 0}};
    tiers.policy = OnlinePolicy::kDiffKvPaper;
    tiers.key_forms = {KeyForm{1, 6, 0}, KeyForm{1, 4, 1}, KeyForm{0, 0, 0}, KeyForm{}};
    TestSequence split;
    split.formats = {FormatId::kChannelK2, FormatId::kGroupV2, FormatId::kFullK16, FormatId::kFullV16};
    const int32_t in_window = tokens % 32;
    split.tokens = {{tokens - in_window, tokens - std::min(tokens, 32), in_window, std::min(tokens, 32)}};
    split.policy = OnlinePolicy::kFreeze;
    split.window = 32;
    EXPECT_LT(Difference(Geometry{1, 8, 2, 64}, {tiers, split}), kTolerance) << tokens;
    EXPECT_LT(Difference(Geometry{1, 8, 1, 64}, {split, tiers}), kTolerance) << tokens << ", group 8";
  }
}

INSTANTIATE_TEST_SUITE_P(Paths, DecodePathTest, testing::Values(DecodePath::kPlain, DecodePath::kTensor));

// A replay's peaks, sums of two sources and outputs, of queries behind `first_query` keys, from position `tail_from` on
// apart.
struct PrefillCase {
  int32_t first_query = 0;
  int32_t queries = 1;
  int32_t head_dim = 64;
  bool output = true;
};

struct PrefillResult {
  std::vector<float> out;
  std::vector<float> sums;
  std::vector<float> later_sums;
  std::vector<float> peaks;
};

PrefillResult PrefillOnPath(Device& device, const PrefillCase& c, PrefillPath path) {
  constexpr int32_t kHeads = 4;
  constexpr int32_t kKvHeads = 2;
  const int32_t keys = c.first_query + c.queries;
  const int32_t tail_from = c.first_query;
  const auto stream = device.NewStream();
  const auto row = size_t{kHeads} * static_cast<size_t>(c.head_dim);
  const auto count = static_cast<size_t>(c.queries);
  std::vector<float> sharp = RandomFloats(count * row, 1);
  for (float& x : sharp) x *= 3;
  const size_t cached = size_t{kKvHeads} * static_cast<size_t>((tail_from + 1) * c.head_dim);
  const size_t apart = size_t{kKvHeads} * static_cast<size_t>((c.queries + 2) * c.head_dim);
  const auto bf16 = [](size_t size, uint64_t seed) { return ToRunType(RunType::kBf16, RandomFloats(size, seed)); };
  const DeviceArray<float> q(*stream, sharp);
  const DeviceArray<uint8_t> k(*stream, bf16(cached, 2));
  const DeviceArray<uint8_t> v(*stream, bf16(cached, 3));
  const DeviceArray<uint8_t> tail_k(*stream, bf16(apart, 4));
  const DeviceArray<uint8_t> tail_v(*stream, bf16(apart, 5));
  const DeviceArray<float> out(*stream, std::vector<float>(count * row, 7.0f));
  const auto sum_count = size_t{kHeads} * static_cast<size_t>(keys);
  const DeviceArray<float> sums(*stream, std::vector<float>(sum_count, 1.0f));
  const DeviceArray<float> later_sums(*stream, std::vector<float>(sum_count));
  const DeviceArray<float> peaks(*stream, std::vector<float>(size_t{kKvHeads} * static_cast<size_t>(keys)));
  const DeviceArray<char> scratch(*stream, static_cast<size_t>(PrefillAttentionCudaScratchBytes(c.queries, kHeads)));
  PrefillAttentionArgs args;
  args.q = q.data();
  args.q_stride = args.out_stride = static_cast<int64_t>(row);
  args.queries = c.queries;
  args.first_query = c.first_query;
  args.scratch_keys = keys;
  args.k = k.data();
  args.v = v.data();
  args.capacity = tail_from + 1;
  args.tail_k = tail_k.data();
  args.tail_v = tail_v.data();
  args.tail_capacity = c.queries + 2;
  args.tail_from = tail_from;
  args.q_heads = kHeads;
  args.kv_heads = kKvHeads;
  args.head_dim = c.head_dim;
  args.scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  args.out = c.output ? out.data() : nullptr;
  args.sums[0] = AttentionSums{sums.data(), 0, true};
  args.sums[1] = AttentionSums{later_sums.data(), c.first_query + c.queries / 2, false};
  args.sum_count = 2;
  args.sum_stride = keys;
  args.replay = ReplayPeaks{peaks.data(), keys, std::min(4, tail_from / 4), tail_from / 3, tail_from - tail_from / 5};
  args.scratch = scratch.data();
  PrefillAttentionCuda(*stream, args, path);
  return {out.Read(), sums.Read(), later_sums.Read(), peaks.Read()};
}

void ExpectNear(const std::vector<float>& found, const std::vector<float>& wanted, float tolerance, const char* what) {
  ASSERT_EQ(found.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_NEAR(found[i], wanted[i], tolerance * (1 + std::abs(wanted[i]))) << what << " " << i;
  }
}

// Plain tiles are tested against the scalar reference in prefill_attention_test; these have the same scores, and
// weights that are rounded to bf16 before they meet the values.
class PrefillPathTest : public testing::TestWithParam<launcher::WarpOrder> {
 protected:
  std::unique_ptr<LauncherDevice> NewDevice() const {
    LauncherOptions options;
    options.order = GetParam();
    return CreateLauncherDevice(options);
  }
};
INSTANTIATE_TEST_SUITE_P(Orders, PrefillPathTest,
                         testing::Values(launcher::WarpOrder::kForward, launcher::WarpOrder::kReverse,
                                         launcher::WarpOrder::kRandom));

TEST_P(PrefillPathTest, TensorCoresGiveWhatPlainTilesGive) {
  const auto device = NewDevice();
  for (const int32_t head_dim : {64, 96, 128, 256}) {
    for (const auto& [first_query, queries] :
         std::vector<std::pair<int32_t, int32_t>>{{0, 1}, {0, 17}, {63, 2}, {64, 64}, {31, 65}, {130, 15}, {1, 130}}) {
      if (head_dim != 64 && first_query + queries > 100) continue;
      if (GetParam() != launcher::WarpOrder::kForward && (queries != 65 || head_dim > 64)) continue;
      SCOPED_TRACE(testing::Message() << "head_dim " << head_dim << ", " << queries << " queries from " << first_query);
      const PrefillCase c{first_query, queries, head_dim, true};
      const PrefillResult plain = PrefillOnPath(*device, c, PrefillPath::kPlain);
      const PrefillResult tensor = PrefillOnPath(*device, c, PrefillPath::kTensor);
      ExpectNear(tensor.out, plain.out, 3e-3f, "out");
      ExpectNear(tensor.sums, plain.sums, 2e-5f, "sums");
      ExpectNear(tensor.later_sums, plain.later_sums, 2e-5f, "later sums");
      ExpectNear(tensor.peaks, plain.peaks, 2e-5f, "peaks");
      PrefillCase signals = c;
      signals.output = false;
      const PrefillResult only = PrefillOnPath(*device, signals, PrefillPath::kTensor);
      EXPECT_EQ(only.out, std::vector<float>(only.out.size(), 7.0f));
      EXPECT_EQ(only.sums, tensor.sums);
    }
  }
}

TEST(PrefillPathOnGpuTest, OnlyWhatFitsGoesToTensorCores) {
  PrefillAttentionArgs args;
  args.q_stride = args.out_stride = 512;
  for (const int32_t head_dim : {32, 40, 64, 80, 96, 128, 160, 256}) {
    args.head_dim = head_dim;
    args.run_type = RunType::kBf16;
    EXPECT_EQ(PrefillFitsTensorCores(args), head_dim == 64 || head_dim == 96 || head_dim == 128 || head_dim == 256);
    args.run_type = RunType::kF32;
    EXPECT_FALSE(PrefillFitsTensorCores(args));
  }
}

struct Traffic {
  double sectors = 0;  // per request, over what its bytes would fill
  double bytes = 0;    // moved, over the least that there is to move
};

Traffic TrafficOf(const launcher::AccessCounts& counts, int64_t least_bytes) {
  const auto sectors = static_cast<double>(counts.reads.sectors + counts.writes.sectors);
  const auto ideal = static_cast<double>(counts.reads.ideal_sectors + counts.writes.ideal_sectors);
  return {sectors / ideal, static_cast<double>(counts.reads.moved_bytes() + counts.writes.moved_bytes()) /
                               static_cast<double>(least_bytes)};
}

// The least: keys, values and their pairs once; the queries of every split, and its output out and in again; where
// scores are kept a score in and out, and the group's logits out and in again, since what they are divided by is known
// when the last token was read.
TEST(DecodeTrafficTest, MovesLittleMoreThanThePagesHold) {
  constexpr int32_t kGroup = 4;
  constexpr int32_t kKvHeads = 2;
  for (const int32_t head_dim : {64, 128}) {
    for (const OnlinePolicy policy : {OnlinePolicy::kNone, OnlinePolicy::kDiffKvPaper}) {
      LauncherOptions options;
      options.record = true;
      const auto device = CreateLauncherDevice(options);
      TestSequence sequence;
      sequence.formats = {FormatId::kK8V4, FormatId::kK4V2};
      sequence.tokens = {{820, 3276, 0, 0}};
      sequence.policy = policy;
      const FormatId formats[] = {FormatId::kK8V4, FormatId::kK4V2};
      PagedBatch batch(*device, Geometry{1, kGroup * kKvHeads, kKvHeads, head_dim},
                       ChoosePageBytes(head_dim, formats, 2, 4096), {sequence}, 7);
      device->recorder().Clear();
      batch.Attend();
      const int64_t tokens = 820 + 3276;
      const int64_t splits = DecodeSplits(kKvHeads, tokens);
      int64_t least = batch.bytes_read()[0] + (3 * splits + 1) * kKvHeads * kGroup * head_dim * 4;
      if (policy != OnlinePolicy::kNone) least += kKvHeads * tokens * (8 + 8 * kGroup);
      const Traffic traffic = TrafficOf(device->recorder().Total(), least);
      EXPECT_LE(traffic.sectors, 1.1) << "head_dim " << head_dim << " policy " << static_cast<int>(policy);
      EXPECT_LE(traffic.bytes, 1.1) << "head_dim " << head_dim << " policy " << static_cast<int>(policy);
    }
  }
}

// D9: the released prefill kept scores of [q_heads, 64, context] floats, 1.07 GB a sequence at 128K, and a softmax
// whose one program held a whole row.
TEST(PrefillTrafficTest, D9ScratchDoesNotGrowWithTheContext) {
  const auto device = CreateLauncherDevice();
  const auto bytes = [&device](int32_t keys) {
    return PrefillAttentionScratchBytes(*device, RunType::kBf16, 64, keys, 32, 8, 128, 2);
  };
  EXPECT_EQ(bytes(131072), bytes(64));
  EXPECT_LE(bytes(131072), int64_t{64} * 32 * 16);
}

// Keys and values are read again by every tile of queries, which a cache is there for: what counts is the footprint.
TEST(PrefillTrafficTest, ReadsKeysValuesAndQueriesInWholeSectors) {
  constexpr int32_t kTokens = 200;
  constexpr int32_t kHeads = 2;
  constexpr int32_t kHeadDim = 64;
  LauncherOptions options;
  options.record = true;
  const auto device = CreateLauncherDevice(options);
  const auto stream = device->NewStream();
  constexpr size_t kElements = size_t{kTokens} * kHeads * kHeadDim;
  const std::vector<float> x = RandomFloats(kElements, 1);
  const DeviceArray<float> q(*stream, x);
  const DeviceArray<uint8_t> k(*stream, ToRunType(RunType::kBf16, x));
  const DeviceArray<uint8_t> v(*stream, ToRunType(RunType::kBf16, x));
  const DeviceArray<float> out(*stream, kElements);
  const DeviceArray<char> scratch(
      *stream, static_cast<size_t>(PrefillAttentionScratchBytes(*device, RunType::kBf16, kTokens, kTokens, kHeads,
                                                                kHeads, kHeadDim, 0)));
  PrefillAttentionArgs args;
  args.q = q.data();
  args.q_stride = args.out_stride = kHeads * kHeadDim;
  args.queries = args.scratch_keys = kTokens;
  args.k = k.data();
  args.v = v.data();
  args.capacity = kTokens;
  args.q_heads = args.kv_heads = kHeads;
  args.head_dim = kHeadDim;
  args.scale = 0.125f;
  args.out = out.data();
  args.scratch = scratch.data();
  for (const PrefillPath path : {PrefillPath::kPlain, PrefillPath::kTensor}) {
    device->recorder().Clear();
    PrefillAttentionCuda(*stream, args, path);
    const launcher::AccessCounts counts = device->recorder().Total();
    EXPECT_LE(TrafficOf(counts, 1).sectors, 1.1);
    const auto least = static_cast<double>(kElements * (4 + 2 + 2 + 4) + size_t{kTokens} * kHeads * 16);
    EXPECT_LE(static_cast<double>(counts.reads.footprint + counts.writes.footprint) / least, 1.1);
  }
}

}  // namespace
}  // namespace decant
