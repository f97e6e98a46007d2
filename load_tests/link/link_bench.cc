// Frame transfer between two processes of one host, over gRPC's loopback and over the memory that they share, beside a
// plain TCP socket, in interleaved rounds: bytes per second and CPU seconds of both ends per GB. All receivers end with
// the bytes in the memory they are meant for; the sockets have no checksum, no acknowledgement per batch and no framing
// but a length. The first, which is the baseline, has the kernel write there; the second reads into a buffer and copies
// out, as a receiver must that learns from a message where its bytes belong.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "decant/v1/decode.grpc.pb.h"
#include "gpu/link/device_carriers.h"
#include "gpu/link/device_mover.h"
#include "load_tests/support/report.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_link.h"
#include "services/rpc/reply.h"
#include "services/rpc/server.h"
#include "services/rpc/worker_links.h"
#include "services/rpc/worker_rpc.h"

namespace decant {
namespace {

constexpr size_t kPool = size_t{64} << 20;  // both ends walk through this much, beyond the caches

// Pages of its own in each process: what fork shares would be copied while the clock runs.
char* TouchedPool(char value) {
  void* pool = mmap(nullptr, kPool, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  DECANT_CHECK(pool != MAP_FAILED);
  std::memset(pool, value, kPool);
  return static_cast<char*>(pool);
}

void ReadAll(int file, void* to, size_t bytes) {
  auto* p = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t n = recv(file, p, bytes, MSG_WAITALL);
    if (n <= 0) _exit(0);
    p += n;
    bytes -= static_cast<size_t>(n);
  }
}

void WriteAll(int file, const void* from, size_t bytes) {
  const auto* p = static_cast<const char*>(from);
  while (bytes > 0) {
    const ssize_t n = send(file, p, bytes, MSG_NOSIGNAL);
    DECANT_CHECK(n > 0);
    p += n;
    bytes -= static_cast<size_t>(n);
  }
}

// A process that receives; it tells its address and then works until it is killed or its parent is gone.
struct Child {
  pid_t pid = 0;
  std::string address;

  double CpuSeconds() const {
    clockid_t clock{};
    timespec t{};
    DECANT_CHECK(clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &t) == 0);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
  }
  void Stop() const {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
};

Child Spawn(const std::function<void(const std::function<void(const std::string&)>& ready)>& body) {
  int pipe_ends[2];
  DECANT_CHECK(pipe(pipe_ends) == 0);
  Child child;
  child.pid = fork();
  DECANT_CHECK(child.pid >= 0);
  if (child.pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    body([&](const std::string& address) {
      const std::string line = address + "\n";
      DECANT_CHECK(write(pipe_ends[1], line.data(), line.size()) == static_cast<ssize_t>(line.size()));
    });
    _exit(0);
  }
  close(pipe_ends[1]);
  for (char c = 0; read(pipe_ends[0], &c, 1) == 1 && c != '\n';) child.address += c;
  close(pipe_ends[0]);
  DECANT_CHECK(!child.address.empty());
  return child;
}

// Batches land one after another in the pool, as in a worker that copies them on.
class PoolSink final : public FrameSink {
 public:
  explicit PoolSink(char* pool) : pool_(pool) {}
  absl::Status Open(const TransferOpen&) override { return absl::OkStatus(); }
  absl::StatusOr<MemoryRef> Grant(uint64_t, const BatchHeader& header) override {
    const auto bytes = static_cast<size_t>(header.bytes);
    return MemoryRef{MemorySpace::kHost, pool_ + header.sequence % (kPool / bytes) * bytes, header.bytes};
  }
  absl::Status Landed(uint64_t, const BatchHeader&, MemoryRef) override { return absl::OkStatus(); }
  void Committed(const TransferCommit&, std::function<void(const absl::Status&)> done) override {
    done(absl::OkStatus());
  }
  void Aborted(uint64_t, const absl::Status&) override {}

 private:
  char* const pool_;
};

using DecodeTransfer =
    v1::Decode::WithRawCallbackMethod_Transfer<v1::Decode::WithCallbackMethod_Connect<v1::Decode::Service>>;

// One end of a link in its process. Without `shares` it has gRPC only.
struct End {
  explicit End(bool shares)
      : device(CreateHostDevice(1)),
        mover(*device),
        links(channels, shares ? MakeDeviceCarriers(*device, LogCarriers) : Carriers(), {ProcessName(), HostName()}) {}
  using Carriers = std::vector<std::unique_ptr<PayloadCarriers>>;

