#include "common/policy/latency_model.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace decant {
namespace {

LatencyTerms Terms() {
  LatencyTerms terms;
  terms.layers = 10;
  terms.queue_s = 0.5;
  terms.compute_s = 2;
  terms.fetch_bytes = 1e6;
  terms.fetch_rate = 1e7;
  terms.encode_bytes = 4e7;
  terms.encode_rate = 1e9;
  terms.wire_bytes = 1e7;
  terms.link_rate = 1e8;
  terms.link_fixed_s = 0.001;
  terms.import_rate = 1e9;
  return terms;
}

TEST(LatencyModelTest, IsTheSerialSumForOneLayer) {
  LatencyTerms terms = Terms();
  terms.layers = 1;
  // queue and fetch run side by side.
  EXPECT_NEAR(PredictTtft(terms), 0.5 + 2 + 0.04 + 0.001 + 0.1 + 0.01, 1e-12);
  terms.queue_s = 0;
  EXPECT_NEAR(PredictTtft(terms), 0.1 + 2 + 0.04 + 0.001 + 0.1 + 0.01, 1e-12);
}

TEST(LatencyModelTest, HidesAFastLinkBehindCompute) {
  // Per layer 0.204 s of compute and encoding against 0.011 s of wire: only the last layer's wire and copy show.
  EXPECT_NEAR(PredictTtft(Terms()), 0.5 + 2.04 + 0.011 + 0.001, 1e-12);
}

TEST(LatencyModelTest, IsBoundByASlowLink) {
  LatencyTerms terms = Terms();
  terms.link_rate = 1e6;
  // 1.001 s of wire per layer, from the first layer's end on.
  EXPECT_NEAR(PredictTtft(terms), 0.5 + 0.204 + 10 * 1.001 + 0.001, 1e-12);
}

TEST(LatencyModelTest, IsBoundByASlowPool) {
  LatencyTerms terms = Terms();
  terms.fetch_rate = 1e5;  // 1 s per layer
  EXPECT_NEAR(PredictTtft(terms), 10 + 0.204 + 0.011 + 0.001, 1e-12);
}

TEST(LatencyModelTest, NothingLeavesBeforeAllStoredFramesAreThere) {
  LatencyTerms terms = Terms();
  terms.queue_s = 0;
  terms.compute_s = 0.1;
  terms.encode_bytes = 0;
  terms.fetch_rate = 1e6;  // 0.1 s per layer, 1 s in all
  terms.link_rate = 2e6;   // 0.501 s of wire per layer
  // Ten layers on the wire, the first from 1 s on, though it was computed after 0.11 s; then the copy of the last.
  EXPECT_NEAR(PredictTtft(terms), 1 + 10 * 0.501 + 0.001, 1e-12);
}

TEST(LatencyModelTest, APrefixIsExpandedInPrefillAndSettledInDecode) {
  LatencyTerms terms = Terms();
  const double before = PredictTtft(terms);
  terms.expand_s = 0.3;
  EXPECT_NEAR(PredictTtft(terms), before + 0.3, 1e-12);  // prefill is what everything waits for
  terms.settle_s = 0.7;
  EXPECT_NEAR(PredictTtft(terms), before + 1.0, 1e-12);
}

TEST(LatencyModelTest, TokensBehindALongContextTakeLonger) {
  EXPECT_EQ(ContextFactor(0, 500, 1000), 1);
  // Means of 950 and 500 tokens before each: (1 + 0.95) / (1 + 0.5).
  EXPECT_NEAR(ContextFactor(900, 100, 1000), 1.3, 1e-12);
  EXPECT_NEAR(ContextFactor(1e9, 1, 1000), 2, 1e-5);
}

TEST(LatencyModelTest, PipelinedCodecPaysAsLongAsItOutrunsTheLink) {
  // 400 MB in full precision; the codec halves it at S = 1e9. Serial B* = (1 - 1/2) * 1e9 = 5e8 bytes/s; over many
  // layers the limit is B = S (service-aware.md 1.3).
  const auto full = [](double rate, int32_t layers) {
    LatencyTerms terms;
    terms.layers = layers;
    terms.encode_rate = 1;  // nothing to encode
    terms.wire_bytes = 4e8;
    terms.link_rate = rate;
    terms.import_rate = std::numeric_limits<double>::infinity();
    return PredictTtft(terms);
  };
  const auto half = [](double rate, int32_t layers) {
    LatencyTerms terms;
    terms.layers = layers;
    terms.encode_bytes = 4e8;
    terms.encode_rate = 1e9;
    terms.wire_bytes = 2e8;
    terms.link_rate = rate;
    terms.import_rate = std::numeric_limits<double>::infinity();
    return PredictTtft(terms);
  };
  EXPECT_LT(half(4.9e8, 1), full(4.9e8, 1));
  EXPECT_GT(half(5.1e8, 1), full(5.1e8, 1));
  EXPECT_LT(half(9e8, 1000), full(9e8, 1000));
  EXPECT_GT(half(1.1e9, 1000), full(1.1e9, 1000));
}

TEST(LatencyModelTest, GrowsWithBytesAndFallsWithRates) {
  const double base = PredictTtft(Terms());
  LatencyTerms terms = Terms();
  for (double* more : {&terms.queue_s, &terms.compute_s, &terms.encode_bytes, &terms.wire_bytes, &terms.link_fixed_s}) {
    terms = Terms();
    *more *= 1.5;
    EXPECT_GT(PredictTtft(terms), base);
  }
  for (double* rate : {&terms.encode_rate, &terms.link_rate, &terms.import_rate}) {
    terms = Terms();
    *rate *= 1.5;
    EXPECT_LT(PredictTtft(terms), base);
  }
  EXPECT_EQ(PredictTtft(LatencyTerms{}), 0);
}

}  // namespace
}  // namespace decant
