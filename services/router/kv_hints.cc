#include "services/router/kv_hints.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/compress/json_lines.h"

namespace decant {
namespace {

using Json = nlohmann::json;

constexpr size_t kLongestId = 256;
constexpr double kLongestMs = 1e13;  // some 300 years

std::string Shown(const Json& value) {
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 60) + "..." : text;
}

const Json* Member(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

absl::StatusOr<std::string> Id(const Json& object, const char* name) {
  const Json* value = Member(object, name);
  if (value != nullptr && value->is_string() && !value->get_ref<const std::string&>().empty() &&
      value->get_ref<const std::string&>().size() <= kLongestId) {
    return value->get<std::string>();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", name, "' must be a string of 1 to ", kLongestId, " bytes",
                   value == nullptr ? ", and is missing" : absl::StrCat(", not ", Shown(*value))));
}

// Versions are strings in some senders and numbers in others: 0.x and 1.x are what this reads.
bool KnownVersion(const Json* value) {
  if (value == nullptr) return false;
  if (value->is_number()) return value->get<double>() >= 0 && value->get<double>() < 2;
  if (!value->is_string()) return false;
  const std::string& text = value->get_ref<const std::string&>();
  return text == "0" || text == "1" || absl::StartsWith(text, "0.") || absl::StartsWith(text, "1.");
}

// A number of milliseconds in [least, kLongestMs]; none when the payload has no such member.
absl::StatusOr<std::optional<double>> Milliseconds(const Json& payload, const char* name, double scale) {
  const Json* value = Member(payload, name);
  if (value == nullptr) return std::nullopt;
  const double ms = value->is_number() ? value->get<double>() * scale : -1;
  if (!(ms > 0 && ms <= kLongestMs)) {
    return absl::InvalidArgumentError(absl::StrCat("'", name, "' is ", Shown(*value), "; it must be a number above 0"));
  }
  return ms;
}

absl::Status ReadTokens(const Json& ids, HintAction& action) {
  for (const Json& id : ids) {
    const bool fits =
        id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() <= std::numeric_limits<int32_t>::max();
    if (!fits) return absl::InvalidArgumentError(absl::StrCat("a token id is ", Shown(id), "; it must be a number"));
    action.token_ids.push_back(id.get<int32_t>());
  }
  return absl::OkStatus();
}

absl::Status ReadKeys(const Json& keys, HintAction& action) {
  if (keys.size() > kMostHintKeys) {
    return absl::InvalidArgumentError(absl::StrCat(keys.size(), " keys; an action may name ", kMostHintKeys));
  }
  for (const Json& key : keys) {
    const auto digest = key.is_string() ? Digest::FromHex(key.get_ref<const std::string&>()) : std::nullopt;
    if (!digest.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("a key is ", Shown(key), "; it must have 64 hex digits"));
    }
    action.keys.push_back(*digest);
  }
  return absl::OkStatus();
}

absl::Status ReadTarget(const Json& payload, HintAction& action) {
  const Json* text = Member(payload, "text");
  const Json* ids = Member(payload, "token_ids");
  const Json* keys = Member(payload, "keys");
  const int named = (text != nullptr ? 1 : 0) + (ids != nullptr ? 1 : 0) + (keys != nullptr ? 1 : 0);
  if (named == 0 && Member(payload, "block_hashes") != nullptr) {
    return absl::InvalidArgumentError("block_hashes name blocks of an engine; name text, token_ids or keys");
  }
  if (named != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("the payload names ", named, " of text, token_ids and keys; it must be one"));
  }
  if (text != nullptr) {
    if (!text->is_string()) return absl::InvalidArgumentError(absl::StrCat("'text' is ", Shown(*text)));
    action.text = text->get<std::string>();
    return absl::OkStatus();
  }
  const Json& list = ids != nullptr ? *ids : *keys;
  if (!list.is_array() || list.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", ids != nullptr ? "token_ids" : "keys", "' is ", Shown(list), "; it must be a list"));
  }
  return ids != nullptr ? ReadTokens(list, action) : ReadKeys(list, action);
}

