// A server that we start, ask for its CPU time, and end.
#ifndef DECANT_LOAD_TESTS_PEERS_PEER_PROCESS_H_
#define DECANT_LOAD_TESTS_PEERS_PEER_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

namespace decant {

class PeerProcess {
 public:
  // Waits for a line on stdout that holds `ready` and keeps what follows it, up to a blank, as the address. With an
  // empty `ready` it waits until `address` can be connected to. Null when the program is not installed.
  static std::unique_ptr<PeerProcess> Start(const std::vector<std::string>& arguments, const std::string& ready,
                                            const std::string& address);
  ~PeerProcess();
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;

  const std::string& address() const { return address_; }
  double CpuSeconds() const;

 private:
  PeerProcess(pid_t pid, int output) : pid_(pid), output_(output) {}
  const pid_t pid_;
  const int output_;
  std::string address_;
};

// A port that nobody listens on now.
int FreePort();
// A blocking connection to 127.0.0.1, or -1.
int ConnectTcp(const std::string& address);

}  // namespace decant

#endif  // DECANT_LOAD_TESTS_PEERS_PEER_PROCESS_H_
