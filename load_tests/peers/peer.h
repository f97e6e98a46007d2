// A contestant: a server in a process of its own, and clients of it in ours.
#ifndef DECANT_LOAD_TESTS_PEERS_PEER_H_
#define DECANT_LOAD_TESTS_PEERS_PEER_H_

#include <memory>
#include <string>
#include <vector>

#include "load_tests/peers/peer_process.h"
#include "load_tests/peers/value.h"

namespace decant {

// One connection; for one thread. Ends the process when a call fails: a load test that loses values measures nothing.
class PeerClient {
 public:
  virtual ~PeerClient() = default;
  virtual void Put(const Value& value) = 0;
  // What must be known before the values of a chain are got; not measured.
  virtual void BeforeGets(const std::vector<Value>& chain) = 0;
  // True when the bytes that came are the value's.
  virtual bool Get(const Value& value) = 0;
  // The same for all values of a chain, asked for at once: as a prefix is.
  virtual bool GetChain(const std::vector<Value>& chain) = 0;
};

struct Peer {
  std::string name;
  std::unique_ptr<PeerProcess> server;
  std::unique_ptr<PeerClient> (*connect)(const std::string& address, int64_t value_bytes);
};

std::unique_ptr<PeerClient> ConnectPool(const std::string& address, int64_t value_bytes);
std::unique_ptr<PeerClient> ConnectRedis(const std::string& address, int64_t value_bytes);
std::unique_ptr<PeerClient> ConnectMemcached(const std::string& address, int64_t value_bytes);

}  // namespace decant

#endif  // DECANT_LOAD_TESTS_PEERS_PEER_H_
