#include "load_tests/peers/peer_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>

#include "absl/time/clock.h"
#include "common/base/check.h"

namespace decant {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

// Until a line holds `ready`; what follows it.
std::string ReadUntil(int output, const std::string& ready) {
  std::string line;
  for (char c = 0; read(output, &c, 1) == 1;) {
    if (c != '\n') {
      line += c;
      continue;
    }
    const size_t at = line.find(ready);
    if (at != std::string::npos) return line.substr(at + ready.size(), line.find(' ', at) - at - ready.size());
    line.clear();
  }
  return {};
}

}  // namespace

int FreePort() {
  const int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof(address);
  DECANT_CHECK(bind(file, reinterpret_cast<sockaddr*>(&address), length) == 0);
  DECANT_CHECK(getsockname(file, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  close(file);
  return ntohs(address.sin_port);
}

int ConnectTcp(const std::string& address) {
  const int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in to = Loopback(std::atoi(address.substr(address.rfind(':') + 1).c_str()));
  if (connect(file, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) {
    close(file);
    return -1;
  }
  const int one = 1;
  setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  return file;
}

std::unique_ptr<PeerProcess> PeerProcess::Start(const std::vector<std::string>& arguments, const std::string& ready,
                                                const std::string& address) {
  if (access(arguments[0].c_str(), X_OK) != 0) return nullptr;
  int ends[2];
  DECANT_CHECK(pipe2(ends, O_CLOEXEC) == 0);
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = fork();
  DECANT_CHECK(pid >= 0);
  if (pid == 0) {
    // It must not outlive us, nor hold what we have open.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(ends[1], STDOUT_FILENO);
    close_range(3, ~0u, 0);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(ends[1]);
  auto process = std::unique_ptr<PeerProcess>(new PeerProcess(pid, ends[0]));
  if (!ready.empty()) {
    process->address_ = ReadUntil(ends[0], ready);
    DECANT_CHECK_MSG(!process->address_.empty(), "%s did not start", argv[0]);
    return process;
  }
  process->address_ = address;
  for (int i = 0; i < 1000; ++i) {
    const int file = ConnectTcp(address);
    if (file >= 0) {
      close(file);
      return process;
    }
    absl::SleepFor(absl::Milliseconds(10));
  }
  DECANT_CHECK_MSG(false, "%s did not start", argv[0]);
  return nullptr;
}

PeerProcess::~PeerProcess() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  close(output_);
}

double PeerProcess::CpuSeconds() const {
  clockid_t clock{};
  timespec t{};
  DECANT_CHECK(clock_getcpuclockid(pid_, &clock) == 0 && clock_gettime(clock, &t) == 0);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

}  // namespace decant
