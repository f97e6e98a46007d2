// A slip is three numbers: the communicator's name, the batch's number on it, its bytes.
#include "gpu/link/nccl_carriers.h"

#include <atomic>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/bytes.h"
#include "common/base/status_macros.h"
#include "gpu/link/runs.h"

namespace decant {
namespace {

uint64_t NewName() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

}  // namespace

class NcclCarriers::Carrier final : public PayloadCarrier, public std::enable_shared_from_this<Carrier> {
 public:
  Carrier(NcclCarriers& all, uint64_t name, std::shared_ptr<NcclConnection> connection)
      : all_(all), name_(name), connection_(std::move(connection)) {}

  absl::string_view kind() const override { return kNcclKind; }
  bool usable() const override { return connection_->usable(); }
  std::unique_ptr<Passage> Take() override;

 private:
  friend class Exclusive;
  NcclCarriers& all_;
  const uint64_t name_;
  const std::shared_ptr<NcclConnection> connection_;
  std::atomic<bool> taken_{false};
  std::atomic<uint64_t> next_{0};  // batch; of whoever has taken it
};

class NcclCarriers::Exclusive final : public Passage {
 public:
  explicit Exclusive(std::shared_ptr<Carrier> carrier) : carrier_(std::move(carrier)) {}
  ~Exclusive() override {
    if (unacknowledged_ > 0) {
      carrier_->connection_->Break(absl::AbortedError("a transfer ended with batches under way"));
    }
    carrier_->taken_ = false;
  }

  absl::Status Send(std::vector<ConstMemoryRef> parts, absl::Time deadline,
                    std::function<void(absl::StatusOr<std::string>)> tell, std::function<void()> done) override {
    int64_t bytes = 0;
    parts = JoinRuns(parts, bytes);
    if (bytes == 0 || bytes > carrier_->all_.options_.batch_bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("NCCL carries batches of 1 to ", carrier_->all_.options_.batch_bytes, " bytes, not ", bytes));
    }
    std::string slip;
    ByteWriter writer(slip);
    writer.Put(carrier_->name_);
    writer.Put(carrier_->next_.load());
    writer.Put(bytes);
    NcclConnection::Batch batch;
    batch.parts = std::move(parts);
    batch.bytes = bytes;
    batch.deadline = deadline;
    // Told before the send begins: NCCL's first send waits for the receive.
    const auto told = std::make_shared<bool>(false);
    batch.begin = [tell, told, slip] {
      *told = true;
      tell(slip);
    };
    batch.done = [tell, told, done = std::move(done)](const absl::Status& status) {
      if (!*told) tell(status);
      done();
    };
    DECANT_RETURN_IF_ERROR(carrier_->connection_->Post(std::move(batch)));
    ++carrier_->next_;
    ++unacknowledged_;
    carrier_->all_.Use(carrier_->name_);
    return absl::OkStatus();
  }
  void Landed() override { --unacknowledged_; }

 private:
  const std::shared_ptr<Carrier> carrier_;
  int64_t unacknowledged_ = 0;
};

std::unique_ptr<Passage> NcclCarriers::Carrier::Take() {
  if (!usable() || taken_.exchange(true)) return nullptr;
  return std::make_unique<Exclusive>(shared_from_this());
}

NcclCarriers::NcclCarriers(NcclFunctions nccl, Device& device, NcclOptions options)
    : nccl_(std::move(nccl)), device_(device), options_(options) {}

void NcclCarriers::Stop() {
  absl::MutexLock lock(&mutex_);
  stopped_ = true;
  for (const auto& [name, connected] : connected_)
    connected.connection->Break(absl::CancelledError("the process stops"));
}

NcclCarriers::~NcclCarriers() {
  Stop();
  std::map<uint64_t, Connected> all;
  {
    absl::MutexLock lock(&mutex_);
    all.swap(connected_);
  }
  for (const auto& [name, connected] : all) connected.connection->Stop(absl::CancelledError("the process stops"));
}

int NcclCarriers::connections() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int>(connected_.size());
}

void NcclCarriers::Use(uint64_t name) {
  absl::MutexLock lock(&mutex_);
  if (const auto found = connected_.find(name); found != connected_.end()) found->second.used = ++clock_;
}

