#include "services/rpc/exit_limit.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "services/rpc/log.h"

namespace decant {

ExitLimit::ExitLimit(absl::Duration limit)
    : thread_([this, limit] {
        absl::MutexLock lock(&mutex_);
        if (mutex_.AwaitWithTimeout(absl::Condition(&over_), limit)) return;
        Log(LogLevel::kError, absl::StrCat("not stopped after ", absl::FormatDuration(limit), "; ends at once"));
        _exit(1);
      }) {}

ExitLimit::~ExitLimit() {
  {
    absl::MutexLock lock(&mutex_);
    over_ = true;
  }
  thread_.join();
}

}  // namespace decant
