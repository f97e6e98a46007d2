// What a process tells its operator, one line an event, on stderr. Never a prompt, a token or an answer: only
// addresses, counts, ids of tickets and the reasons that statuses give.
#ifndef DECANT_SERVICES_RPC_LOG_H_
#define DECANT_SERVICES_RPC_LOG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace decant {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// What --log-level takes.
std::vector<std::string> LogLevelNames();
// From now on Log writes lines of `level` and above, with the time and `process` in front. INVALID_ARGUMENT for a level
// that is none of LogLevelNames. Until this was called nothing is written, so that cores are silent in tests.
absl::Status StartLog(absl::string_view process, absl::string_view level);

// Thread-safe. Control characters, which a peer's words may hold, become spaces; a long message is cut.
void Log(LogLevel level, absl::string_view message);

// For events that come with requests: a few lines a period, then a count of those left out. Thread-safe.
class BoundedLog {
 public:
  explicit BoundedLog(int32_t lines = 10, absl::Duration period = absl::Seconds(10)) : lines_(lines), period_(period) {}
  void Log(absl::Time now, LogLevel level, absl::string_view message);

 private:
  const int32_t lines_;
  const absl::Duration period_;
  absl::Mutex mutex_;
  absl::Time began_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  int32_t written_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t left_out_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_LOG_H_