// The communicator that a new one for `peer` replaces: the peer's own, which it has lost if it connects again; else, in
// a full set, a broken one or the least recently used idle one.
absl::StatusOr<std::shared_ptr<NcclConnection>> NcclCarriers::TakeOut(const std::string& peer, bool receives) {
  absl::MutexLock lock(&mutex_);
  const auto standing = [](const Connected& c) { return c.connection->usable() ? c.used : 0; };
  auto out = connected_.end();
  for (auto it = connected_.begin(); it != connected_.end(); ++it) {
    if (it->second.peer == peer && it->second.receives == receives) out = it;
  }
  const bool full = static_cast<int>(connected_.size()) >= options_.most_connections;
  for (auto it = connected_.begin(); full && it != connected_.end(); ++it) {
    if (out != connected_.end() && out->second.peer == peer && out->second.receives == receives) break;
    if (!it->second.connection->evictable()) continue;
    if (out == connected_.end() || standing(it->second) < standing(out->second)) out = it;
  }
  if (out != connected_.end()) {
    std::shared_ptr<NcclConnection> taken = std::move(out->second.connection);
    connected_.erase(out);
    return taken;
  }
  if (!full) return nullptr;
  return absl::ResourceExhaustedError(
      absl::StrCat("all ", connected_.size(), " NCCL communicators are busy; frames go over gRPC meanwhile"));
}

absl::StatusOr<std::shared_ptr<NcclConnection>> NcclCarriers::Add(const std::string& peer, uint64_t name,
                                                                  const NcclUniqueId& id, int rank) {
  absl::MutexLock adding(&add_mutex_);
  DECANT_ASSIGN_OR_RETURN(const auto out, TakeOut(peer, rank == 1));
  if (out != nullptr) out->Stop(absl::UnavailableError("the communicator made room for another one"));
  DECANT_ASSIGN_OR_RETURN(auto started, NcclConnection::Start(nccl_, device_, options_, id, rank));
  const std::shared_ptr<NcclConnection> connection = std::move(started);
  absl::MutexLock lock(&mutex_);
  connected_[name] = Connected{peer, connection, ++clock_, 0, rank == 1};
  if (stopped_) connection->Break(absl::CancelledError("the process stops"));
  return connection;
}

absl::StatusOr<std::shared_ptr<PayloadCarrier>> NcclCarriers::Connect(const std::string& peer, const Exchange& exchange,
                                                                      absl::Time deadline) {
  NcclUniqueId id;
  if (const NcclResult made = nccl_.get_unique_id(&id); made != NcclResult::kSuccess) {
    return absl::UnavailableError(absl::StrCat("NCCL gives no unique id: ", nccl_.error_text(made)));
  }
  const uint64_t name = NewName();
  std::string hello;
  ByteWriter writer(hello);
  writer.Put(name);
  writer.PutBytes(absl::string_view(id.data(), id.size()));
  DECANT_ASSIGN_OR_RETURN(const auto connection, Add(peer, name, id, 0));
  absl::Status joined = exchange(hello, deadline).status();
  if (joined.ok()) joined = connection->WaitJoined(deadline);
  if (joined.ok()) return std::make_shared<Carrier>(*this, name, connection);
  connection->Stop(joined);
  absl::MutexLock lock(&mutex_);
  connected_.erase(name);
  return joined;
}

absl::StatusOr<std::string> NcclCarriers::Accept(const std::string& peer, const std::string& hello) {
  ByteReader reader(hello);
  const auto name = reader.Get<uint64_t>();
  const absl::string_view bytes = reader.GetBytes(std::tuple_size_v<NcclUniqueId>);
  if (!reader.ok() || !reader.rest().empty()) return absl::InvalidArgumentError("this is no NCCL hello");
  NcclUniqueId id;
  std::copy(bytes.begin(), bytes.end(), id.begin());
  DECANT_RETURN_IF_ERROR(Add(peer, name, id, 1).status());
  return std::string();
}

absl::Status NcclCarriers::Receive(const std::string& slip, MemoryRef to, Checksum /*checksum*/, absl::Time deadline,
                                   std::function<void(const Arrival&)> done) {
  ByteReader reader(slip);
  const auto name = reader.Get<uint64_t>();
  const auto number = reader.Get<uint64_t>();
  const auto bytes = reader.Get<int64_t>();
  if (!reader.ok() || !reader.rest().empty()) return absl::InvalidArgumentError("this is no slip of NCCL");
  absl::MutexLock lock(&mutex_);
  const auto found = connected_.find(name);
  if (found == connected_.end() || !found->second.receives) {
    return absl::NotFoundError("the communicator was evicted; send the batch another way");
  }
  Connected& connected = found->second;
  if (bytes < 1 || bytes > options_.batch_bytes || bytes != to.bytes || number != connected.next) {
    absl::Status wrong = absl::DataLossError(absl::StrCat("batch ", number, " of ", bytes, " bytes came where batch ",
                                                          connected.next, " of ", to.bytes, " was expected"));
    connected.connection->Break(wrong);
    return wrong;
  }
  NcclConnection::Batch batch;
  batch.to = to;
  batch.bytes = bytes;
  batch.deadline = deadline;
  batch.done = [done = std::move(done)](const absl::Status& status) {
    done(status.ok() ? Arrival(std::nullopt) : Arrival(status));
  };
  DECANT_RETURN_IF_ERROR(connected.connection->Post(std::move(batch)));
  ++connected.next;
  connected.used = ++clock_;
  return absl::OkStatus();
}

}  // namespace decant
