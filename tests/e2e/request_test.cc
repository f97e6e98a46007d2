// What a request gets from the four real processes when nothing fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/metrics/names.h"
#include "tests/e2e/cluster.h"

namespace decant {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr char kDocument[] =
    "The old lamp stood in the garden. The code of Alice is 48213. Bruno found a red kettle near the station. "
    "It was a quiet day and the harbor was warm. Nobody in the market had seen the green violin. "
    "The code of Greta is 70562. The tall ladder stood in the museum. Hugo carried a silver candle near the forest. "
    "It was a narrow day and the castle was old. Nobody in the village had seen the golden compass. "
    "The code of Jonas is 15938. Karin sold a purple blanket near the library. The small mirror stood in the kitchen. ";

std::string Ask(const std::string& who) {
  return absl::StrCat(kDocument, "Question: what is the code of ", who, "? Answer:");
}

class RequestTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto cluster = Cluster::Start({});
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = *std::move(cluster);
  }
  Generated Get(const v1::GenerateRequest& request) {
    auto generated = cluster_->Generate(request);
    EXPECT_TRUE(generated.ok()) << generated.status();
    return generated.ok() ? *std::move(generated) : Generated();
  }
  void WaitForChunks() {
    // Publishing is behind the answer; the next request is sent when the pool has the chunks.
    EXPECT_TRUE(WaitUntil([&] { return MetricSum(cluster_->pool.metrics, metric::kPoolChunks) > 0; }).ok());
  }
  std::unique_ptr<Cluster> cluster_;
};

TEST_F(RequestTest, APromptThatIsNotUtf8IsRefusedWithItsPlace) {
  for (const auto& [prompt, at] : {std::pair<std::string, int>{"abc\xff", 3},
                                   {"\xc3", 0},             // cut off
                                   {"ab\xed\xa0\x80", 2},   // a surrogate
                                   {"abcd\xc0\xaf", 4}}) {  // overlong
    const auto refused = cluster_->Generate(Request(prompt, "full", 1));
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument) << refused.status();
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr(absl::StrCat("not UTF-8 at byte ", at)));
  }
  EXPECT_EQ(Get(Request("caf\xc3\xa9", "full", 1)).finished.output_tokens(), 1);
}

TEST_F(RequestTest, FourProcessesAnswerInEveryProfile) {
  for (const std::string profile : {"full", "k8v4", "diffkv"}) {
    v1::GenerateRequest request = Request(Ask("Alice"), profile, 8);
    request.set_no_publish(true);
    const Generated generated = Get(request);
    EXPECT_THAT(generated.text, HasSubstr("48213")) << profile;
    EXPECT_EQ(generated.finished.profile(), profile);
    EXPECT_EQ(generated.finished.output_tokens(), 8);
    EXPECT_EQ(generated.tokens.size(), 8u);
    EXPECT_GT(generated.finished.kv().wire(), 0);
    EXPECT_GT(generated.finished.kv().resident(), 0);
    EXPECT_GT(generated.finished.kv().full(), 0);
    EXPECT_GT(generated.finished.ttft_ms(), 0);
    if (profile != "full") {
      EXPECT_LT(generated.finished.kv().wire(), generated.finished.kv().full()) << profile;
    }
  }
}

TEST_F(RequestTest, ASecondQuestionOnTheSameDocumentReusesItsPrefix) {
  const Generated first = Get(Request(Ask("Alice"), "k8v4", 8));
  EXPECT_EQ(first.finished.prefix_tokens_reused(), 0);
  WaitForChunks();
  const std::string prefill = cluster_->prefills[0].metrics;
  const double computed = MetricSum(prefill, metric::kPrefillTokensComputed);
  EXPECT_EQ(computed, first.finished.prompt_tokens());
  const Generated second = Get(Request(Ask("Greta"), "k8v4", 8));
  EXPECT_THAT(second.text, HasSubstr("70562"));
  const int32_t reused = second.finished.prefix_tokens_reused();
  EXPECT_GT(reused, 0);
  EXPECT_EQ(reused % 64, 0);
  EXPECT_EQ(MetricSum(prefill, metric::kPrefillTokensComputed) - computed, second.finished.prompt_tokens() - reused);
  EXPECT_EQ(MetricSum(prefill, metric::kPrefillTokensReused), reused);

  const auto why = ExplainOnce(cluster_->router.address, second.request_id);
  ASSERT_TRUE(why.ok()) << why.status();
  EXPECT_EQ(why->prefix_tokens_reused(), reused);
  EXPECT_EQ(why->tokens_computed(), second.finished.prompt_tokens() - reused);
  EXPECT_EQ(why->profile(), "k8v4");
  EXPECT_EQ(why->prefill_worker(), cluster_->prefills[0].address);
  EXPECT_EQ(why->decode_worker(), cluster_->decodes[0].address);
  EXPECT_GT(why->alternatives_size(), 0);
  EXPECT_GT(why->hops_size(), 0);
}

// To the token, because the cluster's workers run in f32.
TEST_F(RequestTest, AHitOnFullChunksGivesTheColdRun) {
  v1::GenerateRequest request = Request(Ask("Jonas"), "full", 24);
  request.set_no_publish(true);
  const Generated cold = Get(request);
  Get(Request(Ask("Alice"), "full", 1));
  WaitForChunks();
  const Generated hit = Get(request);
  EXPECT_GT(hit.finished.prefix_tokens_reused(), 0);
  EXPECT_THAT(hit.tokens, ElementsAreArray(cold.tokens));
  EXPECT_EQ(hit.finished.tiers().high(), cold.finished.tiers().high());
  EXPECT_EQ(hit.finished.kv().resident(), cold.finished.kv().resident());
}

