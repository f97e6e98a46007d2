// A redis-server of the Debian package on a unix socket of its own, for tests.
#ifndef DECANT_TESTS_SUPPORT_REDIS_SERVER_H_
#define DECANT_TESTS_SUPPORT_REDIS_SERVER_H_

#include <csignal>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "tests/e2e/process.h"

namespace decant {

class RedisServer {
 public:
  // `socket`: a path of at most 100 characters in a folder that exists. No file is written.
  static absl::StatusOr<std::unique_ptr<RedisServer>> Start(const std::string& socket,
                                                            std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"/usr/bin/redis-server",
                                          "--port",
                                          "0",
                                          "--unixsocket",
                                          socket,
                                          "--save",
                                          "",
                                          "--appendonly",
                                          "no",
                                          "--maxmemory",
                                          "64mb",
                                          "--maxmemory-policy",
                                          "allkeys-lru"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    absl::StatusOr<std::unique_ptr<Process>> process = Process::Start(arguments);
    if (!process.ok()) return process.status();
    while (true) {
      absl::StatusOr<std::string> line = (*process)->WaitLine("", absl::Now() + absl::Seconds(30));
      if (!line.ok()) return line.status();
      if (line->find("ready to accept connections") != std::string::npos) break;
    }
    return std::unique_ptr<RedisServer>(new RedisServer(*std::move(process)));
  }

  // The server neither answers nor closes anything until Continue.
  void Stop() { process_->Signal(SIGSTOP); }
  void Continue() { process_->Signal(SIGCONT); }

 private:
  explicit RedisServer(std::unique_ptr<Process> process) : process_(std::move(process)) {}
  std::unique_ptr<Process> process_;
};

}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_REDIS_SERVER_H_
