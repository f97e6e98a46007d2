#include "common/model/post_processor.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/token_id.h"

namespace decant {
namespace {

absl::Status AppendSpecial(const JsonFields& specials, const std::string& name, std::vector<int32_t>& ids) {
  DECANT_ASSIGN_OR_RETURN(const JsonFields special, specials.Object(name.c_str()));
  DECANT_ASSIGN_OR_RETURN(const nlohmann::json* list, special.Array("ids"));
  for (const nlohmann::json& id : *list) {
    DECANT_ASSIGN_OR_RETURN(const int32_t value, ReadTokenId(id, special.where()));
    ids.push_back(value);
  }
  return absl::OkStatus();
}

// "single" is a list of {"SpecialToken": {"id": name}} around one {"Sequence": {"id": "A"}}.
absl::StatusOr<PostProcessor> ReadTemplate(const JsonFields& part) {
  PostProcessor processor;
  DECANT_ASSIGN_OR_RETURN(const nlohmann::json* single, part.Array("single"));
  // An empty template has no names to look up.
  static const nlohmann::json kNothing = nlohmann::json::object();
  DECANT_ASSIGN_OR_RETURN(JsonFields specials, JsonFields::Of(kNothing, part.where()));
  if (part.Has("special_tokens")) {
    DECANT_ASSIGN_OR_RETURN(specials, part.Object("special_tokens"));
  }
  int sequences = 0;
  for (const nlohmann::json& item : *single) {
    DECANT_ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Of(item, absl::StrCat(part.where(), ": single")));
    if (fields.Has("Sequence")) {
      ++sequences;
      continue;
    }
    DECANT_ASSIGN_OR_RETURN(const JsonFields token, fields.Object("SpecialToken"));
    DECANT_ASSIGN_OR_RETURN(const std::string name, token.String("id"));
    DECANT_RETURN_IF_ERROR(AppendSpecial(specials, name, sequences == 0 ? processor.before : processor.after));
  }
  if (sequences != 1) {
    return absl::UnimplementedError(
        absl::StrCat(part.where(), ": the template names the text ", sequences, " times; decant knows once"));
  }
  return processor;
}

absl::Status AddProcessor(const JsonFields& part, PostProcessor& processor) {
  DECANT_ASSIGN_OR_RETURN(const std::string type, part.String("type"));
  if (type == "ByteLevel") return absl::OkStatus();  // about offsets only, which nobody asks for
  if (type == "Sequence") {
    DECANT_ASSIGN_OR_RETURN(const nlohmann::json* list, part.Array("processors"));
    for (const nlohmann::json& inner : *list) {
      DECANT_ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Of(inner, part.where()));
      DECANT_RETURN_IF_ERROR(AddProcessor(fields, processor));
    }
    return absl::OkStatus();
  }
  if (type != "TemplateProcessing") {
    return absl::UnimplementedError(
        absl::StrCat(part.where(), ": post_processor \"", type,
                     "\" is not known to decant; it knows ByteLevel, Sequence and TemplateProcessing. Take a model "
                     "with a byte-level or Llama-2-style BPE tokenizer"));
  }
  DECANT_ASSIGN_OR_RETURN(const PostProcessor outer, ReadTemplate(part));
  processor.before.insert(processor.before.begin(), outer.before.begin(), outer.before.end());
  processor.after.insert(processor.after.end(), outer.after.begin(), outer.after.end());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PostProcessor> ReadPostProcessor(const JsonFields& tokenizer) {
  PostProcessor processor;
  if (!tokenizer.Has("post_processor")) return processor;
  DECANT_ASSIGN_OR_RETURN(const JsonFields part, tokenizer.Object("post_processor"));
  DECANT_RETURN_IF_ERROR(AddProcessor(part, processor));
  return processor;
}

}  // namespace decant
