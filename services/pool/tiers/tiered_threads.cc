// The threads of a tiered store: readers and a writer for each tier, and one that calls the owners back and watches
// deadlines. Each takes its work under the mutex and does it without.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "services/pool/tiers/tiered_store.h"

namespace decant {
namespace {

uint8_t BitOf(size_t lane) { return static_cast<uint8_t>(1u << lane); }
constexpr size_t kMostForgotten = size_t{1} << 20;

}  // namespace

// ---- Reading.

void TieredStore::ReadLoop(size_t index) {
  Lane& lane = *lanes_[index];
  while (true) {
    uint64_t job = 0;
    {
      absl::MutexLock lock(&mutex_);
      while (!stopped_ && lane.loads.empty()) lane.can_read.Wait(&mutex_);
      if (stopped_) return;
      job = *lane.loads.Pop();
    }
    ReadOne(index, job);
  }
}

void TieredStore::ReadOne(size_t index, uint64_t number) {
  Lane& lane = *lanes_[index];
  RecordId id;
  std::optional<uint32_t> tag;
  absl::Time deadline = absl::InfinitePast();
  std::shared_ptr<const Record> waiting;
  bool bad = false;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = jobs_.find(number);
    if (found == jobs_.end()) return;
    const Job& job = found->second;
    if (job.waiters.empty()) {  // all of them were late
      Loaded nobody;
      return EndJob(number, nobody);
    }
    id = job.id;
    for (const Waiter& waiter : job.waiters) deadline = std::max(deadline, waiter.deadline);
    if (const auto note = notes_.find(NameOf(id)); note != notes_.end()) {
      if (note->second.has_tag) tag = note->second.tag;
      bad = (note->second.bad & BitOf(index)) != 0;
    }
    waiting = lane.writes.Find(id);
  }
  Loaded loaded;
  loaded.tier = lane.tier->tier();
  if (waiting != nullptr) {
    loaded.record = *waiting;
  } else if (bad) {
    loaded.record = absl::DataLossError("its record is quarantined");
    loaded.miss = TierMiss::kDamaged;
  } else {
    loaded = Read(index, id, tag, deadline);
  }
  EndRead(index, number, std::move(loaded));
}

Loaded TieredStore::Read(size_t index, const RecordId& id, std::optional<uint32_t> tag, absl::Time deadline) {
  Lane& lane = *lanes_[index];
  Loaded loaded;
  loaded.tier = lane.tier->tier();
  const absl::StatusOr<std::string> bytes = lane.tier->Get(id, deadline);
  loaded.record = bytes.ok() ? DecodeRecord(*bytes, id, tag, options_.frame_memory.get()) : bytes.status();
  if (loaded.record.ok()) return loaded;
  loaded.miss = MissOf(loaded.record.status());
  // Only DecodeRecord can say whose bytes they are.
  if (!bytes.ok() && IsWrongBytes(loaded.miss) && loaded.miss != TierMiss::kDamaged) {
    loaded.miss = TierMiss::kUnavailable;
  }
  // A record that is what was written, and still not what is asked for, was asked for wrongly: it stays.
  const bool as_written =
      bytes.ok() && tag.has_value() && loaded.miss == TierMiss::kForeign && DecodeHead(*bytes)->tag == *tag;
  if (IsWrongBytes(loaded.miss) && !as_written) Quarantine(index, id);
  return loaded;
}

// Should the tier not erase it, it is not read again until it has been written anew.
void TieredStore::Quarantine(size_t index, const RecordId& id) {
  Lane& lane = *lanes_[index];
  const absl::Status erased = lane.tier->Erase(id, options_.now() + options_.write_limit);
  absl::MutexLock lock(&mutex_);
  ++lane.stats.quarantined;
  Remembered& note = NoteOf(NameOf(id));
  note.present = static_cast<uint8_t>(note.present & ~BitOf(index));
  if (!erased.ok()) note.bad = static_cast<uint8_t>(note.bad | BitOf(index));
}

void TieredStore::EndRead(size_t index, uint64_t number, Loaded loaded) {
  Lane& lane = *lanes_[index];
  absl::MutexLock lock(&mutex_);
  const auto found = jobs_.find(number);
  if (found == jobs_.end()) return;  // the store is being closed
  Job& job = found->second;
  if (loaded.record.ok()) {
    lane.stats.read_bytes += loaded.record->variant.bytes;
    return EndJob(number, loaded);
  }
  if (!job.waiters.empty()) ++lane.stats.misses[static_cast<size_t>(loaded.miss)];
  if (loaded.miss != TierMiss::kAbsent) lane.stats.failure = std::string(loaded.record.status().message());
  if (loaded.miss == TierMiss::kAbsent) {  // the tier may have needed its room and not said so
    const auto note = notes_.find(NameOf(job.id));
    if (note != notes_.end()) note->second.present = static_cast<uint8_t>(note->second.present & ~BitOf(index));
  }
  // That it was nowhere says less than that it was damaged somewhere.
  if (index == 0 || loaded.miss != TierMiss::kAbsent || job.miss.miss == TierMiss::kAbsent) {
    job.miss = std::move(loaded);
  }
  if (index + 1 < lanes_.size() && !job.waiters.empty()) return Enter(number, index + 1);
  const Loaded miss = std::move(job.miss);
  EndJob(number, miss);
}

// ---- Writing.

