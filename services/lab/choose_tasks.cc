#include "services/lab/choose_tasks.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "services/lab/choose_grid.h"
#include "services/lab/task_file.h"
#include "services/lab/text_task.h"

namespace decant {
namespace {

constexpr absl::string_view kTextPrefix = "text:";

// The contexts of a file that are long enough to be cut into prompt and long output.
LabTask LongTaskOf(const LabTask& file, const Tokenizer& tokenizer) {
  LabTask task = TinyLongTask();
  task.make = nullptr;
  for (const LabText& text : file.texts) {
    const absl::StatusOr<std::vector<int32_t>> ids = tokenizer.Encode(text.context);
    if (ids.ok() && ids->size() >= static_cast<size_t>(kLongTokens) + kLeastLength) {
      task.texts.push_back({text.context, {}});
    }
  }
  return task;
}

absl::StatusOr<std::vector<LabTask>> FileTasks(const std::string& path, const Tokenizer& tokenizer,
                                               std::vector<std::string>& notes) {
  std::vector<LabTask> tasks;
  DECANT_ASSIGN_OR_RETURN(LabTask task, ReadTaskFile(path));
  LabTask long_task = LongTaskOf(task, tokenizer);
  if (task.name == long_task.name) long_task.name += "_output";  // results are known by the names of their tasks
  tasks.push_back(std::move(task));
  if (long_task.texts.empty()) {
    notes.push_back(absl::StrCat("No long output: no context has ", kLongTokens + kLeastLength, " tokens."));
  } else {
    tasks.push_back(std::move(long_task));
  }
  return tasks;
}

}  // namespace

bool IsText(const std::string& tasks) { return absl::StartsWith(tasks, kTextPrefix); }
bool IsTaskFile(const std::string& tasks) {
  return !IsText(tasks) && (absl::EndsWith(tasks, ".jsonl") || absl::StrContains(tasks, '/'));
}

absl::StatusOr<bool> IsChatModel(const Tokenizer& tokenizer) {
  DECANT_ASSIGN_OR_RETURN(const std::vector<int32_t> none, tokenizer.Encode(""));
  DECANT_ASSIGN_OR_RETURN(const std::vector<int32_t> begin, tokenizer.Encode("<|im_start|>"));
  return begin.size() == none.size() + 1;
}

absl::StatusOr<std::vector<LabTask>> ChooseTasks(const LabOptions& options, const Tokenizer& tokenizer,
                                                 std::vector<std::string>& notes) {
  if (IsText(options.tasks)) {
    const int32_t windows = options.samples.empty() ? kTextWindows : options.samples[0];
    DECANT_ASSIGN_OR_RETURN(LabTask task, ReadTextTask(options.tasks.substr(kTextPrefix.size()), tokenizer, windows));
    return std::vector<LabTask>{std::move(task)};
  }
  if (IsTaskFile(options.tasks)) return FileTasks(options.tasks, tokenizer, notes);
  DECANT_ASSIGN_OR_RETURN(const bool chat, IsChatModel(tokenizer));
  std::vector<LabTask> known = chat ? ChatTasks() : TinyTasks();
  known.push_back(chat ? ChatLongTask() : TinyLongTask());
  std::vector<std::string> names;
  for (const LabTask& task : known) names.push_back(task.name);
  if (options.tasks.empty()) {
    // A quick look leaves out what decant-tiny is weak at.
    const auto weak = [&](const LabTask& task) { return task.name == "moves" || task.name == "documents"; };
    if (options.quick) known.erase(std::remove_if(known.begin(), known.end(), weak), known.end());
    return known;
  }
  std::vector<LabTask> tasks;
  for (const absl::string_view name : absl::StrSplit(options.tasks, ',')) {
    const size_t before = tasks.size();
    // "passkey" stands for all of its depths.
    const bool all_depths = absl::StrCat(name, "_") == kPassKey;
    for (const LabTask& task : known) {
      if (task.name != name && !(all_depths && absl::StartsWith(task.name, kPassKey))) continue;
      for (const LabTask& chosen : tasks) {
        if (chosen.name == task.name) return StandsTwice(absl::StrCat("task ", task.name));
      }
      tasks.push_back(task);
    }
    if (tasks.size() == before) {
      return absl::NotFoundError(absl::StrCat("task '", name, "' is unknown; for this model there are ",
                                              absl::StrJoin(names, ", "), ", or give a file *.jsonl"));
    }
  }
  return tasks;
}

}  // namespace decant
