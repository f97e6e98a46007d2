// The rules of composition, each over the capabilities of two stages.
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/compress/capabilities.h"

namespace decant {
namespace {

// A stage as the profile spells it, with what its choice declares.
struct Stage {
  std::string words;
  Caps caps;
  bool set = true;
};

struct Stages {
  std::string profile;
  Stage score;
  Stage allocate;
  Stage rope;
  Stage hadamard;
  Stage balance;
  Stage basis;
  Stage high;
  Stage low;
  Stage online;
  Stage read;
  Stage propagation;
  Stage code;

  // "profile 'x': online 'freeze' ... allocate 'top'; use ..."
  absl::Status Conflict(const Stage& a, absl::string_view why, const Stage& b, absl::string_view advice) const {
    return absl::InvalidArgumentError(
        absl::StrCat("profile '", profile, "': ", a.words, " ", why, " ", b.words, "; ", advice));
  }
};

std::string Words(absl::string_view field, const std::string& value) { return absl::StrCat(field, " '", value, "'"); }
std::string Words(absl::string_view field, int32_t value) { return absl::StrCat(field, " ", value); }

Stages StagesOf(const Profile& profile, const Recipe& recipe) {
  const KeyForm& form = recipe.key_form;
  Stages s;
  s.profile = profile.name;
  s.score = {Words("score", profile.score), CapsOf(recipe.score), recipe.score != ScoreSource::kNone};
  s.allocate = {Words("allocate", profile.allocate), CapsOf(recipe.allocation, recipe.low != FormatId::kNone),
                recipe.allocation != Allocation::kAllHigh};
  s.rope = {Words("rope", profile.rope), CapsOf(KeyForm{form.rope, 0, 0}), form.rope == 0};
  s.hadamard = {Words("hadamard", profile.hadamard), CapsOf(KeyForm{1, form.hadamard, 0}), form.hadamard > 0};
  s.balance = {Words("balance", profile.balance), CapsOf(KeyForm{1, 0, form.balanced}), form.balanced != 0};
  s.basis = {Words("group_layers", profile.group_layers), CapsOf(recipe.low_rank), recipe.low_rank.group_layers > 0};
  s.high = {Words("high", profile.high), CapsOf(recipe.high), true};
  s.low = {Words("low", profile.low), CapsOf(recipe.low), recipe.low != FormatId::kNone};
  s.online = {Words("online", profile.online), CapsOf(recipe.online), recipe.online != OnlinePolicy::kNone};
  s.read = {Words("read_tokens", profile.read_tokens), CapsOf(recipe.read), recipe.read.tokens > 0};
  s.propagation = {absl::StrCat("propagation_depth ", profile.propagation_depth), CapsOf(recipe.propagation),
                   profile.propagation_depth > 0};
  s.code = {Words("code", profile.code), Caps{}, profile.code != "raw"};
  return s;
}

absl::Status CheckScores(const Stages& s, const Recipe& recipe) {
  for (const Stage* user : {&s.allocate, &s.online}) {
    const bool needs = (user->caps.needs & (kScores | kScoreSums)) != 0 || (user->caps.needs & kMeanScores) != 0;
    if (user->set && needs && !s.score.set) {
      return s.Conflict(*user, "needs scores, but score is 'none': set one beside", s.high,
                        "last_window is the cheapest, position needs no queries");
    }
  }
  if ((s.allocate.caps.needs & kMeanScores) != 0 && (s.score.caps.gives & kMeanScores) == 0) {
    return s.Conflict(s.allocate, "compares means of attention with 1 / length, which are not what it gets from",
                      s.score, "use all_later_queries, last_window or all_queries, or allocate by budget");
  }
  if (recipe.allocation == Allocation::kSinksAndRecent && recipe.score != ScoreSource::kPosition) {
    return s.Conflict(s.allocate, "keeps by position alone and has no use for", s.score, "set score to position");
  }
  if (recipe.split() && s.score.set) {
    return s.Conflict(s.allocate, "keeps every token and has no use for", s.score, "set score to none");
  }
  if (s.score.set && !s.allocate.set && !s.online.set) {
    return s.Conflict(s.score, "is never used beside", s.allocate, "set score to none or allocate by score");
  }
  if (s.online.set && !Continues(recipe.online, recipe.score)) {
    const absl::string_view continued = recipe.online == OnlinePolicy::kDiffKvPaper  ? "all_later_queries"
                                        : recipe.online == OnlinePolicy::kDiffKvCode ? "last_window"
                                                                                     : "all_queries";
    return s.Conflict(s.online, absl::StrCat("continues the sums of score '", continued, "', not those of"), s.score,
                      absl::StrCat("set score to ", continued));
  }
  return absl::OkStatus();
}

absl::Status CheckOnline(const Stages& s, const Recipe& recipe) {
  if (!s.online.set) return absl::OkStatus();
  if (!Continues(recipe.online, recipe.allocation)) {
    const absl::string_view advice = recipe.online == OnlinePolicy::kFreeze           ? "allocate by window_split"
                                     : recipe.online == OnlinePolicy::kSinksAndRecent ? "allocate by sinks_and_recent"
                                     : recipe.online <= OnlinePolicy::kDiffKvCode
                                         ? "allocate all_high or by a threshold"
                                         : "allocate by top, pyramid or layer_shares";
    return s.Conflict(s.online, "cannot go on from what is left by", s.allocate, advice);
  }
  if ((s.online.caps.needs & kLowFormat) != 0 && !s.low.set) {
    return s.Conflict(s.online, "moves tokens to a low format that is not there beside", s.high, "name a low format");
  }
  const SignalMask per_token = s.online.caps.needs & (kScoreSums | kPositions);
  for (const Stage* format : {&s.high, &s.low}) {
    if (format->set && (format->caps.gives & per_token) != per_token) {
      const bool sums = (per_token & kScoreSums) != 0;
      return s.Conflict(
          s.online,
          sums ? "needs scores in pages, which are not kept by" : "needs positions in pages, which are not kept by",
          *format, "use a tracked format");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckKeyForm(const Stages& s, const Recipe& recipe) {
  if (s.hadamard.caps.mixes_channels && IsChannel(FormatOf(recipe.high).k)) {
    return s.Conflict(s.hadamard, "mixes the channels that have scales of their own in", s.high,
                      "use a format with scales per token, or no hadamard");
  }
  for (const Stage* other : {&s.hadamard, &s.balance, &s.read}) {
    if (other->set && s.rope.caps.rope == RopeNeed::kPre && other->caps.rope == RopeNeed::kPost) {
      return s.Conflict(*other, "works on keys after rope, not with", s.rope, "set rope to post");
    }
  }
  // What reads frozen groups and block statistics takes keys as they are.
  for (const Stage* form : {&s.rope, &s.hadamard, &s.balance}) {
    if (!form->set) continue;
    if (recipe.split()) {
      return s.Conflict(*form, "changes the keys whose channels are frozen in groups by", s.allocate,
                        "use a format with scales per token, or keep keys as they are");
    }
    if (s.read.set) {
      return s.Conflict(*form, "changes the keys whose bounds are compared with the plain query by", s.read,
                        "keep keys as they are, or read every token");
    }
  }
  // The basis itself is of keys before rope; what it expands into are pages of rotated ones.
  if (s.basis.set && s.rope.caps.rope == RopeNeed::kPre) {
    return s.Conflict(s.basis, "is expanded into rotated keys, not with", s.rope, "set rope to post");
  }
  if ((s.rope.caps.needs & kPositions) == 0) return absl::OkStatus();
  for (const Stage* format : {&s.high, &s.low}) {
    const Element keys = format->set ? FormatOf(format == &s.high ? recipe.high : recipe.low).k : Element::kNone;
    if (IsGrouped(keys) || IsChannel(keys)) {
      return s.Conflict(s.rope, "rotates whole vectors as it reads them, which have one scale, not several as in",
                        *format, "use a format with one scale a vector, or set rope to post");
    }
  }
  for (const Stage* dropper : {&s.allocate, &s.online, &s.propagation}) {
    if (!dropper->set || !(dropper->caps.drops || s.low.set)) continue;
    for (const Stage* format : {&s.high, &s.low}) {
      if (format->set && (format->caps.gives & kPositions) == 0) {
        return s.Conflict(s.rope, absl::StrCat("needs the positions of what ", dropper->words, " leaves, unknown to"),
                          *format, "use a tracked format");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSplit(const Stages& s, const Recipe& recipe) {
  if (!recipe.split()) {
    for (const Stage* format : {&s.high, &s.low}) {
      if (format->set && (format->caps.gives & kHalfFormats) != 0) {
        return s.Conflict(*format, "holds only keys or only values, which takes window_split instead of", s.allocate,
                          "allocate by window_split or use a format of both");
      }
    }
    return absl::OkStatus();
  }
  if (recipe.online != OnlinePolicy::kFreeze) {
    return s.Conflict(s.allocate, "has its window frozen while decoding, not left to", s.online,
                      "set online to freeze");
  }
  if (FormatOf(recipe.high).v != Element::kNone) {
    return s.Conflict(s.allocate, "takes keys alone as high format, not", s.high, "use k4_channels or k2_channels");
  }
  if (!s.low.set || FormatOf(recipe.low).k != Element::kNone) {
    return s.Conflict(s.allocate, "takes values alone as low format, not", s.low, "use v4_groups or v2_groups");
  }
  if (s.propagation.set) {
    return s.Conflict(s.allocate, "finds tokens by position, but some layers miss tokens because of", s.propagation,
                      "set propagation_depth to 0");
  }
  return absl::OkStatus();
}

absl::Status CheckTiers(const Stages& s, const Recipe& recipe, int32_t head_dim) {
  if ((s.allocate.caps.needs & kLowFormat) != 0 && !s.low.set) {
    return s.Conflict(s.allocate, "cuts its ranking into a high and a low format beside", s.high,
                      "name a low format, or allocate by global");
  }
  if (!s.low.set) return absl::OkStatus();
  if (!s.allocate.set && !s.online.set) {
    return s.Conflict(s.low, absl::StrCat("is never used with ", s.allocate.words, " and"), s.online, "remove one");
  }
  if (recipe.allocation == Allocation::kSinksAndRecent) {
    return s.Conflict(s.low, "is never used with", s.allocate, "remove low");
  }
  if (recipe.split()) return absl::OkStatus();
  const int64_t high = TokenBytes(recipe.high, head_dim);
  const int64_t low = TokenBytes(recipe.low, head_dim);
  if (low < high) return absl::OkStatus();
  return s.Conflict(s.low, absl::StrCat("(", low, " bytes a token) must be smaller than"), s.high,
                    absl::StrCat("that takes ", high));
}

absl::Status CheckReads(const Stages& s) {
  for (const Stage* format : {&s.high, &s.low}) {
    if (!format->set) continue;
    const bool has = (format->caps.gives & kStatistics) != 0;
    if (s.read.set && !has) {
      return s.Conflict(s.read, "chooses blocks by statistics that are not kept by", *format,
                        format == &s.high ? "use full_indexed" : "remove low");
    }
    if (!s.read.set && has) {
      return s.Conflict(*format, "keeps statistics that nothing reads:", s.read, "set it, or use full");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLayers(const Stages& s, const Recipe& recipe) {
  if (s.propagation.set && recipe.score == ScoreSource::kReplay) {
    return s.Conflict(s.score, "repeats the context in every layer, but some layers miss tokens because of",
                      s.propagation, "use score last_window or set propagation_depth to 0");
  }
  if (!s.basis.set) return absl::OkStatus();
  for (const Stage* other : {&s.allocate, &s.propagation}) {
    if (other->caps.ragged_heads || other->caps.ragged_layers) {
      return s.Conflict(s.basis, "needs the same tokens in all heads and layers that share a basis, unlike", *other,
                        other == &s.allocate ? "allocate all_high or by sinks_and_recent" : "set it to 0");
    }
  }
  if (s.online.set) {
    return s.Conflict(s.basis, "needs the same tokens in all heads and layers that share a basis, unlike", s.online,
                      "set online to none");
  }
  for (const Stage* format : {&s.high, &s.low}) {
    if (format->set && !format->caps.token_separable) {
      return s.Conflict(s.basis, "takes whole keys and values, not the frozen groups of", *format, "use another one");
    }
  }
  if (s.code.set) {
    return s.Conflict(s.basis, "is a wire code of its own and does not stand with", s.code, "set code to raw");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckStages(const Profile& profile, const Recipe& recipe, const Geometry& geometry) {
  const Stages stages = StagesOf(profile, recipe);
  DECANT_RETURN_IF_ERROR(CheckSplit(stages, recipe));
  DECANT_RETURN_IF_ERROR(CheckTiers(stages, recipe, geometry.head_dim));
  DECANT_RETURN_IF_ERROR(CheckLayers(stages, recipe));
  DECANT_RETURN_IF_ERROR(CheckScores(stages, recipe));
  DECANT_RETURN_IF_ERROR(CheckOnline(stages, recipe));
  DECANT_RETURN_IF_ERROR(CheckReads(stages));
  return CheckKeyForm(stages, recipe);
}

}  // namespace decant
