#include "common/model/normalizer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace decant {

absl::StatusOr<Normalizer> Normalizer::Read(const JsonFields& tokenizer) {
  Normalizer normalizer;
  if (!tokenizer.Has("normalizer")) return normalizer;
  DECANT_ASSIGN_OR_RETURN(const JsonFields part, tokenizer.Object("normalizer"));
  DECANT_RETURN_IF_ERROR(normalizer.AddSteps(part));
  return normalizer;
}

absl::Status Normalizer::AddSteps(const JsonFields& part) {
  DECANT_ASSIGN_OR_RETURN(const std::string type, part.String("type"));
  if (type == "Sequence") {
    DECANT_ASSIGN_OR_RETURN(const nlohmann::json* list, part.Array("normalizers"));
    for (const nlohmann::json& inner : *list) {
      DECANT_ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Of(inner, part.where()));
      DECANT_RETURN_IF_ERROR(AddSteps(fields));
    }
  } else if (type == "NFC") {
    steps_.push_back(NormalForm::kNfc);
  } else if (type == "NFD") {
    steps_.push_back(NormalForm::kNfd);
  } else if (type == "NFKC") {
    steps_.push_back(NormalForm::kNfkc);
  } else if (type == "NFKD") {
    steps_.push_back(NormalForm::kNfkd);
  } else if (type == "Prepend") {
    DECANT_ASSIGN_OR_RETURN(std::string prefix, part.String("prepend"));
    steps_.push_back(Prepend{std::move(prefix)});
  } else if (type == "Replace") {
    DECANT_ASSIGN_OR_RETURN(SplitPattern pattern, SplitPattern::Read(part));
    DECANT_ASSIGN_OR_RETURN(std::string content, part.String("content"));
    steps_.push_back(Replace{std::move(pattern), std::move(content)});
  } else {
    return absl::UnimplementedError(
        absl::StrCat(part.where(), ": normalizer \"", type,
                     "\" is not known to decant; it knows NFC, NFD, NFKC, NFKD, Prepend, Replace and Sequence. Take a "
                     "model with a byte-level or Llama-2-style BPE tokenizer"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Normalizer::Apply(std::string text) const {
  for (const Step& step : steps_) {
    if (const NormalForm* form = std::get_if<NormalForm>(&step)) {
      text = Normalized(text, *form);
    } else if (const Prepend* prepend = std::get_if<Prepend>(&step)) {
      if (!text.empty()) text.insert(0, prepend->prefix);
    } else {
      const Replace& replace = std::get<Replace>(step);
      DECANT_ASSIGN_OR_RETURN(const std::vector<Span> spans, replace.pattern.Spans(text));
      std::string out;
      out.reserve(text.size());
      for (const Span& span : spans) {
        span.matched ? out.append(replace.content) : out.append(text, span.begin, span.end - span.begin);
      }
      text = std::move(out);
    }
  }
  return text;
}

}  // namespace decant
