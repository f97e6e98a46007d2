#include "gpu/kernels/codec/settle_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "common/base/random.h"
#include "common/compress/arith/observations.h"
#include "tests/gpu/kernels/codec/codec_case.h"
#include "tests/gpu/kernels/codec/codec_rig.h"
#include "tests/gpu/kernels/pages/page_rig.h"

namespace decant {
namespace {

constexpr Geometry kGeometry{2, 4, 2, 16};

class SettleRowsTest : public CodecCase {
 protected:
  static RigOptions PaperOptions() {
    RigOptions options = NewOptions();
    options.geometry = kGeometry;
    options.page_count = 400;
    options.capacity = 60;
    options.policy = OnlinePolicy::kDiffKvPaper;
    options.alpha_high = 1.0f;
    options.alpha_low = 0.3f;
    options.window = 6;
    return options;
  }
};
DECANT_ON_KERNEL_DEVICES(SettleRowsTest);

std::vector<float> TokenVector(int32_t n, int32_t layer, int32_t head, bool is_value) {
  std::vector<float> x(static_cast<size_t>(kGeometry.head_dim));
  const auto seed = static_cast<uint64_t>(((n * 4 + layer) * 4 + head) * 2 + (is_value ? 1 : 0));
  for (size_t i = 0; i < x.size(); ++i) x[i] = UniformFloat(seed, i) * 2 - 1;
  return x;
}

// `tokens` tokens, all high: appended while no policy runs.
class Prompt {
 public:
  Prompt(const RigOptions& options, int32_t tokens) : options_(options), rig(options) {
    SetPolicy(OnlinePolicy::kNone);
    for (int32_t n = 0; n < tokens; ++n) {
      rig.Plan();
      rig.Append(
          [&](int32_t, int32_t layer, int32_t head, bool is_value) { return TokenVector(n, layer, head, is_value); });
      rig.Advance();
    }
    SetPolicy(options.policy);
  }

  void SetPolicy(OnlinePolicy policy) {
    SequenceRows rows;
    rig.stream().Copy(&rows, rig.rows(), sizeof(rows));
    rows.policy = policy;
    rig.stream().Copy(const_cast<SequenceRows*>(rig.rows()), &rows, sizeof(rows));
  }

  void AddScores(uint64_t seed, float scale) {
    ForHeads([&](int32_t layer, int32_t head) {
      rig.AddScores(0, layer, head, [&](int32_t position) {
        return UniformFloat(seed + static_cast<uint64_t>(layer * 7 + head), static_cast<uint64_t>(position)) * scale;
      });
    });
  }

  template <typename Body>
  void ForHeads(const Body& body) {
    for (int32_t layer = 0; layer < options_.geometry.layers; ++layer) {
      for (int32_t head = 0; head < options_.geometry.kv_heads; ++head) body(layer, head);
    }
  }

  // Demoted and dropped.
  std::vector<int64_t> Settle(Allocation allocation) {
    Device& device = rig.stream().device();
    SettleRowsArgs args;
    args.arena = rig.arena();
    args.ring = rig.ring();
    args.rows = rig.rows();
    args.allocation = allocation;
    args.source = SourceOf(options_.policy);
    args.high = options_.high;
    args.low = options_.low;
    ForHeads([&](int32_t layer, int32_t head) {
      args.most_high_tokens = std::max(args.most_high_tokens, rig.Head(0, layer, head).tokens[kHigh]);
    });
    const Buffer scratch =
        *device.Allocate(SettleRowsScratchBytes(device, options_.geometry, options_.low, args.most_high_tokens));
    const Buffer out = *device.Allocate(24);
    rig.stream().Fill(out.As<void>(), 0, 24);
    args.scratch = scratch.As<void>();
    args.moved = out.As<int64_t>();
    args.error = out.As<int32_t>(16);
    SettleRows(rig.stream(), args);
    std::vector<int64_t> moved(3);
    rig.stream().Copy(moved.data(), out.As<void>(), 24);
    error = moved[2] != 0;
    moved.pop_back();
    return moved;
  }

 private:
  const RigOptions options_;

