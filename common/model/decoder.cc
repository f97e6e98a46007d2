#include "common/model/decoder.h"

#include <charconv>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/base/status_macros.h"
#include "common/model/byte_level.h"
#include "common/model/unicode.h"

namespace decant {
namespace {

// The byte of "<0xE4>", -1 for any other token.
int ByteOfToken(absl::string_view token) {
  if (token.size() != 6 || !absl::StartsWith(token, "<0x") || token[5] != '>') return -1;
  int byte = 0;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
  return error == std::errc() && end == token.data() + 5 ? byte : -1;
}

absl::StatusOr<std::string> ReplaceMatches(const std::string& text, const SplitPattern& pattern,
                                           const std::string& content) {
  DECANT_ASSIGN_OR_RETURN(const std::vector<Span> spans, pattern.Spans(text));
  std::string out;
  for (const Span& span : spans) {
    span.matched ? out.append(content) : out.append(text, span.begin, span.end - span.begin);
  }
  return out;
}

}  // namespace

absl::StatusOr<Decoder> Decoder::Read(const JsonFields& tokenizer) {
  Decoder decoder;
  if (!tokenizer.Has("decoder")) return decoder;
  decoder.spaces_between_ = false;
  DECANT_ASSIGN_OR_RETURN(const JsonFields part, tokenizer.Object("decoder"));
  DECANT_RETURN_IF_ERROR(decoder.AddSteps(part));
  return decoder;
}

absl::Status Decoder::AddSteps(const JsonFields& part) {
  DECANT_ASSIGN_OR_RETURN(const std::string type, part.String("type"));
  if (type != "Sequence") {
    DECANT_ASSIGN_OR_RETURN(Step step, ReadStep(part, type));
    steps_.push_back(std::move(step));
    return absl::OkStatus();
  }
  DECANT_ASSIGN_OR_RETURN(const nlohmann::json* list, part.Array("decoders"));
  for (const nlohmann::json& inner : *list) {
    DECANT_ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Of(inner, part.where()));
    DECANT_RETURN_IF_ERROR(AddSteps(fields));
  }
  return absl::OkStatus();
}

absl::StatusOr<Decoder::Step> Decoder::ReadStep(const JsonFields& part, const std::string& type) {
  if (type == "ByteLevel") return ByteLevel{};
  if (type == "ByteFallback") return ByteFallback{};
  if (type == "Fuse") return Fuse{};
  if (type == "Strip") {
    Strip step{};
    DECANT_ASSIGN_OR_RETURN(const std::string content, part.String("content"));
    if (content.empty() || CharBytes(content, 0) != content.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(part.where(), ": Strip takes one character, not \"", content, "\""));
    }
    step.content = CharAt(content, 0);
    DECANT_ASSIGN_OR_RETURN(step.start, part.IntOr("start", 0));
    DECANT_ASSIGN_OR_RETURN(step.stop, part.IntOr("stop", 0));
    return step;
  }
  if (type == "Replace") {
    DECANT_ASSIGN_OR_RETURN(SplitPattern pattern, SplitPattern::Read(part));
    DECANT_ASSIGN_OR_RETURN(std::string content, part.String("content"));
    return Replace{std::move(pattern), std::move(content)};
  }
  if (type == "Metaspace") {
    Metaspace step;
    DECANT_ASSIGN_OR_RETURN(step.replacement, part.StringOr("replacement", "\u2581"));
    DECANT_ASSIGN_OR_RETURN(const bool add_prefix, part.BoolOr("add_prefix_space", true));
    DECANT_ASSIGN_OR_RETURN(const std::string scheme, part.StringOr("prepend_scheme", add_prefix ? "always" : "never"));
    step.drop_first = scheme != "never";
    return step;
  }
  return absl::UnimplementedError(
      absl::StrCat(part.where(), ": decoder \"", type,
                   "\" is not known to decant; it knows ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence "
                   "and Strip. Take a model with a byte-level or Llama-2-style BPE tokenizer"));
}

absl::StatusOr<std::string> Decoder::Join(std::vector<std::string> tokens) const {
  if (spaces_between_) return absl::StrJoin(tokens, " ");
  for (const Step& step : steps_) {
    DECANT_RETURN_IF_ERROR(std::visit([&](const auto& s) { return Run(s, tokens); }, step));
  }
  return absl::StrJoin(tokens, "");
}

absl::Status Decoder::Run(const ByteLevel&, std::vector<std::string>& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) AppendCharsAsBytes(token, bytes);
  tokens.assign(1, ReplaceInvalidUtf8(bytes));
  return absl::OkStatus();
}

// A run of byte tokens is one text; the reference spoils the whole run for one wrong byte, which a stream cannot do.
absl::Status Decoder::Run(const ByteFallback&, std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  out.reserve(tokens.size());
  std::string run;
  const auto flush = [&] {
    if (!run.empty()) out.push_back(ReplaceInvalidUtf8(run));
    run.clear();
  };
  for (std::string& token : tokens) {
    const int byte = ByteOfToken(token);
    if (byte >= 0) {
      run.push_back(static_cast<char>(byte));
    } else {
      flush();
      out.push_back(std::move(token));
    }
  }
  flush();
  tokens = std::move(out);
  return absl::OkStatus();
}

absl::Status Decoder::Run(const Fuse&, std::vector<std::string>& tokens) {
  std::string all = absl::StrJoin(tokens, "");
  tokens.assign(1, std::move(all));
  return absl::OkStatus();
}

absl::Status Decoder::Run(const Strip& step, std::vector<std::string>& tokens) {
  std::string content;
  AppendChar(step.content, content);
  for (std::string& token : tokens) {
    absl::string_view kept = token;
    for (int64_t i = 0; i < step.start && absl::StartsWith(kept, content); ++i) kept.remove_prefix(content.size());
    for (int64_t i = 0; i < step.stop && absl::EndsWith(kept, content); ++i) kept.remove_suffix(content.size());
    token = std::string(kept);
  }
  return absl::OkStatus();
}

absl::Status Decoder::Run(const Replace& step, std::vector<std::string>& tokens) {
  for (std::string& token : tokens) {
    DECANT_ASSIGN_OR_RETURN(token, ReplaceMatches(token, step.pattern, step.content));
  }
  return absl::OkStatus();
}

absl::Status Decoder::Run(const Metaspace& step, std::vector<std::string>& tokens) {
  bool first = step.drop_first;
  for (std::string& token : tokens) {
    if (!step.replacement.empty()) token = absl::StrReplaceAll(token, {{step.replacement, first ? "" : " "}});
    first = false;
  }
  return absl::OkStatus();
}

}  // namespace decant
