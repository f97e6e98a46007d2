#include "gpu/engine/sequence_checks.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/compress/arith/key_shape.h"
#include "gpu/engine/decode_sequence.h"

namespace decant {
namespace {

// Compile refuses such recipes; one made by hand must not reach a kernel.
absl::Status CheckKeyForm(const Recipe& recipe, int32_t head_dim) {
  const KeyForm& form = recipe.key_form;
  if (!IsHadamardOrder(HadamardOrder(form), head_dim)) {
    return absl::InvalidArgumentError(absl::StrCat("Hadamard blocks of ", HadamardOrder(form), " channels with ",
                                                   head_dim, " a head; the order must divide them"));
  }
  if (form != KeyForm{} && (recipe.split() || recipe.read.tokens > 0)) {
    return absl::InvalidArgumentError(
        "frozen groups and read statistics are of keys as they are, after rope; the recipe names another form");
  }
  for (const FormatId format : {recipe.high, recipe.low}) {
    const Element element = FormatOf(format).k;
    if (form.rope == 0 && (IsShaped(form) || IsGrouped(element) || IsChannel(element))) {
      return absl::InvalidArgumentError(absl::StrCat("keys before rope, balanced or in Hadamard form or in format ",
                                                     static_cast<int>(format),
                                                     "; attention rotates only plain vectors with one scale"));
    }
  }
  return absl::OkStatus();
}

// Only split rows hold halves of tokens, and only in their order.
absl::Status CheckHalves(const Recipe& recipe, const FormatId (&formats)[kTierCount]) {
  bool fits = recipe.split() == (recipe.online == OnlinePolicy::kFreeze);
  for (int32_t tier = 0; tier < kTierCount; ++tier) {
    const Format format = FormatOf(formats[tier]);
    const bool holds_keys = tier == kHigh || tier == kFixed;
    if (!recipe.split()) {
      fits = fits && !IsHalf(formats[tier]);
    } else {
      fits = fits && IsHalf(formats[tier]) && (format.k != Element::kNone) == holds_keys;
    }
  }
  if (fits && recipe.split()) {
    fits = IsChannel(FormatOf(formats[kHigh]).k) && IsFull(FormatOf(formats[kFixed]).k) &&
           IsFull(FormatOf(formats[kTail]).v) && recipe.window > 0 && recipe.window % kTokenGroup == 0;
  }
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("profile '", recipe.profile, "': formats ", static_cast<int>(formats[kHigh]), ", ",
                   static_cast<int>(formats[kLow]), ", ", static_cast<int>(formats[kFixed]), ", ",
                   static_cast<int>(formats[kTail]), " and a window of ", recipe.window,
                   " make no row; allocate 'window_split' with online 'freeze' takes keys per channel, then values, "
                   "and a window that is a multiple of ",
                   kTokenGroup));
}

}  // namespace

absl::Status CheckSequenceOptions(const SequenceOptions& options, const ModelConfig& config, const PageArena& arena) {
  if (options.prompt_tokens < 1 || options.max_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat(options.prompt_tokens, " prompt and ", options.max_tokens,
                                                   " new tokens; both must be at least 1"));
  }
  // The last token of the answer is never fed back, so it needs no position.
  if (int64_t{options.prompt_tokens} + options.max_tokens - 1 > config.max_positions) {
    return absl::InvalidArgumentError(absl::StrCat(options.prompt_tokens, " prompt and ", options.max_tokens,
                                                   " new tokens exceed the model's ", config.max_positions,
                                                   " positions; shorten the prompt or ask for fewer tokens"));
  }
  if (static_cast<int64_t>(options.forced.size()) > options.max_tokens - 1) {
    return absl::InvalidArgumentError(absl::StrCat(options.forced.size(), " forced tokens of ", options.max_tokens,
                                                   " new ones; the first is not among them, so at most ",
                                                   options.max_tokens - 1, " fit"));
  }
  for (const int32_t token : options.forced) {
    if (token >= 0 && token < config.vocabulary) continue;
    return absl::InvalidArgumentError(absl::StrCat("forced token ", token, " of a vocabulary of ", config.vocabulary));
  }
  FormatId formats[kTierCount];
  DecodeSequence::Formats(options, formats);
  if (formats[kHigh] == FormatId::kNone) return absl::InvalidArgumentError("the recipe names no format");
  DECANT_RETURN_IF_ERROR(CheckHalves(options.recipe, formats));
  for (const FormatId format : formats) {
    if (format != FormatId::kNone && arena.layouts[static_cast<int>(format)].tokens < 1) {
      return absl::InvalidArgumentError(absl::StrCat("no token of format ", static_cast<int>(format),
                                                     " fits a page of ", arena.page_bytes, " bytes"));
    }
  }
  return CheckKeyForm(options.recipe, config.head_dim);
}

}  // namespace decant
