#include "services/router/kv_hints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace decant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const std::string kHex(64, 'a');

HintAction ActionOf(const std::string& type, const std::string& payload) {
  const auto envelope = ParseHints(
      absl::StrCat(R"({"protocol_version": "0.1", "message_id": "m", "actions": [{"action_id": "a", "action_type": ")",
                   type, R"(", "action_version": "0.1", "payload": )", payload, "}]}"));
  EXPECT_TRUE(envelope.ok()) << envelope.status();
  if (!envelope.ok() || envelope->actions.size() != 1) return {};
  return envelope->actions[0];
}

TEST(KvHintsTest, ReadsEveryAction) {
  const HintAction retain =
      ActionOf("kv.retain", R"({"text": "hi", "priority": 80, "ttl_seconds": 2.5, "scope": "x"})");
  EXPECT_EQ(retain.refusal, "");
  EXPECT_EQ(retain.verb, HintVerb::kRetain);
  EXPECT_EQ(retain.action_type, "kv.retain");
  EXPECT_EQ(*retain.text, "hi");
  EXPECT_EQ(retain.priority, 80);
  EXPECT_EQ(retain.duration, absl::Milliseconds(2500));
  EXPECT_EQ(ActionOf("retain", R"({"text": "hi", "priority": 0, "duration_ms": 7})").duration, absl::Milliseconds(7));

  const HintAction prefetch =
      ActionOf("kv.prefetch", R"({"token_ids": [1, 2, 3], "deadline_ms": 50, "expires_at_ms": 1000})");
  EXPECT_EQ(prefetch.verb, HintVerb::kPrefetch);
  EXPECT_THAT(prefetch.token_ids, ElementsAre(1, 2, 3));
  EXPECT_EQ(prefetch.deadline, absl::Milliseconds(50));
  EXPECT_EQ(*prefetch.expires, absl::FromUnixSeconds(1));

  const HintAction demote = ActionOf("demote", absl::StrCat(R"({"keys": [")", kHex, R"("]})"));
  EXPECT_EQ(demote.verb, HintVerb::kDemote);
  EXPECT_THAT(demote.keys, SizeIs(1));
  EXPECT_EQ(demote.keys[0].Hex(), kHex);

  EXPECT_FALSE(ActionOf("release", R"({"text": "hi"})").drop);
  EXPECT_TRUE(ActionOf("release", R"({"text": "hi", "drop": true})").drop);
  EXPECT_TRUE(ActionOf("kv.evict", R"({"text": "hi"})").drop);
  EXPECT_EQ(ActionOf("compress", R"({"text": "hi", "profile": "k4v2"})").profile, "k4v2");
}

TEST(KvHintsTest, OneWrongActionIsItsOwnAffair) {
  const auto refusal = [](const std::string& type, const std::string& payload) {
    return ActionOf(type, payload).refusal;
  };
  EXPECT_THAT(refusal("kv.fetch", R"({"text": "hi"})"), HasSubstr("retain, prefetch"));
  EXPECT_THAT(refusal("retain", R"({"text": "hi", "duration_ms": 7})"), HasSubstr("'priority' is missing"));
  EXPECT_THAT(refusal("retain", R"({"text": "hi", "priority": 101, "duration_ms": 7})"), HasSubstr("101"));
  EXPECT_THAT(refusal("retain", R"({"text": "hi", "priority": 1.5, "duration_ms": 7})"), HasSubstr("1.5"));
  EXPECT_THAT(refusal("retain", R"({"text": "hi", "priority": 1})"), HasSubstr("for ever"));
  EXPECT_THAT(refusal("retain", R"({"text": "hi", "priority": 1, "duration_ms": 1e300})"), HasSubstr("duration_ms"));
  EXPECT_THAT(refusal("retain", R"({"text": "hi", "priority": 1, "duration_ms": -1})"), HasSubstr("above 0"));
  EXPECT_THAT(refusal("demote", "{}"), HasSubstr("names 0 of text"));
  EXPECT_THAT(refusal("demote", R"({"text": "hi", "token_ids": [1]})"), HasSubstr("names 2 of text"));
  EXPECT_THAT(refusal("demote", R"({"block_hashes": ["11"]})"), HasSubstr("of an engine"));
  EXPECT_THAT(refusal("demote", R"({"text": 5})"), HasSubstr("5"));
  EXPECT_THAT(refusal("demote", R"({"token_ids": []})"), HasSubstr("list"));
  EXPECT_THAT(refusal("demote", R"({"token_ids": [-1]})"), HasSubstr("-1"));
  EXPECT_THAT(refusal("demote", R"({"token_ids": [18446744073709551615]})"), HasSubstr("token id"));
  EXPECT_THAT(refusal("demote", R"({"keys": ["xyz"]})"), HasSubstr("64 hex"));
  EXPECT_THAT(refusal("release", R"({"text": "hi", "drop": 1})"), HasSubstr("true or false"));
  EXPECT_THAT(refusal("compress", R"({"text": "hi"})"), HasSubstr("'profile'"));
  EXPECT_THAT(refusal("demote", "[]"), HasSubstr("payload"));
}

TEST(KvHintsTest, VersionsAreStringsOrNumbers) {
  const std::string good = R"({"protocol_version": V, "message_id": "m", "actions": []})";
  for (const char* version : {"\"0.1\"", "\"1.0\"", "1", "0.9", "\"1\""}) {
    EXPECT_TRUE(ParseHints(absl::StrReplaceAll(good, {{"V", version}})).ok()) << version;
  }
  for (const char* version : {"\"2.0\"", "\"10\"", "2", "-1", "null", "{}"}) {
    EXPECT_EQ(ParseHints(absl::StrReplaceAll(good, {{"V", version}})).status().code(),
              absl::StatusCode::kInvalidArgument)
        << version;
  }
}

TEST(KvHintsTest, WhatIsNoEnvelopeIsRefusedWhole) {
  const auto refused = [](const std::string& json) {
    return ParseHints(json).status().code() == absl::StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused(""));
  EXPECT_TRUE(refused("[]"));
  EXPECT_TRUE(refused("{\"protocol_version\": \"1.0\""));
  EXPECT_TRUE(refused(R"({"protocol_version": "1.0", "actions": []})"));
  EXPECT_TRUE(refused(R"({"protocol_version": "1.0", "message_id": "m"})"));
  EXPECT_TRUE(refused(R"({"protocol_version": "1.0", "message_id": "m", "actions": {}})"));
  EXPECT_TRUE(refused(R"({"protocol_version": "1.0", "message_id": "m", "actions": [5]})"));
  EXPECT_TRUE(refused(R"({"protocol_version": "1.0", "message_id": "m", "actions": [{"action_type": "x"}]})"));
  EXPECT_TRUE(refused(
      absl::StrCat(R"({"protocol_version": "1.0", "message_id": ")", std::string(300, 'm'), R"(", "actions": []})")));
  std::string many = R"({"protocol_version": "1.0", "message_id": "m", "actions": [)";
  for (size_t i = 0; i <= kMostHintActions; ++i) {
    absl::StrAppend(&many, i > 0 ? "," : "", R"({"action_id": "a", "action_type": "x"})");
  }
  EXPECT_TRUE(refused(many + "]}"));
}

}  // namespace
}  // namespace decant
