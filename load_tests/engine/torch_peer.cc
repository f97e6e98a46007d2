#include "load_tests/engine/torch_peer.h"
#include "tests/support/paths/paths.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace decant {

std::unique_ptr<TorchPeer> TorchPeer::Start(const std::string& folder, int threads) {
  const char* python = std::getenv("DECANT_TORCH_PYTHON");
  if (python == nullptr) return nullptr;
  // A peer that died shows as a short read, not as a signal.
  std::signal(SIGPIPE, SIG_IGN);
  int requests[2];
  int answers[2];
  if (pipe(requests) != 0 || pipe(answers) != 0) return nullptr;
  std::unique_ptr<TorchPeer> peer(new TorchPeer);
  const std::string script = SourceDir() + "/load_tests/engine/torch_baseline.py";
  const std::string count = std::to_string(threads);
  peer->child_ = fork();
  if (peer->child_ == 0) {
    dup2(requests[0], STDIN_FILENO);
    dup2(answers[1], STDOUT_FILENO);
    for (const int fd : {requests[0], requests[1], answers[0], answers[1]}) close(fd);
    execl(python, python, script.c_str(), "--model", folder.c_str(), "--threads", count.c_str(), "--serve",
          static_cast<char*>(nullptr));
    _exit(127);
  }
  close(requests[0]);
  close(answers[1]);
  peer->to_ = fdopen(requests[1], "w");
  peer->from_ = fdopen(answers[0], "r");
  peer->name_ = peer->ReadLine();
  return peer->name_.empty() ? nullptr : std::move(peer);
}

TorchPeer::~TorchPeer() {
  if (to_ != nullptr) std::fclose(to_);  // the end of its input ends the peer
  if (from_ != nullptr) std::fclose(from_);
  if (child_ > 0) waitpid(child_, nullptr, 0);
}

std::string TorchPeer::ReadLine() {
  std::string line;
  for (int c = std::fgetc(from_); c != EOF && c != '\n'; c = std::fgetc(from_)) line.push_back(static_cast<char>(c));
  return line;
}

absl::StatusOr<double> TorchPeer::Measure(const std::string& request) {
  std::fprintf(to_, "%s\n", request.c_str());
  std::fflush(to_);
  const std::string line = ReadLine();
  double rate = 0;
  if (!absl::SimpleAtod(line, &rate) || rate <= 0) {
    return absl::UnavailableError(absl::StrCat("transformers answered '", line, "' to '", request, "'"));
  }
  return rate;
}

}  // namespace decant
