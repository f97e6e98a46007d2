#include "services/lab/task_file.h"

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

using nlohmann::json;

constexpr char kAllowed[] =
    "; a line is {\"context\": TEXT, \"questions\": [{\"ask\": TEXT, \"answer\": TEXT}, ...]} with no empty text";

absl::StatusOr<std::string> Text(const json& object, const char* field) {
  const auto found = object.find(field);
  if (found == object.end()) return absl::InvalidArgumentError(absl::StrCat("field \"", field, "\" is missing"));
  if (!found->is_string() || found->get_ref<const std::string&>().empty()) {
    return absl::InvalidArgumentError(absl::StrCat("field \"", field, "\" must be a text that is not empty"));
  }
  return found->get<std::string>();
}

absl::Status CheckFields(const json& object, const char* first, const char* second) {
  for (const auto& item : object.items()) {
    if (item.key() != first && item.key() != second) {
      return absl::InvalidArgumentError(absl::StrCat("unknown field \"", item.key(), "\""));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<LabText> ParseLine(absl::string_view line) {
  const json object = json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return absl::InvalidArgumentError("this is no JSON object");
  DECANT_RETURN_IF_ERROR(CheckFields(object, "context", "questions"));
  LabText text;
  DECANT_ASSIGN_OR_RETURN(text.context, Text(object, "context"));
  const auto questions = object.find("questions");
  if (questions == object.end() || !questions->is_array() || questions->empty()) {
    return absl::InvalidArgumentError("field \"questions\" must be a list that is not empty");
  }
  for (const json& entry : *questions) {
    if (!entry.is_object()) return absl::InvalidArgumentError("every question must be an object");
    DECANT_RETURN_IF_ERROR(CheckFields(entry, "ask", "answer"));
    LabQuestion question;
    DECANT_ASSIGN_OR_RETURN(question.ask, Text(entry, "ask"));
    DECANT_ASSIGN_OR_RETURN(question.answer, Text(entry, "answer"));
    text.questions.push_back(std::move(question));
  }
  return text;
}

}  // namespace

absl::StatusOr<LabTask> ParseTaskFile(absl::string_view name, absl::string_view text) {
  LabTask task;
  task.name = std::string(name);
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    absl::StatusOr<LabText> parsed = ParseLine(line);
    if (!parsed.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": ", parsed.status().message(), kAllowed));
    }
    task.texts.push_back(*std::move(parsed));
  }
  if (task.texts.empty()) return absl::InvalidArgumentError(absl::StrCat("there is no line", kAllowed));
  return task;
}

absl::StatusOr<LabTask> ReadTaskFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read the task file ", path));
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const absl::string_view base = absl::string_view(path).substr(path.find_last_of('/') + 1);
  absl::StatusOr<LabTask> task = ParseTaskFile(base.substr(0, base.find_last_of('.')), text);
  if (!task.ok()) return absl::Status(task.status().code(), absl::StrCat(path, ", ", task.status().message()));
  return task;
}

}  // namespace decant
