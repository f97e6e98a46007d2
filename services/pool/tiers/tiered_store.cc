// Invariants: a job is in jobs_ and job_of_ from Load until its end, and in the load queue of its lane or in the hands
// of one of that lane's readers as long; every waiter with a deadline stands in deadlines_ until it is answered, and is
// answered once, through answers_. No call to a tier or to an owner is made under mutex_.
#include "services/pool/tiers/tiered_store.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"

namespace decant {
namespace {

constexpr size_t kMostErases = size_t{1} << 16;
constexpr uint8_t kMostHits = 255;

uint8_t BitOf(size_t lane) { return static_cast<uint8_t>(1u << lane); }

}  // namespace

absl::StatusOr<WritePolicy> WritePolicyFrom(absl::string_view name) {
  if (name == "through") return WritePolicy::kThrough;
  if (name == "selective") return WritePolicy::kSelective;
  if (name == "back") return WritePolicy::kBack;
  return absl::InvalidArgumentError(absl::StrCat("write policy '", name, "'; there are through, selective and back"));
}

TieredStore::TieredStore(TieredOptions options, std::vector<std::unique_ptr<ByteTier>> tiers)
    : options_(std::move(options)) {
  for (auto& tier : tiers) {
    lanes_.push_back(std::make_unique<Lane>(std::move(tier), options_));
    lanes_.back()->stats.tier = lanes_.back()->tier->tier();
  }
  for (size_t lane = 0; lane < lanes_.size(); ++lane) {
    for (int i = 0; i < options_.readers; ++i) io_threads_.emplace_back([this, lane] { ReadLoop(lane); });
    io_threads_.emplace_back([this, lane] { WriteLoop(lane); });
  }
  answer_thread_ = std::thread([this] { AnswerLoop(); });
}

TieredStore::~TieredStore() { Close(); }

void TieredStore::Close() {
  {
    absl::MutexLock lock(&mutex_);
    if (stopped_) return;
    stopped_ = true;
    std::vector<uint64_t> open;
    for (const auto& [id, job] : jobs_) open.push_back(id);
    Loaded loaded;
    loaded.record = absl::UnavailableError("the store is being closed");
    loaded.miss = TierMiss::kUnavailable;
    for (const uint64_t id : open) EndJob(id, loaded);
    for (auto& lane : lanes_) {
      lane->can_read.SignalAll();
      lane->can_write.SignalAll();
    }
  }
  for (std::thread& thread : io_threads_) thread.join();
  {
    absl::MutexLock lock(&mutex_);
    answered_ = true;
    can_answer_.SignalAll();
  }
  answer_thread_.join();
}

// ---- What the owner of the host tier tells.

bool TieredStore::Heeds(HostEvent event) const {
  if (lanes_.empty()) return false;
  switch (event) {
    case HostEvent::kStored:
      return options_.write == WritePolicy::kThrough;
    case HostEvent::kHit:
      return options_.write == WritePolicy::kSelective;
    case HostEvent::kEvicted:
      return options_.write != WritePolicy::kSelective;
  }
  return false;
}

void TieredStore::Note(HostEvent event, const RecordId& id, absl::FunctionRef<Record()> record) {
  absl::MutexLock lock(&mutex_);
  if (draining_ || stopped_ || !Heeds(event)) return;
  if (event == HostEvent::kHit) {
    Remembered& note = NoteOf(NameOf(id));
    if (note.hits < kMostHits) ++note.hits;
    if (note.hits < options_.selective_hits) return;
  }
  const auto note = notes_.find(NameOf(id));
  const unsigned has = note == notes_.end() ? 0u : note->second.present & ~unsigned{note->second.bad};
  if (has + 1u == 1u << lanes_.size()) return;  // every lane has it
  Queue(id, std::make_shared<const Record>(record()), false);
}

void TieredStore::CountHost(int64_t chunks) {
  absl::MutexLock lock(&mutex_);
  sums_.asked += chunks;
  sums_.found[static_cast<size_t>(Tier::kHost)] += chunks;
}

void TieredStore::CountUnknown(int64_t chunks) {
  absl::MutexLock lock(&mutex_);
  sums_.asked += chunks;
  sums_.missed += chunks;
}

// To every lane that lacks it. `always` for what a drain writes.
void TieredStore::Queue(const RecordId& id, std::shared_ptr<const Record> record, bool always) {
  const auto note = notes_.find(NameOf(id));
  for (size_t i = 0; i < lanes_.size(); ++i) {
    const bool has = note != notes_.end() && (note->second.present & ~note->second.bad & BitOf(i)) != 0;
    if (has) continue;
    Lane& lane = *lanes_[i];
    if (!lane.writes.Push(id, record, always)) {
      ++lane.stats.write_dropped;
      continue;
    }
    lane.can_write.Signal();
  }
}

// Over its bound it forgets any one: then a record is read without a tag, or counts its hits anew.
TieredStore::Remembered& TieredStore::NoteOf(const RecordName& name) {
  if (notes_.size() >= options_.notes && !notes_.contains(name)) notes_.erase(notes_.begin());
  return notes_[name];
}

std::vector<RecordName> TieredStore::TakeForgotten() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(forgotten_, {});
}

void TieredStore::Learn(Tier tier, const RecordHead& head) {
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < lanes_.size(); ++i) {
    if (lanes_[i]->tier->tier() != tier) continue;
    Remembered& note = NoteOf(NameOf(IdOf(head.variant)));
    note.present = static_cast<uint8_t>(note.present | BitOf(i));
    if (tier == Tier::kRemote) continue;
    note.tag = head.tag;
    note.has_tag = true;
  }
}