absl::Status ReadRetention(const Json& payload, HintAction& action) {
  const Json* priority = Member(payload, "priority");
  const bool fits = priority != nullptr && priority->is_number_integer() && priority->get<int64_t>() >= 0 &&
                    priority->get<int64_t>() <= 100;
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat("'priority' ",
                                                   priority == nullptr ? "is missing" : "is " + Shown(*priority),
                                                   "; it must be a whole number from 0 to 100"));
  }
  action.priority = priority->get<int32_t>();
  DECANT_ASSIGN_OR_RETURN(std::optional<double> ms, Milliseconds(payload, "duration_ms", 1));
  if (!ms.has_value()) {
    DECANT_ASSIGN_OR_RETURN(ms, Milliseconds(payload, "ttl_seconds", 1000));
  }
  if (!ms.has_value()) return absl::InvalidArgumentError("'duration_ms' is missing: nothing is kept for ever");
  action.duration = absl::Milliseconds(*ms);
  return absl::OkStatus();
}

absl::Status ReadPayload(absl::string_view type, const Json& payload, HintAction& action) {
  DECANT_ASSIGN_OR_RETURN(const std::optional<double> expires, Milliseconds(payload, "expires_at_ms", 1));
  if (expires.has_value()) action.expires = absl::UnixEpoch() + absl::Milliseconds(*expires);
  if (type == "retain") {
    action.verb = HintVerb::kRetain;
    DECANT_RETURN_IF_ERROR(ReadRetention(payload, action));
  } else if (type == "prefetch") {
    action.verb = HintVerb::kPrefetch;
    DECANT_ASSIGN_OR_RETURN(const std::optional<double> ms, Milliseconds(payload, "deadline_ms", 1));
    action.deadline = absl::Milliseconds(ms.value_or(0));
  } else if (type == "demote") {
    action.verb = HintVerb::kDemote;
  } else if (type == "release" || type == "evict") {
    action.verb = HintVerb::kRelease;
    const Json* drop = Member(payload, "drop");
    if (drop != nullptr && !drop->is_boolean()) {
      return absl::InvalidArgumentError(absl::StrCat("'drop' is ", Shown(*drop), "; it must be true or false"));
    }
    action.drop = type == "evict" || (drop != nullptr && drop->get<bool>());
  } else if (type == "compress") {
    action.verb = HintVerb::kCompress;
    DECANT_ASSIGN_OR_RETURN(action.profile, Id(payload, "profile"));
  } else {
    return absl::InvalidArgumentError(
        "the action is unknown; those executed here are retain, prefetch, demote, release, evict and compress");
  }
  return ReadTarget(payload, action);
}

absl::StatusOr<HintAction> ReadAction(const Json& object) {
  if (!object.is_object()) return absl::InvalidArgumentError(absl::StrCat("an action is ", Shown(object)));
  HintAction action;
  DECANT_ASSIGN_OR_RETURN(action.action_id, Id(object, "action_id"));
  DECANT_ASSIGN_OR_RETURN(action.action_type, Id(object, "action_type"));
  if (!KnownVersion(Member(object, "action_version"))) {
    action.refusal = "the action's version is neither 0.x nor 1.x";
    return action;
  }
  const Json* payload = Member(object, "payload");
  if (payload == nullptr || !payload->is_object()) {
    action.refusal = "the action has no payload that is an object";
    return action;
  }
  const absl::Status read = ReadPayload(absl::StripPrefix(action.action_type, "kv."), *payload, action);
  if (!read.ok()) action.refusal = std::string(read.message());
  return action;
}

}  // namespace

absl::StatusOr<HintEnvelope> ParseHints(absl::string_view json) {
  DECANT_RETURN_IF_ERROR(JsonMemberLines(json).status());
  const Json root = Json::parse(json.begin(), json.end());
  if (!KnownVersion(Member(root, "protocol_version"))) {
    return absl::InvalidArgumentError("'protocol_version' must be 0.x or 1.x");
  }
  HintEnvelope envelope;
  DECANT_ASSIGN_OR_RETURN(envelope.message_id, Id(root, "message_id"));
  const Json* actions = Member(root, "actions");
  if (actions == nullptr || !actions->is_array() || actions->size() > kMostHintActions) {
    return absl::InvalidArgumentError(absl::StrCat("'actions' must be a list of at most ", kMostHintActions));
  }
  for (const Json& object : *actions) {
    DECANT_ASSIGN_OR_RETURN(HintAction action, ReadAction(object));
    envelope.actions.push_back(std::move(action));
  }
  return envelope;
}

}  // namespace decant