// The plan says how many bytes will go to decode; what went is those and the link's own messages.
TEST_F(RequestTest, ThePlanForetellsTheBytesOfHitsAndColdRuns) {
  const auto foretold = [](const Generated& generated) {
    const std::string& reason = generated.finished.reason();
    const size_t end = reason.find(" bytes to decode");
    int64_t bytes = 0;
    EXPECT_NE(end, std::string::npos) << reason;
    if (end == std::string::npos) return bytes;
    const size_t begin = reason.rfind(' ', end - 1) + 1;
    EXPECT_TRUE(absl::SimpleAtoi(reason.substr(begin, end - begin), &bytes)) << reason;
    return bytes;
  };
  const auto expect_foretold = [&](const Generated& generated, const std::string& what) {
    const int64_t wire = generated.finished.kv().wire();
    EXPECT_GE(wire, foretold(generated)) << what;
    EXPECT_LT(wire, foretold(generated) + 4096) << what;
  };
  for (const std::string stored : {"full", "k8v4"}) {
    // A document of its own for each, which the other has not stored.
    expect_foretold(Get(Request(absl::StrCat(stored, ": ", Ask("Alice")), stored, 2)), stored);
    for (const std::string profile : {"full", "k8v4"}) {
      v1::GenerateRequest request = Request(absl::StrCat(stored, ": ", Ask("Greta")), profile, 2);
      request.set_no_publish(true);
      Generated hit;
      // Publishing is behind the answer.
      EXPECT_TRUE(WaitUntil([&] {
                    hit = Get(request);
                    return hit.finished.prefix_tokens_reused() > 0 || (profile == "full" && stored == "k8v4");
                  }).ok());
      expect_foretold(hit, profile + " over " + stored);
    }
  }
}

TEST_F(RequestTest, TheFloorDecidesTheProfile) {
  v1::GenerateRequest request = Request(Ask("Alice"), "", 4);
  request.set_no_publish(true);
  request.set_link_bits_per_s(1e6);  // so slow that only the floor speaks for full precision
  request.set_fidelity_floor(1);
  const Generated exact = Get(request);
  EXPECT_EQ(exact.finished.profile(), "full");
  request.set_fidelity_floor(0);
  const Generated cheap = Get(request);
  EXPECT_NE(cheap.finished.profile(), "full");
  EXPECT_NE(cheap.finished.reason(), "");
}

TEST_F(RequestTest, TheDeclaredLinkDecidesTheProfile) {
  v1::GenerateRequest request = Request(Ask("Alice"), "", 4);
  request.set_no_publish(true);
  request.set_fidelity_floor(0.5);
  request.set_link_bits_per_s(1e6);
  const Generated slow = Get(request);
  request.set_link_bits_per_s(1e12);
  const Generated fast = Get(request);
  EXPECT_NE(slow.finished.profile(), fast.finished.profile())
      << slow.finished.reason() << " | " << fast.finished.reason();
}

TEST_F(RequestTest, SeveralRequestsAtOnceGiveWhatTheyGiveAlone) {
  v1::GenerateRequest request = Request(Ask("Alice"), "diffkv", 24);
  request.set_no_publish(true);
  const Generated alone = Get(request);
  std::vector<Generated> together(4);
  std::vector<std::thread> clients;
  for (Generated& generated : together) clients.emplace_back([&] { generated = Get(request); });
  for (std::thread& client : clients) client.join();
  for (const Generated& generated : together) EXPECT_THAT(generated.tokens, ElementsAreArray(alone.tokens));
}

TEST_F(RequestTest, SamplingIsAFunctionOfTheSeed) {
  v1::GenerateRequest request = Request(Ask("Alice"), "k8v4", 24);
  request.set_no_publish(true);
  request.mutable_sampling()->set_temperature(1.5);
  request.mutable_sampling()->set_seed(7);
  const Generated first = Get(request);
  const Generated again = Get(request);
  request.mutable_sampling()->set_seed(8);
  const Generated other = Get(request);
  EXPECT_THAT(again.tokens, ElementsAreArray(first.tokens));
  EXPECT_NE(other.tokens, first.tokens);
}

TEST_F(RequestTest, BadRequestsGetAClearAnswerAndHarmNothing) {
  const auto code = [&](const v1::GenerateRequest& request) { return cluster_->Generate(request).status(); };
  EXPECT_EQ(code(Request("", "full", 4)).code(), absl::StatusCode::kInvalidArgument);
  v1::GenerateRequest request = Request("hello", "no such profile", 4);
  EXPECT_THAT(std::string(code(request).message()), HasSubstr("no such profile"));
  request = Request("hello", "", 4);
  request.set_fidelity_floor(1.5);
  EXPECT_EQ(code(request).code(), absl::StatusCode::kInvalidArgument);
  request = Request("hello", "k4v2", 4);
  request.set_fidelity_floor(1);
  EXPECT_FALSE(code(request).ok());  // a floor that the named profile does not meet
  request = Request("hello", "full", 4);
  request.mutable_token_ids()->add_ids(1 << 30);
  EXPECT_EQ(code(request).code(), absl::StatusCode::kInvalidArgument);
  std::string longer;
  for (int i = 0; i < 40; ++i) longer += kDocument;
  EXPECT_EQ(code(Request(longer, "full", 4)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Get(Request(Ask("Alice"), "full", 8)).text, HasSubstr("48213"));
}

}  // namespace
}  // namespace decant
