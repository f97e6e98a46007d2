// A slip is a region's handle and the run of bytes in it; a hello is the same for a number at the start of the ring.
#include "gpu/link/ipc_carriers.h"

#include <atomic>
#include <optional>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/status_macros.h"
#include "gpu/link/runs.h"

namespace decant {
namespace {

constexpr int64_t kAlignment = 256;

struct Place {
  std::string handle;
  int64_t offset = 0;
  int64_t bytes = 0;
};

std::string SlipOf(const Place& place) {
  std::string slip;
  ByteWriter writer(slip);
  writer.PutString(place.handle);
  writer.Put(place.offset);
  writer.Put(place.bytes);
  return slip;
}

absl::StatusOr<Place> PlaceOf(ByteReader& reader) {
  Place place;
  place.handle = std::string(reader.GetString());
  place.offset = reader.Get<int64_t>();
  place.bytes = reader.Get<int64_t>();
  if (reader.ok() && place.offset >= 0 && place.bytes > 0) return place;
  return absl::InvalidArgumentError("these bytes name no place in exported memory");
}

uint64_t NewNumber() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

}  // namespace

// Room is taken and given back in order, in whole batches; one never wraps around the end.
class Ring {
 public:
  explicit Ring(int64_t bytes) : bytes_(bytes) {}

  std::optional<int64_t> Take(int64_t bytes) {
    const int64_t padded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    if (ends_.empty()) head_ = tail_ = 0;  // or a large batch could find its end too near for good
    int64_t at = head_ % bytes_;
    const int64_t skipped = at + padded > bytes_ ? bytes_ - at : 0;
    if (padded > bytes_ || head_ + skipped + padded - tail_ > bytes_) return std::nullopt;
    head_ += skipped;
    at = head_ % bytes_;
    head_ += padded;
    ends_.push_back(head_);
    return at;
  }
  // A batch that took no room, so that all are given back in one order.
  void TakeNothing() { ends_.push_back(head_); }
  void GiveOldest() {
    tail_ = ends_.front();
    ends_.pop_front();
  }
  bool empty() const { return ends_.empty(); }

 private:
  const int64_t bytes_;
  int64_t head_ = 0;  // both only grow while there is a batch
  int64_t tail_ = 0;
  std::deque<int64_t> ends_;
};

class IpcCarriers::Carrier final : public PayloadCarrier, public std::enable_shared_from_this<Carrier> {
 public:
  Carrier(IpcCarriers& all, std::unique_ptr<Exported> memory)
      : all_(all), memory_(std::move(memory)), ring_(memory_->buffer.bytes()) {}

  absl::string_view kind() const override { return all_.kind(); }
  bool usable() const override { return !broken_; }
  std::unique_ptr<Passage> Take() override;
  void Break() { broken_ = true; }
  // The memory, for another carrier, unless a transfer has this one; it is of no use from then on.
  std::unique_ptr<Exported> Evict() {
    if (taken_.exchange(true)) return nullptr;
    broken_ = true;
    return std::move(memory_);
  }
  // Of whoever has taken it, as what follows.
  uint8_t* memory(int64_t offset) const { return memory_->buffer.As<uint8_t>(offset); }
  Place PlaceInRing(int64_t offset, int64_t bytes) const {
    return {memory_->region.handle, memory(offset) - static_cast<const uint8_t*>(memory_->region.base), bytes};
  }

 private:
  friend class Exclusive;
  IpcCarriers& all_;
  std::unique_ptr<Exported> memory_;
  std::atomic<bool> taken_{false};
  std::atomic<bool> broken_{false};
  Ring ring_;  // of whoever has taken the carrier
};

class IpcCarriers::Exclusive final : public Passage {
 public:
  explicit Exclusive(std::shared_ptr<Carrier> carrier) : carrier_(std::move(carrier)) {}
  ~Exclusive() override {
    // The receiver may still read what the next batch would overwrite.
    if (!carrier_->ring_.empty()) carrier_->broken_ = true;
    carrier_->taken_ = false;
  }