std::optional<Tier> TieredStore::Where(const RecordId& id) const {
  absl::MutexLock lock(&mutex_);
  const auto note = notes_.find(NameOf(id));
  for (size_t i = 0; i < lanes_.size(); ++i) {
    const bool has = note != notes_.end() && (note->second.present & ~note->second.bad & BitOf(i)) != 0;
    if (has || lanes_[i]->writes.Find(id) != nullptr) return lanes_[i]->tier->tier();
  }
  return std::nullopt;
}

void TieredStore::Erase(const RecordId& id) {
  absl::MutexLock lock(&mutex_);
  notes_.erase(NameOf(id));
  for (auto& lane : lanes_) {
    lane->writes.Cancel(id);
    if (lane->erases.size() >= kMostErases) continue;  // it will leave when its room is needed
    lane->erases.push_back(id);
    lane->can_write.Signal();
  }
}

// ---- Loads.

void TieredStore::Load(const RecordId& id, const LoadWant& want, Done done) {
  absl::MutexLock lock(&mutex_);
  if (!want.prefetch) ++sums_.asked;
  Waiter waiter{++last_id_, want.deadline, want.prefetch, std::move(done)};
  if (answered_) return;  // nobody is left who could say so
  if (stopped_ || lanes_.empty()) {
    Loaded loaded;
    loaded.record = absl::UnavailableError("the store is being closed");
    loaded.miss = TierMiss::kUnavailable;
    return Answer(std::move(waiter), std::move(loaded));
  }
  auto [place, is_new] = job_of_.try_emplace(id, last_id_);
  const uint64_t number = place->second;
  if (want.deadline != absl::InfiniteFuture()) {
    deadlines_.emplace(want.deadline, number, waiter.id);
    can_answer_.SignalAll();
  }
  Job& job = jobs_[number];
  if (is_new) {
    job.id = id;
    job.priority = want.priority;
    job.waiters.push_back(std::move(waiter));
    return Enter(number, 0);
  }
  job.priority = std::max(job.priority, want.priority);
  job.waiters.push_back(std::move(waiter));
  LoadQueue& loads = lanes_[job.lane]->loads;
  if (loads.contains(number)) loads.Push(number, want.priority, want.deadline);
}

Loaded TieredStore::LoadAndWait(const RecordId& id, const LoadWant& want) {
  absl::Notification ended;
  Loaded result;
  Load(id, want, [&](Loaded loaded) {
    result = std::move(loaded);
    ended.Notify();
  });
  ended.WaitForNotification();
  return result;
}

void TieredStore::Enter(uint64_t number, size_t lane) {
  Job& job = jobs_.find(number)->second;
  job.lane = lane;
  absl::Time deadline = absl::InfinitePast();
  for (const Waiter& waiter : job.waiters) deadline = std::max(deadline, waiter.deadline);
  const std::optional<uint64_t> displaced = lanes_[lane]->loads.Push(number, job.priority, deadline);
  if (displaced.has_value()) {
    Loaded loaded;
    loaded.record = absl::ResourceExhaustedError(
        absl::StrCat(options_.load_queue, " loads wait for the ", TierName(lanes_[lane]->tier->tier()), " tier"));
    loaded.tier = lanes_[lane]->tier->tier();
    loaded.miss = TierMiss::kOverload;
    ++lanes_[lane]->stats.misses[static_cast<size_t>(TierMiss::kOverload)];
    EndJob(*displaced, loaded);
  }
  lanes_[lane]->can_read.Signal();
}

void TieredStore::EndJob(uint64_t number, const Loaded& loaded) {
  const auto found = jobs_.find(number);
  if (found == jobs_.end()) return;
  Job job = std::move(found->second);
  job_of_.erase(job.id);
  jobs_.erase(found);
  lanes_[job.lane]->loads.Remove(number);
  for (Waiter& waiter : job.waiters) {
    deadlines_.erase({waiter.deadline, number, waiter.id});
    Answer(std::move(waiter), loaded);
  }
}

void TieredStore::Answer(Waiter waiter, Loaded loaded) {
  if (waiter.prefetch) {
    ++(loaded.record.ok() ? sums_.prefetched : sums_.prefetch_missed);
  } else if (loaded.record.ok()) {
    ++sums_.found[static_cast<size_t>(loaded.tier)];
  } else {
    ++sums_.missed;
  }
  answers_.emplace_back(std::move(waiter.done), std::move(loaded));
  can_answer_.SignalAll();
}

// ---- The end, and what was counted.

size_t TieredStore::Unwritten() const {
  size_t records = 0;
  for (const auto& lane : lanes_) records += lane->writes.records();
  return records;
}

absl::Status TieredStore::Drain(std::vector<Record> rest, absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
  for (Record& record : rest) {
    const RecordId id = IdOf(record.variant);
    Queue(id, std::make_shared<const Record>(std::move(record)), true);
  }
  while (Unwritten() > 0) {
    const absl::Duration left = deadline - options_.now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(absl::StrCat(Unwritten(), " records were not written in time"));
    }
    written_.WaitWithTimeout(&mutex_, left);
  }
  return absl::OkStatus();
}

TieredStats TieredStore::stats() const {
  TieredStats stats;
  {
    absl::MutexLock lock(&mutex_);
    stats = sums_;
    for (const auto& lane : lanes_) {
      stats.lanes.push_back(lane->stats);
      LaneStats& shown = stats.lanes.back();
      shown.loads_waiting = static_cast<int64_t>(lane->loads.size());
      shown.writes_waiting = static_cast<int64_t>(lane->writes.records());
      shown.writes_waiting_bytes = lane->writes.bytes();
    }
  }
  for (size_t i = 0; i < lanes_.size(); ++i) stats.lanes[i].use = lanes_[i]->tier->use();
  return stats;
}

}  // namespace decant
