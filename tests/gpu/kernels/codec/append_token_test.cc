#include "gpu/kernels/codec/append_token.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "common/base/random.h"
#include "tests/gpu/kernels/codec/codec_case.h"
#include "tests/gpu/kernels/codec/codec_rig.h"
#include "tests/gpu/kernels/pages/page_rig.h"

namespace decant {
namespace {

using AppendTokenTest = CodecCase;
DECANT_ON_KERNEL_DEVICES(AppendTokenTest);

std::vector<float> TokenVector(int32_t n, int32_t layer, int32_t head, bool is_value) {
  std::vector<float> x(16);
  const auto seed = static_cast<uint64_t>(((n * 4 + layer) * 4 + head) * 2 + (is_value ? 1 : 0));
  for (size_t i = 0; i < x.size(); ++i) x[i] = UniformFloat(seed, i) * 2 - 1;
  return x;
}

TEST_P(AppendTokenTest, EveryFormatHoldsWhatWasAppended) {
  for (const FormatId id :
       {FormatId::kFullF32, FormatId::kFullBf16, FormatId::kK8V4, FormatId::kK4V2, FormatId::kTrackedF32,
        FormatId::kTrackedBf16, FormatId::kK4V4, FormatId::kTrackedK4V4, FormatId::kPlainK8V4, FormatId::kPlainK4V2,
        FormatId::kK4V8, FormatId::kK4V1, FormatId::kGroupK4V4, FormatId::kGroupK2V2}) {
    RigOptions options = NewOptions();
    options.geometry = Geometry{2, 2, 2, 16};
    options.high = id;
    options.low = FormatId::kNone;
    PageRig rig(options);
    const int32_t page_tokens = rig.arena().layouts[static_cast<int32_t>(id)].tokens;
    const int32_t steps = 2 * page_tokens + 1;
    for (int32_t n = 0; n < steps; ++n) {
      rig.Plan();
      rig.Append(
          [&](int32_t, int32_t layer, int32_t head, bool is_value) { return TokenVector(n, layer, head, is_value); });
      rig.Advance();
    }
    for (int32_t layer = 0; layer < 2; ++layer) {
      for (int32_t head = 0; head < 2; ++head) {
        const std::vector<StoredToken> tokens = rig.Tokens(0, layer, head, kHigh);
        ASSERT_EQ(tokens.size(), static_cast<size_t>(steps));
        for (int32_t n = 0; n < steps; ++n) {
          const StoredToken& token = tokens[static_cast<size_t>(n)];
          EXPECT_EQ(token.k, ScalarRoundTrip(TokenVector(n, layer, head, false).data(), 16, FormatOf(id).k));
          EXPECT_EQ(token.v, ScalarRoundTrip(TokenVector(n, layer, head, true).data(), 16, FormatOf(id).v));
          if (FormatOf(id).tracked) {
            EXPECT_EQ(token.position, n);
            EXPECT_EQ(token.score, 0);
          }
        }
      }
    }
  }
}

TEST_P(AppendTokenTest, DemotedTokenIsReencodedFromItsStoredForm) {
  RigOptions options = NewOptions();
  options.geometry = Geometry{1, 1, 1, 16};
  options.policy = OnlinePolicy::kDiffKvPaper;
  options.alpha_high = 50;  // everything that leaves the window goes low
  options.alpha_low = 0;
  options.window = 3;
  PageRig rig(options);
  for (int32_t n = 0; n < 10; ++n) {
    rig.Plan();
    rig.Append([&](int32_t, int32_t, int32_t head, bool is_value) { return TokenVector(n, 0, head, is_value); });
    rig.AddScores(0, 0, 0, [&](int32_t position) { return position == n ? 0.5f : 0.25f; });
    rig.Advance();
  }
  const std::vector<StoredToken> low = rig.Tokens(0, 0, 0, kLow);
  ASSERT_EQ(low.size(), 7u);
  for (int32_t n = 0; n < 7; ++n) {
    const StoredToken& token = low[static_cast<size_t>(n)];
    EXPECT_EQ(token.position, n);
    // The score went along, without the token's own query, and grew on.
    EXPECT_EQ(token.score, 0.25f * static_cast<float>(9 - n));
    const auto high_k = ScalarRoundTrip(TokenVector(n, 0, 0, false).data(), 16, Element::kAffine8);
    const auto high_v = ScalarRoundTrip(TokenVector(n, 0, 0, true).data(), 16, Element::kAffine4);
    EXPECT_EQ(token.k, ScalarRoundTrip(high_k.data(), 16, Element::kAffine4));
    EXPECT_EQ(token.v, ScalarRoundTrip(high_v.data(), 16, Element::kAffine2));
  }
  EXPECT_EQ(rig.Head(0, 0, 0).tokens[kHigh], 3);
}

// D13: positions in pages are true positions whatever the policy did.
TEST_P(AppendTokenTest, D13PositionsStayTrueUnderThePolicies) {
  for (const OnlinePolicy policy : {OnlinePolicy::kDiffKvPaper, OnlinePolicy::kDiffKvCode}) {
    RigOptions options = NewOptions();
    options.geometry = Geometry{1, 1, 1, 16};
    options.policy = policy;
    options.alpha_high = 1.2f;
    options.alpha_low = 0.4f;
    options.window = 4;
    PageRig rig(options);
    for (int32_t n = 0; n < 60; ++n) {
      rig.Plan();
      rig.Append([&](int32_t, int32_t, int32_t head, bool is_value) { return TokenVector(n, 0, head, is_value); });
      rig.AddScores(0, 0, 0, [&](int32_t position) {
        return UniformFloat(7, static_cast<uint64_t>(position)) * 2 / static_cast<float>(n + 1);
      });
      rig.Advance();
    }
    for (const int32_t tier : {kHigh, kLow}) {
      EXPECT_GT(rig.Tokens(0, 0, 0, tier).size(), 0u);
      for (const StoredToken& token : rig.Tokens(0, 0, 0, tier)) {
        // The stored vector says which token it is: nearer to it than to any other.
        int32_t nearest = -1;
        float least = 1e9f;
        for (int32_t n = 0; n < 60; ++n) {
          const std::vector<float> x = TokenVector(n, 0, 0, false);
          float distance = 0;
          for (size_t i = 0; i < 16; ++i) distance += (x[i] - token.k[i]) * (x[i] - token.k[i]);
          if (distance < least) least = distance, nearest = n;
        }
        EXPECT_EQ(token.position, nearest);
      }
    }
  }
}

}  // namespace
}  // namespace decant