  absl::Status Send(std::vector<ConstMemoryRef> parts, absl::Time deadline,
                    std::function<void(absl::StatusOr<std::string>)> tell, std::function<void()> done) override {
    if (!carrier_->usable()) return absl::UnavailableError("the carrier has made room for another one");
    int64_t bytes = 0;
    parts = JoinRuns(parts, bytes);
    IpcCarriers& all = carrier_->all_;
    if (parts.size() == 1 && parts[0].space == MemorySpace::kDevice) {
      if (const auto region = all.ipc_.export_region(parts[0].address); region.ok()) {
        const int64_t offset =
            static_cast<const uint8_t*>(parts[0].address) - static_cast<const uint8_t*>(region->base);
        DECANT_RETURN_IF_ERROR(all.Post([tell, done, slip = SlipOf({region->handle, offset, bytes})] {
          tell(slip);
          done();
        }));
        carrier_->ring_.TakeNothing();
        return absl::OkStatus();
      }
    }
    const std::optional<int64_t> at = bytes == 0 ? std::nullopt : carrier_->ring_.Take(bytes);
    if (!at.has_value()) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the ring of ", carrier_->memory_->buffer.bytes(), " bytes has no room for a batch of ", bytes));
    }
    return all.Post([place = carrier_->PlaceInRing(*at, bytes), to = carrier_->memory(*at), &all,
                     parts = std::move(parts), deadline, tell, done] {
      const absl::Status gathered = all.Gather(parts, to, deadline);
      if (gathered.ok()) {
        tell(SlipOf(place));
      } else {
        tell(gathered);
      }
      done();
    });
  }
  void Landed() override { carrier_->ring_.GiveOldest(); }

 private:
  const std::shared_ptr<Carrier> carrier_;
};

std::unique_ptr<Passage> IpcCarriers::Carrier::Take() {
  if (!usable() || taken_.exchange(true)) return nullptr;
  all_.Use(this);
  return std::make_unique<Exclusive>(shared_from_this());
}

void IpcCarriers::Use(const Carrier* carrier) {
  absl::MutexLock lock(&mutex_);
  for (auto it = carriers_.begin(); it != carriers_.end(); ++it) {
    if (it->get() == carrier) return carriers_.splice(carriers_.end(), carriers_, it);
  }
}

IpcCarriers::IpcCarriers(LinkKind kind, IpcFunctions ipc, Device& device, IpcOptions options)
    : kind_(kind), ipc_(std::move(ipc)), options_(options), stream_(device.NewStream()), fetches_(device.NewStream()) {
  thread_ = std::thread([this] { Loop(); });
}

void IpcCarriers::Stop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  for (const auto& carrier : carriers_) carrier->Break();
}

IpcCarriers::~IpcCarriers() {
  Stop();
  thread_.join();
  absl::MutexLock lock(&regions_mutex_);
  for (const auto& [handle, mapping] : regions_) ipc_.close(mapping);
}

absl::Status IpcCarriers::Post(std::function<void()> work) {
  absl::MutexLock lock(&mutex_);
  if (stopping_) return absl::UnavailableError("the process stops");
  work_.push_back(std::move(work));
  return absl::OkStatus();
}

// Ends when everything that was taken on is done.
void IpcCarriers::Loop() {
  while (true) {
    std::function<void()> work;
    {
      absl::MutexLock lock(&mutex_);
      const auto something = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !work_.empty(); };
      mutex_.Await(absl::Condition(&something));
      if (work_.empty()) return;
      work = std::move(work_.front());
      work_.pop_front();
    }
    work();
  }
}

absl::Status IpcCarriers::Gather(const std::vector<ConstMemoryRef>& parts, uint8_t* to, absl::Time deadline) {
  if (absl::Now() >= deadline) return absl::DeadlineExceededError("earlier batches took too long");
  for (const ConstMemoryRef& part : parts) {
    stream_->Copy(to, part.address, part.bytes);
    to += part.bytes;
  }
  return stream_->Synchronize();
}

// The memory of the first carrier that no transfer has becomes spare.
void IpcCarriers::Evict(bool usable) {
  for (auto it = carriers_.begin(); it != carriers_.end(); ++it) {
    if ((*it)->usable() != usable) continue;
    auto memory = (*it)->Evict();
    if (memory == nullptr) continue;
    spare_.push_back(std::move(memory));
    carriers_.erase(it);
    return;
  }
}

// Memory that was shown to other processes is used again and never freed: they may still have it open. A new ring is
// made only while there are fewer than allowed, so that is also the bound of what is shown.
absl::StatusOr<std::unique_ptr<IpcCarriers::Exported>> IpcCarriers::RingMemory() {
  absl::MutexLock lock(&mutex_);
  if (spare_.empty()) Evict(false);
  if (spare_.empty() && rings_ >= options_.most_connections) Evict(true);
  if (!spare_.empty()) {
    auto memory = std::move(spare_.back());
    spare_.pop_back();
    return memory;
  }
  if (rings_ >= options_.most_connections) {
    return absl::ResourceExhaustedError(
        absl::StrCat("all ", rings_, " rings of kind ", kind(), " are busy; frames go over gRPC meanwhile"));
  }
  auto memory = std::make_unique<Exported>();
  DECANT_ASSIGN_OR_RETURN(memory->buffer, ipc_.allocate(options_.ring_bytes));
  DECANT_ASSIGN_OR_RETURN(memory->region, ipc_.export_region(memory->buffer.As<uint8_t>()));
  ++rings_;
  return memory;
}