void TieredStore::WriteLoop(size_t index) {
  Lane& lane = *lanes_[index];
  while (true) {
    std::optional<RecordId> erase;
    std::pair<RecordId, std::shared_ptr<const Record>> write;
    {
      absl::MutexLock lock(&mutex_);
      while (!stopped_ && lane.writes.idle() && lane.erases.empty()) lane.can_write.Wait(&mutex_);
      if (stopped_) return;
      if (!lane.erases.empty()) {
        erase = lane.erases.back();
        lane.erases.pop_back();
      } else {
        write = lane.writes.Pop();
      }
    }
    if (erase.has_value()) {
      EraseOne(index, *erase);
    } else {
      WriteOne(index, write.first, *write.second);
    }
  }
}

void TieredStore::WriteOne(size_t index, const RecordId& id, const Record& record) {
  Lane& lane = *lanes_[index];
  const std::string bytes = EncodeRecord(record);
  const absl::StatusOr<RecordHead> head = DecodeHead(bytes);
  absl::Status put = head.status();
  if (head.ok()) {
    // What another record left there is stale from now on, whether or not this one gets there.
    absl::MutexLock lock(&mutex_);
    Remembered& note = NoteOf(NameOf(id));
    note.tag = head->tag;
    note.has_tag = true;
  }
  if (head.ok()) put = lane.tier->Put(id, bytes, options_.now() + options_.write_limit);
  const std::vector<RecordName> forgotten = lane.tier->TakeForgotten();
  absl::MutexLock lock(&mutex_);
  lane.writes.Done();
  if (put.ok()) {
    ++lane.stats.written;
    lane.stats.written_bytes += static_cast<int64_t>(bytes.size());
    Remembered& note = NoteOf(NameOf(id));
    note.present = static_cast<uint8_t>(note.present | BitOf(index));
    note.bad = static_cast<uint8_t>(note.bad & ~BitOf(index));
  } else {
    ++lane.stats.write_failed;
    lane.stats.failure = std::string(put.message());
    // What an older write may have left there is stale: nothing is read from here until a write succeeds.
    Remembered& note = NoteOf(NameOf(id));
    note.present = static_cast<uint8_t>(note.present & ~BitOf(index));
    note.bad = static_cast<uint8_t>(note.bad | BitOf(index));
    if (note.present == 0 && forgotten_.size() < kMostForgotten) forgotten_.push_back(NameOf(id));
  }
  Forget(index, forgotten);
  written_.SignalAll();
}

void TieredStore::EraseOne(size_t index, const RecordId& id) {
  Lane& lane = *lanes_[index];
  const absl::Status erased = lane.tier->Erase(id, options_.now() + options_.write_limit);
  absl::MutexLock lock(&mutex_);
  if (erased.ok()) return Forget(index, {NameOf(id)});  // a write that was under way has said that it is there
  Remembered& note = NoteOf(NameOf(id));
  note.bad = static_cast<uint8_t>(note.bad | BitOf(index));
}

void TieredStore::Forget(size_t index, absl::Span<const RecordName> names) {
  for (const RecordName& name : names) {
    const auto note = notes_.find(name);
    if (note != notes_.end()) {
      note->second.present = static_cast<uint8_t>(note->second.present & ~BitOf(index));
      if (note->second.present != 0) continue;
      if (note->second.bad == 0) notes_.erase(note);
    }
    if (forgotten_.size() < kMostForgotten) forgotten_.push_back(name);
  }
}

// ---- Answering.

void TieredStore::AnswerLoop() {
  while (true) {
    std::deque<std::pair<Done, Loaded>> answers;
    {
      absl::MutexLock lock(&mutex_);
      while (true) {
        const absl::Time now = options_.now();
        AnswerLate(now);  // also while there is always something to answer
        if (!answers_.empty()) break;
        if (answered_) return;
        const absl::Duration left =
            deadlines_.empty() ? absl::InfiniteDuration() : std::get<0>(*deadlines_.begin()) - now;
        can_answer_.WaitWithTimeout(&mutex_, left);
      }
      answers.swap(answers_);
    }
    for (auto& [done, loaded] : answers) done(std::move(loaded));
  }
}

// The tier may still be at it; what it then brings is of no use to anybody.
void TieredStore::AnswerLate(absl::Time now) {
  while (!deadlines_.empty() && std::get<0>(*deadlines_.begin()) <= now) {
    const auto [deadline, number, waiter_id] = *deadlines_.begin();
    deadlines_.erase(deadlines_.begin());
    const auto found = jobs_.find(number);
    if (found == jobs_.end()) continue;
    Job& job = found->second;
    const auto waiter = std::find_if(job.waiters.begin(), job.waiters.end(),
                                     [id = waiter_id](const Waiter& other) { return other.id == id; });
    if (waiter == job.waiters.end()) continue;
    Lane& lane = *lanes_[job.lane];
    Loaded loaded;
    loaded.tier = lane.tier->tier();
    loaded.miss = TierMiss::kLate;
    loaded.record = absl::DeadlineExceededError(
        absl::StrCat("the ", TierName(loaded.tier), " tier did not answer before the deadline"));
    ++lane.stats.misses[static_cast<size_t>(TierMiss::kLate)];
    Answer(std::move(*waiter), std::move(loaded));
    job.waiters.erase(waiter);
    if (job.waiters.empty() && lane.loads.contains(number)) EndJob(number, Loaded());
  }
}

}  // namespace decant
