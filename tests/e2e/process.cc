#include "tests/e2e/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"

extern char** environ;

namespace decant {

absl::StatusOr<std::unique_ptr<Process>> Process::Start(const std::vector<std::string>& arguments) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::InternalError("no pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    return absl::InternalError(absl::StrCat("cannot start ", arguments[0], ": ", std::strerror(error)));
  }
  return std::unique_ptr<Process>(new Process(pid, ends[0]));
}

Process::~Process() {
  if (!exited_) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(output_);
}

absl::Status Process::ReadMore(absl::Time deadline) {
  pollfd descriptor{output_, POLLIN, 0};
  const int64_t left = std::max<int64_t>(0, absl::ToInt64Milliseconds(deadline - absl::Now()));
  const int ready = poll(&descriptor, 1, static_cast<int>(std::min<int64_t>(left, 600'000)));
  if (ready == 0) return absl::DeadlineExceededError(absl::StrCat("no more output; so far: ", unread_));
  char bytes[4096];
  const ssize_t count = read(output_, bytes, sizeof(bytes));
  if (count <= 0) return absl::UnavailableError(absl::StrCat("the output has ended; so far: ", unread_));
  unread_.append(bytes, static_cast<size_t>(count));
  return absl::OkStatus();
}

absl::StatusOr<std::string> Process::WaitLine(const std::string& prefix, absl::Time deadline) {
  while (true) {
    const size_t end = unread_.find('\n');
    if (end == std::string::npos) {
      DECANT_RETURN_IF_ERROR(ReadMore(deadline));
      continue;
    }
    const std::string line = unread_.substr(0, end);
    unread_.erase(0, end + 1);
    if (line.compare(0, prefix.size(), prefix) == 0) return line;
  }
}

absl::StatusOr<std::string> Process::ReadAll(absl::Time deadline) {
  absl::Status status;
  while (status.ok()) status = ReadMore(deadline);
  if (!absl::IsUnavailable(status)) return status;
  return unread_;
}

void Process::Signal(int signal) {
  if (!exited_) kill(pid_, signal);
}

absl::StatusOr<int> Process::WaitExit(absl::Time deadline) {
  while (!exited_) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      exited_ = true;
      exit_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    } else if (absl::Now() > deadline) {
      return absl::DeadlineExceededError("the process still runs");
    } else {
      absl::SleepFor(absl::Milliseconds(5));
    }
  }
  return exit_;
}

}  // namespace decant
