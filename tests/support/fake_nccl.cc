#include "tests/support/fake_nccl.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "common/base/check.h"

namespace decant {
namespace {

constexpr int64_t kPiece = 16 << 10;

}  // namespace

// Where the two ranks of a communicator find each other's socket.
struct FakeNccl::Rendezvous {
  Rendezvous() { DECANT_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets.data()) == 0); }
  ~Rendezvous() {
    for (const int socket : sockets) close(socket);
  }
  std::array<int, 2> sockets{};
  std::array<std::atomic<bool>, 2> here{};
};

struct FakeNccl::Communicator {
  std::shared_ptr<Rendezvous> meeting;
  int rank = 0;
  std::atomic<bool> hangs{false};
  std::atomic<bool> aborted{false};
  std::atomic<NcclResult> state{NcclResult::kInProgress};
  std::thread operation;

  int socket() const { return meeting->sockets[static_cast<size_t>(rank)]; }
  // False when the communicator was aborted meanwhile.
  bool Wait(absl::Duration time) const {
    const absl::Time end = absl::Now() + time;
    while (!aborted && absl::Now() < end) absl::SleepFor(absl::Milliseconds(1));
    return !aborted;
  }
  bool Move(bool sends, char* memory, int64_t bytes) const {
    for (int64_t at = 0; at < bytes;) {
      pollfd ready{socket(), static_cast<short>(sends ? POLLOUT : POLLIN), 0};
      if (aborted) return false;
      if (poll(&ready, 1, 1) == 0) continue;
      const auto piece = static_cast<size_t>(std::min(kPiece, bytes - at));
      const ssize_t moved = sends ? send(socket(), memory + at, piece, MSG_NOSIGNAL | MSG_DONTWAIT)
                                  : recv(socket(), memory + at, piece, MSG_DONTWAIT);
      if (moved == 0 || (moved < 0 && errno != EAGAIN)) return false;
      if (moved > 0) at += moved;
    }
    return true;
  }
};

FakeNccl::FakeNccl() = default;

FakeNccl::~FakeNccl() {
  absl::MutexLock lock(&mutex_);
  DECANT_CHECK_MSG(live_ == 0, "%d communicators were never aborted", live_);
}

void FakeNccl::Set(const NcclFaults& faults) {
  absl::MutexLock lock(&mutex_);
  faults_ = faults;
}

int FakeNccl::communicators() {
  absl::MutexLock lock(&mutex_);
  return live_;
}

int FakeNccl::most_communicators() {
  absl::MutexLock lock(&mutex_);
  return most_;
}

int FakeNccl::made() {
  absl::MutexLock lock(&mutex_);
  return made_;
}

int64_t FakeNccl::bytes_sent() {
  absl::MutexLock lock(&mutex_);
  return sent_;
}

NcclResult FakeNccl::Join(NcclCommunicator* made, const NcclUniqueId& id, int rank) {
  absl::MutexLock lock(&mutex_);
  if (faults_.join_fails) return NcclResult::kSystemError;
  std::shared_ptr<Rendezvous>& meeting = meetings_[id];
  if (meeting == nullptr) meeting = std::make_shared<Rendezvous>();
  auto* communicator = new Communicator;
  communicator->meeting = meeting;
  communicator->rank = rank;
  communicator->hangs = faults_.join_hangs;
  meeting->here[static_cast<size_t>(rank)] = true;
  *made = communicator;
  ++made_;
  most_ = std::max(most_, ++live_);
  return NcclResult::kInProgress;
}

NcclResult FakeNccl::Begin(Communicator& communicator, bool sends, void* memory, int64_t bytes, Stream& stream) {
  if (communicator.operation.joinable()) communicator.operation.join();
  NcclFaults faults;
  {
    absl::MutexLock lock(&mutex_);
    faults = faults_;
  }
  if (sends && faults.send_fails) return NcclResult::kInvalidArgument;
  communicator.state = NcclResult::kInProgress;
  communicator.operation = std::thread([this, &communicator, sends, memory, bytes, &stream, faults] {
    Communicator& c = communicator;
    if (!c.Wait(faults.delay)) return;
    std::vector<char> copy(static_cast<size_t>(bytes));
    const auto access = [&](bool in) {
      const HostAccess open(stream);
      auto* device = static_cast<char*>(memory);
      if (in) std::copy(device, device + bytes, copy.begin());
      if (!in) std::copy(copy.begin(), copy.end(), device);
    };
    if (sends) access(true);
    if (sends && faults.bit_flips) copy[copy.size() / 2] = static_cast<char>(copy[copy.size() / 2] ^ 1);
    const bool stops = sends && (faults.send_hangs || faults.sender_dies);
    bool moved = c.Move(sends, copy.data(), stops ? bytes / 2 : bytes);
    if (stops && faults.sender_dies) shutdown(c.socket(), SHUT_RDWR);
    if (stops && !c.Wait(absl::Hours(1))) return;
    if (moved && !sends) access(false);
    // The receiver says that it has it all.
    char token = 0;
    moved = moved && c.Move(!sends, &token, 1);
    if (moved && sends) {
      absl::MutexLock lock(&mutex_);
      sent_ += bytes;
    }
    c.state = moved ? NcclResult::kSuccess : NcclResult::kRemoteError;
  });
  return NcclResult::kInProgress;
}

NcclResult FakeNccl::Abort(Communicator* communicator) {
  communicator->aborted = true;
  if (communicator->operation.joinable()) communicator->operation.join();
  shutdown(communicator->socket(), SHUT_RDWR);
  delete communicator;
  absl::MutexLock lock(&mutex_);
  --live_;
  return NcclResult::kSuccess;
}

NcclFunctions FakeNccl::functions() {
  NcclFunctions table;
  table.get_unique_id = [this](NcclUniqueId* id) {
    absl::MutexLock lock(&mutex_);
    if (faults_.id_fails) return NcclResult::kSystemError;
    id->fill(0);
    const uint64_t number = ++ids_;
    std::copy_n(reinterpret_cast<const char*>(&number), sizeof(number), id->begin());
    return NcclResult::kSuccess;
  };
  table.init = [this](NcclCommunicator* communicator, int ranks, const NcclUniqueId& id, int rank) {
    DECANT_CHECK(ranks == 2);
    return Join(communicator, id, rank);
  };
  table.async_error = [](NcclCommunicator communicator, NcclResult* state) {
    auto& c = *static_cast<Communicator*>(communicator);
    const bool joining = !c.operation.joinable();
    const bool both = c.meeting->here[0] && c.meeting->here[1] && !c.hangs;
    *state = joining ? (both ? NcclResult::kSuccess : NcclResult::kInProgress) : c.state.load();
    return NcclResult::kSuccess;
  };
  table.send = [this](const void* from, int64_t bytes, int peer, NcclCommunicator communicator, Stream& stream) {
    auto& c = *static_cast<Communicator*>(communicator);
    DECANT_CHECK(peer == 1 - c.rank);
    return Begin(c, true, const_cast<void*>(from), bytes, stream);
  };
  table.receive = [this](void* to, int64_t bytes, int peer, NcclCommunicator communicator, Stream& stream) {
    auto& c = *static_cast<Communicator*>(communicator);
    DECANT_CHECK(peer == 1 - c.rank);
    return Begin(c, false, to, bytes, stream);
  };
  table.abort = [this](NcclCommunicator communicator) { return Abort(static_cast<Communicator*>(communicator)); };
  table.error_text = [](NcclResult result) { return "code " + std::to_string(static_cast<int>(result)); };
  return table;
}

}  // namespace decant
