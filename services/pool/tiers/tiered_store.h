// What lies behind the host tier: disk and remote, one behind the other, with the threads that read and write them.
//
// The host tier stays with its owner, under the owner's mutex. The owner tells what the host tier takes in, hands out
// and forgets; the write policy decides what of it is written down. What the host tier lacks is loaded: from the
// nearest tier that has it, verified (DecodeRecord), handed to a callback on an I/O thread. A record that is not what
// was asked for is erased where it was found, counted, and a miss there; the next tier is asked.
//
// Thread-safe, and no call blocks but Drain and the destructor.
#ifndef DECANT_SERVICES_POOL_TIERS_TIERED_STORE_H_
#define DECANT_SERVICES_POOL_TIERS_TIERED_STORE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/store/tier.h"
#include "services/pool/tiers/load_queue.h"
#include "services/pool/tiers/lower_tiers.h"
#include "services/pool/tiers/tiered_stats.h"
#include "services/pool/tiers/write_queue.h"

namespace decant {

enum class WritePolicy : uint8_t {
  kThrough = 0,    // as soon as the host tier has it
  kSelective = 1,  // once it has been hit `selective_hits` times
  kBack = 2,       // when the host tier forgets it
};
// "through", "selective", "back"; INVALID_ARGUMENT for anything else.
absl::StatusOr<WritePolicy> WritePolicyFrom(absl::string_view name);

struct TieredOptions {
  WritePolicy write = WritePolicy::kThrough;
  int32_t selective_hits = 2;
  int64_t write_queue_bytes = int64_t{256} << 20;  // for each tier; what does not fit is not written, and counted
  size_t load_queue = 4096;                        // for each tier; what does not fit is a miss of kOverload
  int readers = 2;                                 // threads for each tier, beside one that writes
  absl::Duration write_limit = absl::Seconds(5);   // deadline of one write
  size_t notes = size_t{1} << 22;                  // records it remembers the tags and hits of, some 64 bytes each
  std::shared_ptr<BlobMemory> frame_memory;        // where loaded frames lie; null: anywhere
  std::function<absl::Time()> now = [] { return absl::Now(); };
};

struct LoadWant {
  int priority = 0;                              // higher ones first
  absl::Time deadline = absl::InfiniteFuture();  // then it is a miss of kLate, whatever the tier does
  bool prefetch = false;                         // nobody asked for it yet: counted apart
};

class TieredStore final : public LowerTiers {
 public:
  using Done = std::function<void(Loaded)>;

  // `tiers`: nearest first; without any it only counts.
  TieredStore(TieredOptions options, std::vector<std::unique_ptr<ByteTier>> tiers);
  // Everything that waits is a miss of kUnavailable; what is not written is lost. Waits for calls to the tiers to end.
  ~TieredStore() override;

  bool Heeds(HostEvent event) const override;
  void Note(HostEvent event, const RecordId& id, absl::FunctionRef<Record()> record) override;
  void CountHost(int64_t chunks) override;
  void CountUnknown(int64_t chunks) override;
  std::optional<Tier> Where(const RecordId& id) const override;
  // Reads a record from the nearest tier that has it. `done` is called once, on a thread of the store that makes one
  // such call after another, also when the deadline passes while a tier does not answer. Loads of one record are one
  // read.
  void Load(const RecordId& id, const LoadWant& want, Done done);
  // The same and waits for it. For threads that may block.
  Loaded LoadAndWait(const RecordId& id, const LoadWant& want);
  void Erase(const RecordId& id) override;

  // Records a tier had to forget or would not take since the last call: those that no other tier has either.
  std::vector<RecordName> TakeForgotten();
  // Teaches it what a tier holds from before. What others may write to as well, a remote tier, is known to be there and
  // no more: which of two records of one name is the newer one, nobody can say.
  void Learn(Tier tier, const RecordHead& head);

  // Writes `rest` (what the host tier still holds alone) and all that waits; no new writes are taken from now on.
  // DEADLINE_EXCEEDED with the number of records that were not written.
  absl::Status Drain(std::vector<Record> rest, absl::Time deadline);

  TieredStats stats() const;
  WritePolicy write_policy() const { return options_.write; }

  // What the destructor does, for owners whom its threads call back: all they were to be called for has been said when
  // this returns, and later loads are never answered. Idempotent.
  void Close();

 private:
  struct Waiter {
    uint64_t id = 0;
    absl::Time deadline;
    bool prefetch = false;
    Done done;
  };
  struct Job {
    RecordId id;
    size_t lane = 0;  // asked now
    int priority = 0;
    std::vector<Waiter> waiters;  // empty: all of them were late
    Loaded miss;                  // of the lanes before
  };
  // One tier with its queues. All but `tier` is guarded by mutex_.
  struct Lane {
    Lane(std::unique_ptr<ByteTier> t, const TieredOptions& options)
        : tier(std::move(t)), loads(options.load_queue), writes(options.write_queue_bytes) {}
    const std::unique_ptr<ByteTier> tier;
    LoadQueue loads;
    WriteQueue writes;
    std::vector<RecordId> erases;
    LaneStats stats;
    absl::CondVar can_read;
    absl::CondVar can_write;
  };
  // Of one record; bits are of lanes.
  struct Remembered {
    uint32_t tag = 0;
    bool has_tag = false;
    uint8_t present = 0;
    uint8_t bad = 0;  // wrong bytes lie there and could not be erased
    uint8_t hits = 0;
  };

  // ---- tiered_store.cc
  void Queue(const RecordId& id, std::shared_ptr<const Record> record, bool always)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Remembered& NoteOf(const RecordName& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Enter(uint64_t job, size_t lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndJob(uint64_t job, const Loaded& loaded) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Answer(Waiter waiter, Loaded loaded) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  size_t Unwritten() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  // ---- tiered_threads.cc
  void ReadLoop(size_t lane);
  void ReadOne(size_t lane, uint64_t job);
  Loaded Read(size_t lane, const RecordId& id, std::optional<uint32_t> tag, absl::Time deadline);
  void EndRead(size_t lane, uint64_t job, Loaded loaded);
  void Quarantine(size_t lane, const RecordId& id);
  void WriteLoop(size_t lane);
  void WriteOne(size_t lane, const RecordId& id, const Record& record);
  void EraseOne(size_t lane, const RecordId& id);
  void Forget(size_t lane, absl::Span<const RecordName> names) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AnswerLoop();
  void AnswerLate(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const TieredOptions options_;
  mutable absl::Mutex mutex_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  absl::flat_hash_map<RecordName, Remembered> notes_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<uint64_t, Job> jobs_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<RecordId, uint64_t> job_of_ ABSL_GUARDED_BY(mutex_);
  std::set<std::tuple<absl::Time, uint64_t, uint64_t>> deadlines_ ABSL_GUARDED_BY(mutex_);  // when, job, waiter
  std::deque<std::pair<Done, Loaded>> answers_ ABSL_GUARDED_BY(mutex_);
  std::vector<RecordName> forgotten_ ABSL_GUARDED_BY(mutex_);
  TieredStats sums_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  bool answered_ ABSL_GUARDED_BY(mutex_) = false;  // nothing will be added to answers_
  absl::CondVar can_answer_;
  absl::CondVar written_;
  std::vector<std::thread> io_threads_;
  std::thread answer_thread_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_TIERS_TIERED_STORE_H_
