#include "common/model/pre_tokenizer.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/status_macros.h"
#include "common/model/byte_level.h"
#include "common/model/unicode.h"

namespace decant {
namespace {

// What GPT-2 calls a word; ByteLevel's `use_regex` asks for it.
constexpr absl::string_view kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

void AppendSpans(const Piece& piece, const std::vector<Span>& spans, std::vector<Piece>& out) {
  for (const Span& span : spans) {
    out.push_back({piece.text.substr(span.begin, span.end - span.begin), piece.at_start && span.begin == 0});
  }
}

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::Read(const JsonFields& tokenizer) {
  PreTokenizer pre_tokenizer;
  if (!tokenizer.Has("pre_tokenizer")) return pre_tokenizer;
  DECANT_ASSIGN_OR_RETURN(const JsonFields part, tokenizer.Object("pre_tokenizer"));
  DECANT_RETURN_IF_ERROR(pre_tokenizer.AddSteps(part));
  return pre_tokenizer;
}

absl::Status PreTokenizer::AddSteps(const JsonFields& part) {
  DECANT_ASSIGN_OR_RETURN(const std::string type, part.String("type"));
  if (type != "Sequence") {
    DECANT_ASSIGN_OR_RETURN(Step step, ReadStep(part, type));
    steps_.push_back(std::move(step));
    return absl::OkStatus();
  }
  DECANT_ASSIGN_OR_RETURN(const nlohmann::json* list, part.Array("pretokenizers"));
  for (const nlohmann::json& inner : *list) {
    DECANT_ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Of(inner, part.where()));
    DECANT_RETURN_IF_ERROR(AddSteps(fields));
  }
  return absl::OkStatus();
}

absl::StatusOr<PreTokenizer::Step> PreTokenizer::ReadStep(const JsonFields& part, const std::string& type) {
  if (type == "ByteLevel") {
    ByteLevel step;
    DECANT_ASSIGN_OR_RETURN(step.add_prefix_space, part.BoolOr("add_prefix_space", true));
    DECANT_ASSIGN_OR_RETURN(const bool use_regex, part.BoolOr("use_regex", true));
    if (use_regex) {
      DECANT_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(kGpt2Words));
      step.regex.push_back(std::move(regex));
    }
    return step;
  }
  if (type == "Split") {
    DECANT_ASSIGN_OR_RETURN(SplitPattern pattern, SplitPattern::Read(part));
    DECANT_ASSIGN_OR_RETURN(const std::string name, part.String("behavior"));
    DECANT_ASSIGN_OR_RETURN(const SplitBehavior behavior, ParseSplitBehavior(name, part.where()));
    DECANT_ASSIGN_OR_RETURN(const bool invert, part.BoolOr("invert", false));
    return Cut{std::move(pattern), behavior, invert};
  }
  if (type == "Digits") {
    DECANT_ASSIGN_OR_RETURN(const bool each, part.BoolOr("individual_digits", false));
    return CutAtChars{CharClass::kNumber, each ? SplitBehavior::kIsolated : SplitBehavior::kContiguous};
  }
  if (type == "Punctuation") {
    DECANT_ASSIGN_OR_RETURN(const std::string name, part.StringOr("behavior", "Isolated"));
    DECANT_ASSIGN_OR_RETURN(const SplitBehavior behavior, ParseSplitBehavior(name, part.where()));
    return CutAtChars{CharClass::kPunctuation, behavior};
  }
  if (type == "WhitespaceSplit") return CutAtChars{CharClass::kWhiteSpace, SplitBehavior::kRemoved};
  if (type == "Whitespace") return Words{};
  if (type == "Metaspace") return ReadMetaspace(part);
  return absl::UnimplementedError(
      absl::StrCat(part.where(), ": pre_tokenizer \"", type,
                   "\" is not known to decant; it knows ByteLevel, Digits, Metaspace, Punctuation, Sequence, Split, "
                   "Whitespace and WhitespaceSplit. Take a model with a byte-level or Llama-2-style BPE tokenizer"));
}

