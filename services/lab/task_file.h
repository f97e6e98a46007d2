#ifndef DECANT_SERVICES_LAB_TASK_FILE_H_
#define DECANT_SERVICES_LAB_TASK_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/lab/task.h"

namespace decant {

// A user's own data, one JSON object a line: {"context": TEXT, "questions": [{"ask": TEXT, "answer": TEXT}, ...]}.
// Context, question and answer are joined verbatim: an answer begins with a space where the model writes one. Blank
// lines are skipped. INVALID_ARGUMENT with the line's number and what is allowed.
absl::StatusOr<LabTask> ParseTaskFile(absl::string_view name, absl::string_view text);

// The same of a file; the task is named for the file without folder and extension. NOT_FOUND when it cannot be read.
absl::StatusOr<LabTask> ReadTaskFile(const std::string& path);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_TASK_FILE_H_
