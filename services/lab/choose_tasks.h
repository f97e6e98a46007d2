// Which tasks a run measures: the built-in ones of the model, a user's file, or a plain text.
#ifndef DECANT_SERVICES_LAB_CHOOSE_TASKS_H_
#define DECANT_SERVICES_LAB_CHOOSE_TASKS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/model/tokenizer.h"
#include "services/lab/app.h"
#include "services/lab/task.h"

namespace decant {

// What --tasks names: "text:FILE", or a file by its ending or a slash; else names of tasks.
bool IsText(const std::string& tasks);
bool IsTaskFile(const std::string& tasks);

inline constexpr int32_t kTextWindows = 3;   // of a text, without --samples
inline constexpr int32_t kLeastLength = 64;  // tokens of a context

// Whether the model was trained on messages: it has one token for the word that begins one.
absl::StatusOr<bool> IsChatModel(const Tokenizer& tokenizer);

// NOT_FOUND for a name that is no task of this model, with those there are; INVALID_ARGUMENT for one that stands there
// twice and for what is wrong with a file. `notes` get what a file has no text for.
absl::StatusOr<std::vector<LabTask>> ChooseTasks(const LabOptions& options, const Tokenizer& tokenizer,
                                                 std::vector<std::string>& notes);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_CHOOSE_TASKS_H_