 public:
  PageRig rig;
  bool error = false;
};

void ExpectSame(const std::vector<StoredToken>& actual, const std::vector<StoredToken>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_EQ(actual[i].position, expected[i].position) << i;
    EXPECT_EQ(actual[i].score, expected[i].score) << i;
    EXPECT_EQ(actual[i].k, expected[i].k) << i;
    EXPECT_EQ(actual[i].v, expected[i].v) << i;
  }
}

// The tiers of one head by the plain rule, one token after the other.
struct Settled {
  std::vector<StoredToken> high;
  std::vector<StoredToken> low;
  int64_t dropped = 0;
};

Settled SettlePlainly(const RigOptions& options, int32_t length, const std::vector<StoredToken>& high,
                      std::vector<StoredToken> low) {
  const bool paper = options.policy == OnlinePolicy::kDiffKvPaper;
  Settled settled;
  settled.low = std::move(low);
  for (StoredToken token : high) {
    const int32_t passed = length - std::max(token.position, options.first_query);
    const int32_t seen = length - std::max(token.position + (paper ? 1 : 0), options.first_query);
    const float mean = seen > 0 ? token.score / static_cast<float>(seen) : 0;
    const auto over = static_cast<float>(paper ? token.position + 1 : length);
    if (passed < options.window || length - token.position <= options.window || mean >= options.alpha_high / over) {
      settled.high.push_back(token);
    } else if (mean < options.alpha_low / over && (!paper || 2 * seen >= length - token.position - 1)) {
      ++settled.dropped;
    } else {
      token.k = ScalarRoundTrip(token.k.data(), options.geometry.head_dim, FormatOf(options.low).k);
      token.v = ScalarRoundTrip(token.v.data(), options.geometry.head_dim, FormatOf(options.low).v);
      settled.low.push_back(token);
    }
  }
  return settled;
}

int64_t PagesOfCounts(const std::vector<int64_t>& counts) { return counts[3] + counts[4] + counts[5]; }

void ExpectSettlesPlainly(const RigOptions& options, int32_t tokens) {
  SCOPED_TRACE(testing::Message() << tokens << " tokens, first query " << options.first_query << ", threads "
                                  << options.threads);
  Prompt prompt(options, tokens);
  prompt.AddScores(5, 2.0f);
  std::vector<Settled> expected;
  int64_t low = 0;
  int64_t dropped = 0;
  prompt.ForHeads([&](int32_t layer, int32_t head) {
    expected.push_back(SettlePlainly(options, tokens, prompt.rig.Tokens(0, layer, head, kHigh), {}));
    low += static_cast<int64_t>(expected.back().low.size());
    dropped += expected.back().dropped;
  });
  const bool paper = options.policy == OnlinePolicy::kDiffKvPaper;
  const auto moved = prompt.Settle(paper ? Allocation::kThresholdByPosition : Allocation::kThresholdByLength);
  EXPECT_FALSE(prompt.error);
  EXPECT_EQ(moved, (std::vector<int64_t>{low, dropped}));
  size_t index = 0;
  prompt.ForHeads([&](int32_t layer, int32_t head) {
    ExpectSame(prompt.rig.Tokens(0, layer, head, kHigh), expected[index].high);
    ExpectSame(prompt.rig.Tokens(0, layer, head, kLow), expected[index].low);
    const HeadState state = prompt.rig.Head(0, layer, head);
    for (const int32_t tier : {kHigh, kLow}) {
      const FormatId id = tier == kHigh ? options.high : options.low;
      const int32_t per_page = prompt.rig.arena().layouts[static_cast<int32_t>(id)].tokens;
      EXPECT_EQ(state.pages[tier], (state.tokens[tier] + per_page - 1) / per_page);
    }
    ++index;
  });
  EXPECT_EQ(prompt.rig.FreePages() + PagesOfCounts(prompt.rig.Counts(0)), options.page_count);
  prompt.rig.Release(0);
  std::vector<int32_t> ids = prompt.rig.FreeIds();
  std::sort(ids.begin(), ids.end());
  ASSERT_EQ(ids.size(), static_cast<size_t>(options.page_count));
  for (int32_t id = 0; id < options.page_count; ++id) EXPECT_EQ(ids[static_cast<size_t>(id)], id);
}

TEST_P(SettleRowsTest, FollowsThePlainPolicyAtOddSizes) {
  for (const OnlinePolicy policy : {OnlinePolicy::kDiffKvPaper, OnlinePolicy::kDiffKvCode}) {
    RigOptions options = PaperOptions();
    options.policy = policy;
    const int32_t page_tokens = FitLayout(options.high, kGeometry.head_dim, options.page_bytes).tokens;
    for (const int32_t tokens : {0, 1, 6, 7, page_tokens - 1, page_tokens, page_tokens + 1, 97}) {
      if (!GetParam().large_cases && tokens > page_tokens + 1) continue;
      for (const int32_t first_query : {0, tokens / 2}) {
        options.first_query = first_query;
        ExpectSettlesPlainly(options, tokens);
      }
    }
  }
}

TEST_P(SettleRowsTest, ThreadsChangeNothingNotEvenTheRing) {
  std::vector<std::vector<int32_t>> rings;
  for (const int threads : {1, 3, 16}) {
    RigOptions options = PaperOptions();
    options.threads = threads;
    // The first is the host's, whatever device the others are on.
    if (threads == 1 || GetParam().name == "Host") options.device = nullptr;
    ExpectSettlesPlainly(options, 90);
    Prompt prompt(options, 90);
    prompt.AddScores(5, 2.0f);
    const auto moved = prompt.Settle(Allocation::kThresholdByPosition);
    EXPECT_GT(moved[0], 0);
    EXPECT_GT(moved[1], 0);
    rings.push_back(prompt.rig.FreeIds());
  }
  EXPECT_EQ(rings[0], rings[1]);
  EXPECT_EQ(rings[0], rings[2]);
}

TEST_P(SettleRowsTest, FewerObservationsThanTheWindowMoveNothing) {
  RigOptions options = PaperOptions();
  options.first_query = 60 - options.window + 1;
  options.alpha_high = 1e6f;
  Prompt prompt(options, 60);
  const auto free = prompt.rig.FreeIds();
  EXPECT_EQ(prompt.Settle(Allocation::kThresholdByPosition), (std::vector<int64_t>{0, 0}));
  EXPECT_EQ(prompt.rig.FreeIds(), free);
  EXPECT_EQ(prompt.rig.Head(0, 0, 0).tokens[kHigh], 60);

  options.first_query = 60 - options.window;
  Prompt enough(options, 60);
  EXPECT_GT(enough.Settle(Allocation::kThresholdByPosition)[0], 0);
}

// A short question behind a long reused prefix once pruned most of it: the few queries look elsewhere.
TEST_P(SettleRowsTest, AShortSuffixDemotesAReusedPrefixButPrunesLittleOfIt) {
  RigOptions options = PaperOptions();
  options.alpha_high = 2e6f;
  options.alpha_low = 1e6f;  // nothing is good enough
  for (const int32_t suffix : {options.window, 10, 45}) {
    if (!GetParam().large_cases && suffix != 10) continue;
    options.first_query = 100 - suffix;
    Prompt prompt(options, 100);
    prompt.AddScores(5, 1.0f);
    // One token of the prefix more than there are queries behind it, and of the suffix all but the window.
    const int32_t pruned = std::min(suffix + 1, 100 - suffix) + suffix - options.window;
    EXPECT_EQ(prompt.Settle(Allocation::kThresholdByPosition),
              (std::vector<int64_t>{4 * (100 - options.window - pruned), 4 * pruned}))
        << suffix;
  }
}

TEST_P(SettleRowsTest, EverythingButTheWindowMayBePruned) {
  RigOptions options = PaperOptions();
  options.alpha_high = 2e6f;
  options.alpha_low = 1e6f;
  Prompt prompt(options, 100);
  prompt.AddScores(5, 1.0f);
  EXPECT_EQ(prompt.Settle(Allocation::kThresholdByPosition), (std::vector<int64_t>{0, 4 * (100 - options.window)}));
  prompt.ForHeads([&](int32_t layer, int32_t head) {
    const auto high = prompt.rig.Tokens(0, layer, head, kHigh);
    ASSERT_EQ(high.size(), static_cast<size_t>(options.window));
    for (int32_t i = 0; i < options.window; ++i) EXPECT_EQ(high[static_cast<size_t>(i)].position, 94 + i);
    EXPECT_EQ(prompt.rig.Head(0, layer, head).pages[kHigh], 1);
  });
}

// Rows whose tiers obey the thresholds, those of a prompt that was not reused, are not touched.
TEST_P(SettleRowsTest, SettlingTwiceIsSettlingOnce) {
  Prompt prompt(PaperOptions(), 100);
  prompt.AddScores(5, 2.0f);
  EXPECT_GT(prompt.Settle(Allocation::kThresholdByPosition)[0], 0);
  const auto free = prompt.rig.FreeIds();
  std::vector<std::vector<StoredToken>> before;
  prompt.ForHeads([&](int32_t layer, int32_t head) {
    for (const int32_t tier : {kHigh, kLow}) before.push_back(prompt.rig.Tokens(0, layer, head, tier));
  });
  EXPECT_EQ(prompt.Settle(Allocation::kThresholdByPosition), (std::vector<int64_t>{0, 0}));
  EXPECT_EQ(prompt.rig.FreeIds(), free);
  size_t index = 0;
  prompt.ForHeads([&](int32_t layer, int32_t head) {
    for (const int32_t tier : {kHigh, kLow}) ExpectSame(prompt.rig.Tokens(0, layer, head, tier), before[index++]);
  });
}

// A low tier that already holds tokens grows behind them, and the rows step on as if they had always been so.
TEST_P(SettleRowsTest, LowTokensGoBehindThoseThatAreThere) {
  const RigOptions options = PaperOptions();
  Prompt prompt(options, 60);
  prompt.AddScores(5, 2.0f);
  prompt.Settle(Allocation::kThresholdByPosition);
  prompt.SetPolicy(OnlinePolicy::kNone);
  for (int32_t n = 60; n < 90; ++n) {
    prompt.rig.Plan();
    prompt.rig.Append(
        [&](int32_t, int32_t layer, int32_t head, bool is_value) { return TokenVector(n, layer, head, is_value); });
    prompt.rig.Advance();
  }
  prompt.SetPolicy(options.policy);
  prompt.AddScores(9, 0.7f);
  std::vector<Settled> expected;
  prompt.ForHeads([&](int32_t layer, int32_t head) {
    expected.push_back(
        SettlePlainly(options, 90, prompt.rig.Tokens(0, layer, head, kHigh), prompt.rig.Tokens(0, layer, head, kLow)));
  });
  EXPECT_GT(prompt.Settle(Allocation::kThresholdByPosition)[0], 0);
  size_t index = 0;
  prompt.ForHeads([&](int32_t layer, int32_t head) {
    ExpectSame(prompt.rig.Tokens(0, layer, head, kHigh), expected[index].high);
    ExpectSame(prompt.rig.Tokens(0, layer, head, kLow), expected[index++].low);
  });
  for (int32_t n = 90; n < 110; ++n) {
    prompt.rig.Plan();
    prompt.rig.Append(
        [&](int32_t, int32_t layer, int32_t head, bool is_value) { return TokenVector(n, layer, head, is_value); });
    prompt.rig.Advance();
  }
  EXPECT_FALSE(prompt.rig.TookError());
  EXPECT_EQ(prompt.rig.FreePages() + PagesOfCounts(prompt.rig.Counts(0)), options.page_count);
}

// Pages that do not suffice are the caller's bug: it is told and no token is lost.
TEST_P(SettleRowsTest, AHeadWithoutPagesStaysAsItWas) {
  RigOptions options = PaperOptions();
  options.geometry = Geometry{1, 1, 1, 16};
  options.alpha_high = 1e6f;
  options.alpha_low = 0;
  const int32_t page_tokens = FitLayout(options.high, 16, options.page_bytes).tokens;
  options.window = page_tokens - 1;
  options.page_count = 1;
  options.capacity = 2;
  Prompt prompt(options, page_tokens);
  EXPECT_EQ(prompt.Settle(Allocation::kThresholdByPosition), (std::vector<int64_t>{0, 0}));
  EXPECT_TRUE(prompt.error);
  EXPECT_EQ(prompt.rig.Head(0, 0, 0).tokens[kHigh], page_tokens);
}

}  // namespace
}  // namespace decant