absl::StatusOr<std::shared_ptr<PayloadCarrier>> IpcCarriers::Connect(const std::string& /*peer*/,
                                                                     const Exchange& exchange, absl::Time deadline) {
  DECANT_ASSIGN_OR_RETURN(auto memory, RingMemory());
  const auto carrier = std::make_shared<Carrier>(*this, std::move(memory));
  const absl::Status met = Meet(*carrier, exchange, deadline);
  absl::MutexLock lock(&mutex_);
  if (met.ok() && !stopping_) {
    carriers_.push_back(carrier);
    return carrier;
  }
  spare_.push_back(carrier->Evict());
  return met.ok() ? absl::CancelledError("the process stops") : met;
}

absl::Status IpcCarriers::Meet(const Carrier& carrier, const Exchange& exchange, absl::Time deadline) {
  const uint64_t number = NewNumber();
  {
    absl::MutexLock lock(&regions_mutex_);
    fetches_->Copy(carrier.memory(0), &number, sizeof(number));
    DECANT_RETURN_IF_ERROR(fetches_->Synchronize());
  }
  std::string hello = SlipOf(carrier.PlaceInRing(0, sizeof(number)));
  ByteWriter(hello).Put(number);
  return exchange(hello, deadline).status();
}

absl::StatusOr<std::string> IpcCarriers::Accept(const std::string& peer, const std::string& hello) {
  ByteReader reader(hello);
  DECANT_ASSIGN_OR_RETURN(const Place place, PlaceOf(reader));
  const auto number = reader.Get<uint64_t>();
  uint64_t read = 0;
  if (!reader.ok() || !reader.rest().empty() || place.bytes != sizeof(read)) {
    return absl::InvalidArgumentError(absl::StrCat("this is no hello of kind ", kind()));
  }
  const MemoryRef to{MemorySpace::kHost, &read, sizeof(read)};
  DECANT_RETURN_IF_ERROR(Fetch(place.handle, place.offset, Checksum::kNo, to).status());
  if (read == number) return std::string();
  return absl::FailedPreconditionError(absl::StrCat("the memory that ", peer, " shows is not this host's"));
}

absl::StatusOr<IpcMapping> IpcCarriers::Open(const std::string& handle) {
  for (auto it = regions_.begin(); it != regions_.end(); ++it) {
    if (it->first != handle) continue;
    regions_.splice(regions_.end(), regions_, it);
    return it->second;
  }
  if (static_cast<int>(regions_.size()) >= options_.most_regions) {
    ipc_.close(regions_.front().second);
    regions_.pop_front();
  }
  DECANT_ASSIGN_OR_RETURN(const IpcMapping mapping, ipc_.open(handle));
  regions_.emplace_back(handle, mapping);
  return mapping;
}

PayloadCarriers::Arrival IpcCarriers::Fetch(const std::string& handle, int64_t offset, Checksum checksum,
                                            MemoryRef to) {
  absl::MutexLock lock(&regions_mutex_);
  DECANT_ASSIGN_OR_RETURN(const IpcMapping region, Open(handle));
  if (offset > region.bytes || to.bytes > region.bytes - offset) {
    return absl::InvalidArgumentError(
        absl::StrCat("a slip of ", to.bytes, " bytes at ", offset, " of a region of ", region.bytes));
  }
  const auto* const from = static_cast<const uint8_t*>(region.base) + offset;
  if (kind_ == LinkKind::kSharedMemory && to.space == MemorySpace::kHost) {
    const auto bytes = static_cast<size_t>(to.bytes);
    if (checksum == Checksum::kWanted) return CopyWithCrc32c(to.address, from, bytes);
    CopyPastCaches(to.address, from, bytes);
    return std::nullopt;
  }
  fetches_->Copy(to.address, from, to.bytes);
  DECANT_RETURN_IF_ERROR(fetches_->Synchronize());
  return std::nullopt;
}

absl::Status IpcCarriers::Receive(const std::string& slip, MemoryRef to, Checksum checksum, absl::Time deadline,
                                  std::function<void(const Arrival&)> done) {
  ByteReader reader(slip);
  DECANT_ASSIGN_OR_RETURN(const Place place, PlaceOf(reader));
  if (!reader.rest().empty() || place.bytes != to.bytes) {
    return absl::InvalidArgumentError(absl::StrCat("a slip of ", place.bytes, " bytes for a batch of ", to.bytes));
  }
  return Post([this, place, to, checksum, deadline, done = std::move(done)] {
    if (absl::Now() >= deadline) return done(absl::DeadlineExceededError("earlier batches took too long"));
    done(Fetch(place.handle, place.offset, checksum, to));
  });
}

}  // namespace decant
