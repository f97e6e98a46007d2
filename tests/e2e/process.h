// A child process whose output a test reads line by line.
#ifndef DECANT_TESTS_E2E_PROCESS_H_
#define DECANT_TESTS_E2E_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace decant {

class Process {
 public:
  // stdout is read by us; stderr goes to the test's own.
  static absl::StatusOr<std::unique_ptr<Process>> Start(const std::vector<std::string>& arguments);
  // Kills it if it still runs.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // The next line that begins with `prefix`; DEADLINE_EXCEEDED, or UNAVAILABLE when the output ended.
  absl::StatusOr<std::string> WaitLine(const std::string& prefix, absl::Time deadline);
  // Everything until the output ends.
  absl::StatusOr<std::string> ReadAll(absl::Time deadline);
  void Signal(int signal);
  pid_t pid() const { return pid_; }
  // The exit status, or 128 + signal.
  absl::StatusOr<int> WaitExit(absl::Time deadline);

 private:
  Process(pid_t pid, int output) : pid_(pid), output_(output) {}
  absl::Status ReadMore(absl::Time deadline);

  pid_t pid_;
  int output_;
  std::string unread_;
  bool exited_ = false;
  int exit_ = 0;
};

}  // namespace decant

#endif  // DECANT_TESTS_E2E_PROCESS_H_