  const std::unique_ptr<Device> device;
  DeviceMover mover;
  Channels channels;
  WorkerLinks links;
};

class Receiver final : public DecodeTransfer {
 public:
  Receiver(FrameSink& sink, End& end, bool checksums) : sink_(sink), end_(end) {
    options_.checksums = checksums;
    options_.carriers = end.links.carriers();
    options_.mover = &end.mover;
  }
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Transfer(grpc::CallbackServerContext*) override {
    return ServeTransfer(sink_, options_);
  }
  grpc::ServerUnaryReactor* Connect(grpc::CallbackServerContext*, const v1::ConnectRequest* request,
                                    v1::ConnectReply* reply) override {
    auto answer = UnaryAnswer<v1::ConnectReply>::Create(reply);
    answer->Finish(end_.links.Accept(*request));
    return answer->reactor();
  }

 private:
  FrameSink& sink_;
  End& end_;
  TransferServeOptions options_;
};

Child SpawnLinkReceiver(bool checksums, bool shares) {
  return Spawn([checksums, shares](const auto& ready) {
    PoolSink sink(TouchedPool(2));
    End end(shares);
    Receiver receiver(sink, end, checksums);
    v1::DescribeReply description;
    end.links.Describe(description);
    description.set_host(HostName());
    WorkerService worker(description, [] { return v1::Load(); });
    ServerOptions options;
    options.services = {&receiver, &worker};
    auto server = Server::Start(std::move(options));
    DECANT_CHECK(server.ok());
    ready((*server)->address());
    pause();
  });
}

Child SpawnTcpReceiver(bool copies_out) {
  return Spawn([copies_out](const auto& ready) {
    std::vector<char> buffer(copies_out ? size_t{256} << 10 : 0);
    char* const pool = TouchedPool(2);
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    DECANT_CHECK(bind(listener, reinterpret_cast<sockaddr*>(&address), length) == 0 && listen(listener, 1) == 0);
    DECANT_CHECK(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) == 0);
    ready(absl::StrCat(ntohs(address.sin_port)));
    const int connection = accept(listener, nullptr, nullptr);
    for (size_t at = 0;;) {
      uint64_t bytes = 0;
      ReadAll(connection, &bytes, sizeof(bytes));
      if (bytes == 0) {
        WriteAll(connection, "k", 1);
        continue;
      }
      if (at + bytes > kPool) at = 0;
      if (!copies_out) ReadAll(connection, pool + at, bytes);
      for (size_t done = 0; copies_out && done < bytes;) {
        const size_t piece = std::min<size_t>(buffer.size(), bytes - done);
        ReadAll(connection, buffer.data(), piece);
        CopyPastCaches(pool + at + done, buffer.data(), piece);
        done += piece;
      }
      at += bytes;
    }
  });
}

int ConnectTcp(const std::string& port) {
  const int connection = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(std::atoi(port.c_str())));
  DECANT_CHECK(connect(connection, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  const int one = 1;
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  return connection;
}

void SendOverTcp(int connection, const char* pool, size_t batch, size_t total) {
  for (size_t sent = 0; sent < total; sent += batch) {
    const uint64_t bytes = batch;
    WriteAll(connection, &bytes, sizeof(bytes));
    WriteAll(connection, pool + sent % kPool, batch);
  }
  const uint64_t end = 0;
  char answer = 0;
  WriteAll(connection, &end, sizeof(end));
  ReadAll(connection, &answer, 1);
}

void SendOverLink(FrameLink& link, const std::string& address, const char* pool, size_t batch, size_t total) {
  const absl::Time deadline = absl::Now() + absl::Seconds(120);
  auto sender = link.Open(address, {}, deadline);
  DECANT_CHECK_MSG(sender.ok(), "%s", sender.status().ToString().c_str());
  for (size_t sent = 0; sent < total; sent += batch) {
    const ConstMemoryRef part{MemorySpace::kHost, pool + sent % kPool, static_cast<int64_t>(batch)};
    const absl::Status status = (*sender)->Send(0, {&part, 1}, deadline);
    DECANT_CHECK_MSG(status.ok(), "%s", status.ToString().c_str());
  }
  const absl::Status status = (*sender)->Commit({}, deadline);
  DECANT_CHECK_MSG(status.ok(), "%s", status.ToString().c_str());
}

struct Contestant {
  std::string name;
  const Child* receiver;
  std::function<void(size_t batch, size_t total)> transfer;
  std::vector<double> bytes_per_second;
  std::vector<double> cpu_seconds_per_gb;

  void Round(size_t batch, size_t total) {
    const double cpu = CpuSeconds() + receiver->CpuSeconds();
    const double start = WallSeconds();
    transfer(batch, total);
    bytes_per_second.push_back(static_cast<double>(total) / (WallSeconds() - start));
    cpu_seconds_per_gb.push_back((CpuSeconds() + receiver->CpuSeconds() - cpu) / (static_cast<double>(total) * 1e-9));
  }
};

int Main(int argc, char** argv) {
  const LoadTestFlags flags = ParseLoadTestFlags(argc, argv);
  const size_t total = size_t{flags.quick ? 64u : 512u} << 20;
  const int rounds = flags.quick ? 5 : 9;
  // The receivers come before this process has a thread.
  const Child tcp = SpawnTcpReceiver(false);
  const Child tcp_copy = SpawnTcpReceiver(true);
  const Child plain = SpawnLinkReceiver(false, false);
  const Child checked = SpawnLinkReceiver(true, false);
  const Child shared = SpawnLinkReceiver(false, true);
  const Child shared_checked = SpawnLinkReceiver(true, true);
  const char* const pool = TouchedPool(1);
  const int connection = ConnectTcp(tcp.address);
  const int copy_connection = ConnectTcp(tcp_copy.address);
  End end(true);
  GrpcLink plain_link(end.channels, {.checksums = false});
  GrpcLink checked_link(end.channels, {.checksums = true});
  GrpcLink shared_link(end.channels, {.checksums = false, .carriers = &end.links, .mover = &end.mover});
  GrpcLink shared_checked_link(end.channels, {.checksums = true, .carriers = &end.links, .mover = &end.mover});
  for (const Child* child : {&shared, &shared_checked}) {
    end.links.CarrierTo(child->address);  // begins to connect
    const auto carrier = end.links.WaitFor(child->address, absl::Now() + absl::Seconds(30));
    DECANT_CHECK_MSG(carrier != nullptr, "no memory is shared with the receiver at %s", child->address.c_str());
  }

  Report report(flags);
  for (const size_t batch : {size_t{256} << 10, size_t{1} << 20}) {
    std::vector<Contestant> contestants = {
        {"tcp", &tcp, [&](size_t b, size_t t) { SendOverTcp(connection, pool, b, t); }, {}, {}},
        {"tcp_copy", &tcp_copy, [&](size_t b, size_t t) { SendOverTcp(copy_connection, pool, b, t); }, {}, {}},
        {"link", &plain, [&](size_t b, size_t t) { SendOverLink(plain_link, plain.address, pool, b, t); }, {}, {}},
        {"link_checksums",
         &checked,
         [&](size_t b, size_t t) { SendOverLink(checked_link, checked.address, pool, b, t); },
         {},
         {}},
        {"shared_memory",
         &shared,
         [&](size_t b, size_t t) { SendOverLink(shared_link, shared.address, pool, b, t); },
         {},
         {}},
        {"shared_memory_checksums",
         &shared_checked,
         [&](size_t b, size_t t) { SendOverLink(shared_checked_link, shared_checked.address, pool, b, t); },
         {},
         {}}};
    std::vector<std::function<double()>> turns;
    for (Contestant& contestant : contestants) {
      contestant.transfer(batch, total / 8);  // warms connection, heap and caches up
      turns.emplace_back([&contestant, batch, total] {
        contestant.Round(batch, total);
        return contestant.bytes_per_second.back();
      });
    }
    InterleavedRounds(rounds, turns);
    const Contestant& base = contestants[0];
    for (const Contestant& contestant : contestants) {
      const std::string name = absl::StrCat("link.", contestant.name, ".", batch >> 10, "KiB");
      report.Add(name + ".bytes_per_s", Median(contestant.bytes_per_second), "bytes/s", Median(base.bytes_per_second),
                 MedianRatio(contestant.bytes_per_second, base.bytes_per_second));
      report.Add(name + ".cpu_s_per_gb", Median(contestant.cpu_seconds_per_gb), "s/GB", Median(base.cpu_seconds_per_gb),
                 MedianRatio(contestant.cpu_seconds_per_gb, base.cpu_seconds_per_gb));
    }
  }
  for (const Child& child : {tcp, tcp_copy, plain, checked, shared, shared_checked}) child.Stop();
  return report.Finish();
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) { return decant::Main(argc, argv); }
