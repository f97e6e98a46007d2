#include "services/router/request_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "tests/services/router/router_rig.h"

namespace decant {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

GenerateInput Text(std::string text) {
  GenerateInput input;
  input.text = std::move(text);
  return input;
}

absl::Status Check(GenerateInput input) { return PrepareRequest(LetterModel(), std::move(input)).status(); }

template <typename Change>
absl::Status CheckWith(Change change) {
  GenerateInput input = Text("hello");
  change(input.terms);
  return Check(std::move(input));
}

MATCHER_P2(Refused, code, message, "") {
  return arg.code() == code && ::testing::Matches(message)(std::string(arg.message()));
}
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(RequestCheckTest, TokenisesAndFillsInTheDefault) {
  const auto request = PrepareRequest(LetterModel(), Text("hello"));
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->prompt, LetterTokenizer::Ids("hello"));
  EXPECT_EQ(request->terms.max_tokens, 95);  // the model has 100 positions, the default is 256
}

TEST(RequestCheckTest, RefusesAnEmptyPrompt) {
  EXPECT_THAT(Check(Text("")), Refused(kInvalid, HasSubstr("empty")));
  EXPECT_THAT(Check(GenerateInput{}), Refused(kInvalid, HasSubstr("no tokens")));
}

TEST(RequestCheckTest, RefusesAPromptBeyondTheModelWithNumbers) {
  EXPECT_THAT(Check(Text(std::string(100, 'a'))), Refused(kInvalid, AllOf(HasSubstr("100 tokens"), HasSubstr("100"))));
  EXPECT_TRUE(Check(Text(std::string(99, 'a'))).ok());
}

TEST(RequestCheckTest, RefusesPromptAndAnswerBeyondTheModelWithNumbers) {
  EXPECT_THAT(CheckWith([](RequestTerms& terms) { terms.max_tokens = 96; }),
              Refused(kInvalid, AllOf(HasSubstr("5 tokens"), HasSubstr("101"), HasSubstr("at most 95"))));
  EXPECT_TRUE(CheckWith([](RequestTerms& terms) { terms.max_tokens = 95; }).ok());
  EXPECT_THAT(CheckWith([](RequestTerms& terms) { terms.max_tokens = -1; }), Refused(kInvalid, HasSubstr("-1")));
  EXPECT_THAT(CheckWith([](RequestTerms& terms) { terms.max_tokens = std::numeric_limits<int32_t>::max(); }),
              Refused(kInvalid, HasSubstr("max_tokens")));
}

TEST(RequestCheckTest, RefusesTextThatIsNotUtf8WithTheOffset) {
  for (const std::string bad :
       {"abc\xff", "abc\xc3", "abc\xed\xa0\x80", "abc\xc0\x80", "abc\xf5\x80\x80\x80", "abc\xe0\x80\x80", "abc\x80"}) {
    EXPECT_THAT(Check(Text(bad)), Refused(kInvalid, HasSubstr("byte 3"))) << bad;
  }
  EXPECT_TRUE(Check(Text("h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80")).ok());
}

TEST(RequestCheckTest, RefusesTokenIdsOutsideTheVocabulary) {
  GenerateInput input;
  input.token_ids = {0, 1023};
  EXPECT_TRUE(Check(input).ok());
  input.token_ids = {0, 1024};
  EXPECT_THAT(Check(input), Refused(kInvalid, AllOf(HasSubstr("token_ids[1]"), HasSubstr("1024"))));
  input.token_ids = {-1};
  EXPECT_THAT(Check(input), Refused(kInvalid, HasSubstr("-1")));
}

TEST(RequestCheckTest, NamesTheProfilesThereAre) {
  EXPECT_THAT(CheckWith([](RequestTerms& terms) { terms.profile = "zip"; }),
              Refused(absl::StatusCode::kNotFound, AllOf(HasSubstr("'zip'"), HasSubstr("diffkv, full, k4v2, k8v4"))));
}

TEST(RequestCheckTest, TakesAFloorFromZeroToOneOnly) {
  for (const double floor : {-0.1, 1.1, std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    EXPECT_THAT(CheckWith([floor](RequestTerms& terms) { terms.fidelity_floor = floor; }),
                Refused(kInvalid, HasSubstr("fidelity_floor")))
        << floor;
  }
  for (const double floor : {0.0, 0.5, 1.0}) {
    EXPECT_TRUE(CheckWith([floor](RequestTerms& terms) { terms.fidelity_floor = floor; }).ok());
  }
}

TEST(RequestCheckTest, RefusesAProfileThatTheFloorExcludes) {
  EXPECT_THAT(CheckWith([](RequestTerms& terms) {
                terms.fidelity_floor = 1;
                terms.profile = "k4v2";
              }),
              Refused(kInvalid, HasSubstr("full")));
}

TEST(RequestCheckTest, RefusesAbsurdSampling) {
  for (const double bad : {-1.0, std::nan(""), HUGE_VAL, 1e9}) {
    EXPECT_THAT(CheckWith([bad](RequestTerms& terms) { terms.sampling.temperature = bad; }),
                Refused(kInvalid, HasSubstr("temperature")));
  }
  EXPECT_THAT(CheckWith([](RequestTerms& terms) { terms.sampling.top_p = 1.5; }),
              Refused(kInvalid, HasSubstr("top_p")));
  EXPECT_THAT(CheckWith([](RequestTerms& terms) { terms.sampling.top_k = -3; }), Refused(kInvalid, HasSubstr("top_k")));
}

TEST(RequestCheckTest, RefusesBadSloLinkStopsAndIds) {
  EXPECT_THAT(CheckWith([](RequestTerms& terms) { terms.slo.ttft_ms = -1; }), Refused(kInvalid, HasSubstr("ttft")));
  EXPECT_THAT(CheckWith([](RequestTerms& terms) { terms.slo.tpot_ms = std::nan(""); }),
              Refused(kInvalid, HasSubstr("tpot")));
  EXPECT_THAT(CheckWith([](RequestTerms& terms) { terms.link_bits_per_s = -1; }),
              Refused(kInvalid, HasSubstr("link_bits_per_s")));
  EXPECT_THAT(CheckWith([](RequestTerms& terms) { terms.stop = {""}; }), Refused(kInvalid, HasSubstr("stop")));
  EXPECT_THAT(CheckWith([](RequestTerms& terms) { terms.stop = {"\xff"}; }), Refused(kInvalid, HasSubstr("UTF-8")));
  EXPECT_THAT(CheckWith([](RequestTerms& terms) { terms.stop.assign(17, "x"); }), Refused(kInvalid, HasSubstr("17")));
  EXPECT_THAT(CheckWith([](RequestTerms& terms) { terms.request_id = "a b"; }),
              Refused(kInvalid, HasSubstr("request_id")));
  EXPECT_THAT(CheckWith([](RequestTerms& terms) { terms.request_id = std::string(129, 'x'); }),
              Refused(kInvalid, HasSubstr("129")));
}

}  // namespace
}  // namespace decant