absl::StatusOr<PreTokenizer::Step> PreTokenizer::ReadMetaspace(const JsonFields& part) {
  Metaspace step;
  DECANT_ASSIGN_OR_RETURN(step.replacement, part.StringOr("replacement", "\u2581"));
  // Older files say add_prefix_space where newer ones say prepend_scheme.
  DECANT_ASSIGN_OR_RETURN(const bool add_prefix, part.BoolOr("add_prefix_space", true));
  DECANT_ASSIGN_OR_RETURN(const std::string scheme, part.StringOr("prepend_scheme", add_prefix ? "always" : "never"));
  if (scheme == "always") {
    step.prefix = Prefix::kAlways;
  } else if (scheme == "first") {
    step.prefix = Prefix::kFirst;
  } else if (scheme == "never") {
    step.prefix = Prefix::kNever;
  } else {
    return absl::UnimplementedError(
        absl::StrCat(part.where(), ": prepend_scheme \"", scheme, "\" is not known to decant"));
  }
  DECANT_ASSIGN_OR_RETURN(step.split, part.BoolOr("split", true));
  return step;
}

absl::StatusOr<std::vector<Piece>> PreTokenizer::Apply(Piece piece) const {
  std::vector<Piece> pieces;
  if (!piece.text.empty()) pieces.push_back(std::move(piece));
  for (const Step& step : steps_) {
    std::vector<Piece> next;
    next.reserve(pieces.size());
    for (Piece& each : pieces) {
      DECANT_RETURN_IF_ERROR(std::visit([&](const auto& s) { return Run(s, std::move(each), next); }, step));
    }
    pieces = std::move(next);
  }
  return pieces;
}

absl::Status PreTokenizer::Run(const ByteLevel& step, Piece piece, std::vector<Piece>& out) {
  if (step.add_prefix_space && !absl::StartsWith(piece.text, " ")) piece.text.insert(0, " ");
  if (step.regex.empty()) {
    out.push_back({BytesToChars(piece.text), piece.at_start});
    return absl::OkStatus();
  }
  DECANT_ASSIGN_OR_RETURN(const std::vector<Span> spans, SpansOfRegex(piece.text, step.regex.front()));
  const absl::string_view text = piece.text;
  for (const Span& span : Behave(spans, SplitBehavior::kIsolated)) {
    out.push_back({BytesToChars(text.substr(span.begin, span.end - span.begin)), piece.at_start && span.begin == 0});
  }
  return absl::OkStatus();
}

absl::Status PreTokenizer::Run(const Cut& step, Piece piece, std::vector<Piece>& out) {
  DECANT_ASSIGN_OR_RETURN(std::vector<Span> spans, step.pattern.Spans(piece.text));
  if (step.invert) {
    for (Span& span : spans) span.matched = !span.matched;
  }
  AppendSpans(piece, Behave(spans, step.behavior), out);
  return absl::OkStatus();
}

absl::Status PreTokenizer::Run(const CutAtChars& step, Piece piece, std::vector<Piece>& out) {
  const auto matches = [&](char32_t c) {
    switch (step.chars) {
      case CharClass::kNumber:
        return IsNumber(c);
      case CharClass::kPunctuation:
        return IsPunctuation(c);
      case CharClass::kWhiteSpace:
        return IsWhiteSpace(c);
    }
    return false;
  };
  AppendSpans(piece, Behave(SpansOfChars(piece.text, matches), step.behavior), out);
  return absl::OkStatus();
}

absl::Status PreTokenizer::Run(const Words&, Piece piece, std::vector<Piece>& out) {
  const auto spans = Behave(SpansOfChars(piece.text, IsWhiteSpace), SplitBehavior::kRemoved);
  for (const Span& span : spans) {
    const Piece dark{piece.text.substr(span.begin, span.end - span.begin), piece.at_start && span.begin == 0};
    AppendSpans(dark, Behave(SpansOfChars(dark.text, IsWordChar), SplitBehavior::kContiguous), out);
  }
  return absl::OkStatus();
}

absl::Status PreTokenizer::Run(const Metaspace& step, Piece piece, std::vector<Piece>& out) {
  std::string text = absl::StrReplaceAll(piece.text, {{" ", step.replacement}});
  const bool wanted = step.prefix == Prefix::kAlways || (step.prefix == Prefix::kFirst && piece.at_start);
  if (wanted && !absl::StartsWith(text, step.replacement)) text.insert(0, step.replacement);
  piece.text = std::move(text);
  if (!step.split) {
    out.push_back(std::move(piece));
    return absl::OkStatus();
  }
  AppendSpans(piece, Behave(SpansOfString(piece.text, step.replacement), SplitBehavior::kMergedWithNext), out);
  return absl::OkStatus();
}

}  // namespace decant
