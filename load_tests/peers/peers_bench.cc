// decant's pool beside redis-server and memcached: put and get of values from 64 KiB to 4 MiB by 1 and 4 clients on
// loopback, closed loop, one at a time and (get_chain) 16 at once, each value compared byte for byte. Every round uses
// new values, all contestants the same ones, in turn; servers are started anew for each size.
#include <algorithm>
#include <filesystem>
#include <functional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/barrier.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/base/random.h"
#include "load_tests/peers/peer.h"
#include "load_tests/support/report.h"

namespace decant {
namespace {

constexpr int64_t kRoundBytes = int64_t{128} << 20;
constexpr int kChain = 16;  // values of one chain: a prompt of 1,024 tokens

std::vector<Peer> StartPeers() {
  std::vector<Peer> peers;
  const std::string here = std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
  peers.push_back({"pool",
                   PeerProcess::Start({here + "/../../services/pool/decant_pool", "--listen", "127.0.0.1:0",
                                       "--metrics", "", "--pool-bytes", "2GiB", "--log-level", "error"},
                                      "ready pool=", ""),
                   ConnectPool});
  const std::string redis = absl::StrCat(FreePort());
  peers.push_back({"redis",
                   PeerProcess::Start({"/usr/bin/redis-server", "--port", redis, "--bind", "127.0.0.1", "--save", "",
                                       "--appendonly", "no", "--maxmemory", "2gb", "--maxmemory-policy", "allkeys-lru"},
                                      "", "127.0.0.1:" + redis),
                   ConnectRedis});
  const std::string memcached = absl::StrCat(FreePort());
  peers.push_back({"memcached",
                   PeerProcess::Start({"/usr/bin/memcached", "-u", "root", "-p", memcached, "-U", "0", "-l",
                                       "127.0.0.1", "-m", "3072", "-I", "8m", "-t", "2"},
                                      "", "127.0.0.1:" + memcached),
                   ConnectMemcached});
  for (const Peer& peer : peers) {
    DECANT_CHECK_MSG(peer.server != nullptr, "%s is not installed: deploy/install.sh", peer.name.c_str());
  }
  return peers;
}

struct Sample {
  double bytes_per_second = 0;
  double cpu_seconds_per_gb = 0;  // of both ends
};
struct Samples {
  std::vector<double> rate;
  std::vector<double> cpu;
  void Add(const Sample& sample) {
    rate.push_back(sample.bytes_per_second);
    cpu.push_back(sample.cpu_seconds_per_gb);
  }
};

// Chains by client.
using Values = std::vector<std::vector<std::vector<Value>>>;

Values ValuesOf(uint64_t round, int clients, int64_t value_bytes, int64_t total) {
  Values values(static_cast<size_t>(clients));
  const int64_t each = std::max<int64_t>(1, total / value_bytes / clients);
  for (int client = 0; client < clients; ++client) {
    for (int64_t done = 0; done < each; done += kChain) {
      const uint64_t seed = MixBits(MixBits(round, static_cast<uint64_t>(clients)),
                                    MixBits(static_cast<uint64_t>(client), static_cast<uint64_t>(done)));
      values[static_cast<size_t>(client)].push_back(
          ChainOf(seed, static_cast<int>(std::min<int64_t>(kChain, each - done)), value_bytes));
    }
  }
  return values;
}

// Runs `work` for each client at once and measures from the first start to the last end.
Sample Measure(const Peer& peer, int clients, double bytes, const std::function<void(size_t)>& work) {
  absl::Barrier start(clients + 1);
  auto* const go = &start;
  std::vector<std::thread> threads;
  std::vector<double> ends(static_cast<size_t>(clients));
  for (size_t client = 0; client < ends.size(); ++client) {
    threads.emplace_back([&, client] {
      go->Block();
      work(client);
      ends[client] = WallSeconds();
    });
  }
  const double cpu = CpuSeconds() + peer.server->CpuSeconds();
  const double began = WallSeconds();
  go->Block();
  for (std::thread& thread : threads) thread.join();
  Sample sample;
  sample.bytes_per_second = bytes / (*std::max_element(ends.begin(), ends.end()) - began);
  sample.cpu_seconds_per_gb = (CpuSeconds() + peer.server->CpuSeconds() - cpu) / (bytes * 1e-9);
  return sample;
}

// Of one contestant.
struct Measured {
  Samples puts;
  Samples gets;
  Samples chains;  // got, 16 values at once
};

void Round(const Peer& peer, int64_t value_bytes, const Values& values, Measured& measured) {
  const auto clients = static_cast<int>(values.size());
  std::vector<std::unique_ptr<PeerClient>> connections;
  double bytes = 0;
  for (const auto& chains : values) {
    connections.push_back(peer.connect(peer.server->address(), value_bytes));
    for (const auto& chain : chains) {
      for (const Value& value : chain) bytes += static_cast<double>(value.bytes.size());
    }
  }
  measured.puts.Add(Measure(peer, clients, bytes, [&](size_t client) {
    for (const auto& chain : values[client]) {
      for (const Value& value : chain) connections[client]->Put(value);
    }
  }));
  for (size_t client = 0; client < values.size(); ++client) {
    for (const auto& chain : values[client]) connections[client]->BeforeGets(chain);
  }
  measured.gets.Add(Measure(peer, clients, bytes, [&](size_t client) {
    for (const auto& chain : values[client]) {
      for (const Value& value : chain) {
        DECANT_CHECK_MSG(connections[client]->Get(value), "%s gave other bytes than were put", peer.name.c_str());
      }
    }
  }));
  measured.chains.Add(Measure(peer, clients, bytes, [&](size_t client) {
    for (const auto& chain : values[client]) {
      DECANT_CHECK_MSG(connections[client]->GetChain(chain), "%s gave other bytes than were put", peer.name.c_str());
    }
  }));
}

void Compare(Report& report, const std::vector<Peer>& peers, int64_t value_bytes, int clients, int rounds,
             int64_t total) {
  std::vector<Measured> measured(peers.size());
  {
    const Values warm = ValuesOf(0, clients, value_bytes, total / 4);
    Measured none;
    for (const Peer& peer : peers) Round(peer, value_bytes, warm, none);
  }
  for (int round = 1; round <= rounds; ++round) {
    const Values values = ValuesOf(static_cast<uint64_t>(round), clients, value_bytes, total);
    for (size_t i = 0; i < peers.size(); ++i) Round(peers[i], value_bytes, values, measured[i]);
  }
  const auto add = [&](const std::string& name, const char* unit, const std::vector<double>& all,
                       const std::vector<double>& redis) {
    report.Add(name, Median(all), unit, Median(redis), MedianRatio(all, redis));
  };
  for (size_t i = 0; i < peers.size(); ++i) {
    const std::string name = absl::StrCat("peers.", peers[i].name, ".", value_bytes >> 10, "KiB.", clients, "c.");
    for (const auto& [what, samples] : {std::pair("put", &Measured::puts), std::pair("get", &Measured::gets),
                                        std::pair("get_chain", &Measured::chains)}) {
      add(absl::StrCat(name, what, "_bytes_per_s"), "bytes/s", (measured[i].*samples).rate,
          (measured[1].*samples).rate);
      add(absl::StrCat(name, what, "_cpu_s_per_gb"), "s/GB", (measured[i].*samples).cpu, (measured[1].*samples).cpu);
    }
  }
}

int Main(int argc, char** argv) {
  const LoadTestFlags flags = ParseLoadTestFlags(argc, argv);
  const int rounds = flags.quick ? 1 : 5;
  const int64_t total = flags.quick ? kRoundBytes / 4 : kRoundBytes;
  Report report(flags);
  for (const int64_t kib : {64, 256, 1024, 4096}) {
    const std::vector<Peer> peers = StartPeers();
    for (const int clients : {1, 4}) Compare(report, peers, kib << 10, clients, rounds, total);
  }
  return report.Finish();
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) { return decant::Main(argc, argv); }
