#ifndef DECANT_SERVICES_LAB_TEXT_TASK_H_
#define DECANT_SERVICES_LAB_TEXT_TASK_H_

#include <string>

#include "absl/status/statusor.h"
#include "common/model/tokenizer.h"
#include "services/lab/task.h"

namespace decant {

inline constexpr int32_t kWindowTokens = 1536;

// Perplexity of a plain text: `windows` windows of kWindowTokens tokens one after the other, from a quarter of the text
// on. The first tokens of a window are the prompt, the rest is fed and scored. The last window belongs to no
// measurement: thresholds are set on it. Named for the file without folder and extension. NOT_FOUND when it cannot be
// read, INVALID_ARGUMENT when it is too short.
absl::StatusOr<LabTask> ReadTextTask(const std::string& path, const Tokenizer& tokenizer, int32_t windows);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_TEXT_TASK_H_
