#include "services/router/request_check.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

constexpr double kHottest = 100;  // beyond this, sampling is uniform for every model there is

// Length of the well-formed UTF-8 character at the start of `text`, 0 if there is none (Unicode 15, table 3-7).
size_t CharacterBytes(absl::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  size_t length = 0;
  uint8_t low = 0x80;
  uint8_t high = 0xbf;
  if (first >= 0xc2 && first <= 0xdf) {
    length = 2;
  } else if (first >= 0xe0 && first <= 0xef) {
    length = 3;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
  } else if (first >= 0xf0 && first <= 0xf4) {
    length = 4;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
  }
  if (length == 0 || text.size() < length || byte(1) < low || byte(1) > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  return length;
}

absl::Status CheckUtf8(absl::string_view name, absl::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = CharacterBytes(text.substr(at));
    if (length == 0) return absl::InvalidArgumentError(absl::StrCat(name, " is not UTF-8 at byte ", at));
    at += length;
  }
  return absl::OkStatus();
}

// Rejects NaN too: every comparison with it is false.
absl::Status CheckRange(absl::string_view name, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, "; it must be from ", low, " to ", high));
}

absl::Status CheckSampling(const SamplingChoice& sampling) {
  DECANT_RETURN_IF_ERROR(CheckRange("sampling.temperature", sampling.temperature, 0, kHottest));
  DECANT_RETURN_IF_ERROR(CheckRange("sampling.top_p", sampling.top_p, 0, 1));
  if (sampling.top_k < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("sampling.top_k is ", sampling.top_k, "; it must be 0 (all tokens) or more"));
  }
  return absl::OkStatus();
}

absl::Status CheckRequestId(absl::string_view id) {
  if (id.size() > kLongestRequestIdBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("request_id has ", id.size(), " bytes; at most ", kLongestRequestIdBytes, " are allowed"));
  }
  for (const char c : id) {
    if (c <= ' ' || c > '~') {
      return absl::InvalidArgumentError("request_id must consist of printable ASCII characters without spaces");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckStops(const std::vector<std::string>& stops) {
  if (stops.size() > kMostStops) {
    return absl::InvalidArgumentError(
        absl::StrCat(stops.size(), " stop strings; at most ", kMostStops, " are allowed"));
  }
  for (const std::string& stop : stops) {
    if (stop.empty() || stop.size() > kLongestStopBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("a stop string has ", stop.size(), " bytes; it must have 1 to ", kLongestStopBytes));
    }
    DECANT_RETURN_IF_ERROR(CheckUtf8("a stop string", stop));
  }
  return absl::OkStatus();
}

absl::Status CheckProfile(const RouterModel& model, const RequestTerms& terms) {
  if (terms.profile.empty()) return absl::OkStatus();
  if (std::find(model.profiles.begin(), model.profiles.end(), terms.profile) == model.profiles.end()) {
    DECANT_RETURN_IF_ERROR(CheckUtf8("profile", terms.profile));
    return absl::NotFoundError(absl::StrCat("there is no profile '", terms.profile.substr(0, 64),
                                            "'; there are: ", absl::StrJoin(model.profiles, ", ")));
  }
  if (terms.fidelity_floor >= 1 && terms.profile != "full") {
    return absl::InvalidArgumentError(absl::StrCat("a fidelity floor of 1 means 'full' and the profile asked for is '",
                                                   terms.profile, "'; lower the floor or leave the profile open"));
  }
  return absl::OkStatus();
}

absl::Status CheckTerms(const RouterModel& model, const RequestTerms& terms) {
  constexpr double kLongestMs = 1e9;
  constexpr double kFastestLink = 1e15;
  DECANT_RETURN_IF_ERROR(CheckRequestId(terms.request_id));
  DECANT_RETURN_IF_ERROR(CheckSampling(terms.sampling));
  DECANT_RETURN_IF_ERROR(CheckStops(terms.stop));
  DECANT_RETURN_IF_ERROR(CheckRange("slo.ttft_ms", terms.slo.ttft_ms, 0, kLongestMs));
  DECANT_RETURN_IF_ERROR(CheckRange("slo.tpot_ms", terms.slo.tpot_ms, 0, kLongestMs));
  DECANT_RETURN_IF_ERROR(CheckRange("fidelity_floor", terms.fidelity_floor, 0, 1));
  DECANT_RETURN_IF_ERROR(CheckRange("link_bits_per_s", terms.link_bits_per_s, 0, kFastestLink));
  if (terms.max_tokens < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_tokens is ", terms.max_tokens, "; it must be 0 (the default) or more"));
  }
  return CheckProfile(model, terms);
}

absl::StatusOr<std::vector<int32_t>> PromptOf(const RouterModel& model, GenerateInput& input) {
  if (input.text.has_value()) {
    if (input.text->empty()) return absl::InvalidArgumentError("the prompt is empty");
    DECANT_RETURN_IF_ERROR(CheckUtf8("the prompt", *input.text));
    return model.tokenizer->Encode(*input.text);
  }
  for (size_t i = 0; i < input.token_ids.size(); ++i) {
    if (input.token_ids[i] < 0 || input.token_ids[i] >= model.vocabulary) {
      return absl::InvalidArgumentError(absl::StrCat("token_ids[", i, "] is ", input.token_ids[i], "; the model '",
                                                     model.name, "' has ids from 0 to ", model.vocabulary - 1));
    }
  }
  return std::move(input.token_ids);
}

}  // namespace

absl::StatusOr<PreparedRequest> PrepareRequest(const RouterModel& model, GenerateInput input) {
  DECANT_RETURN_IF_ERROR(CheckTerms(model, input.terms));
  PreparedRequest prepared;
  DECANT_ASSIGN_OR_RETURN(prepared.prompt, PromptOf(model, input));
  prepared.terms = std::move(input.terms);

  const auto prompt_tokens = static_cast<int64_t>(prepared.prompt.size());
  if (prompt_tokens == 0) return absl::InvalidArgumentError("the prompt has no tokens");
  const int64_t room = model.max_positions - prompt_tokens;
  if (room < 1) {
    return absl::InvalidArgumentError(absl::StrCat("the prompt has ", prompt_tokens, " tokens and '", model.name,
                                                   "' takes ", model.max_positions,
                                                   " positions, answer included; shorten the prompt"));
  }
  if (prepared.terms.max_tokens == 0) {
    prepared.terms.max_tokens = static_cast<int32_t>(std::min<int64_t>(kDefaultMaxTokens, room));
  }
  if (prepared.terms.max_tokens > room) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt (", prompt_tokens, " tokens) and max_tokens (", prepared.terms.max_tokens, ") need ",
                     prompt_tokens + prepared.terms.max_tokens, " positions and '", model.name, "' has ",
                     model.max_positions, "; at most ", room, " tokens can be generated"));
  }
  return prepared;
}

}  // namespace decant
