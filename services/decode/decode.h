// The core of a decode worker: it promises pages, takes in the frames of prompts, and generates for all of them in one
// batch.
//
//   Reserve -> ticket -> Open, batches (Grant, Landed), Committed -> tokens -> pages freed
//
// One thread owns the DecodeBatch: it runs what the other calls have queued, lets go of what is late, and steps. A
// ticket that ends in any way - finished, released, late, broken - gives its pages back before the next step.
#ifndef DECANT_SERVICES_DECODE_DECODE_H_
#define DECANT_SERVICES_DECODE_DECODE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/compress/profile.h"
#include "common/kv/geometry.h"
#include "common/kv/receipt.h"
#include "common/link/frame_link.h"
#include "gpu/engine/decode_batch.h"
#include "services/decode/landing.h"
#include "services/decode/metrics.h"
#include "services/rpc/log.h"

namespace decant {

struct DecodeCoreOptions {
  Digest model;  // fingerprint; KV of any other is refused
  Geometry geometry;
  RunType run_type = RunType::kBf16;
  int32_t max_positions = 0;
  uint32_t frame_version = 0;
  Catalogue catalogue;
  int32_t waiting_limit = 64;                        // reservations that may queue for pages
  absl::Duration open_limit = absl::Seconds(60);     // from Reserve to the transfer, and from the commit to Tokens
  absl::Duration progress_limit = absl::Seconds(5);  // between two signs of life of a transfer
  absl::Duration commit_limit = absl::Seconds(10);   // for the last imports of a transfer
  int64_t landing_bytes = int64_t{32} << 20;
  uint64_t ticket_seed = 0;  // differs from one process to the next, so that an old ticket finds nothing
  std::function<absl::Time()> now = absl::Now;
  DecodeMetrics metrics;
};

struct Reservation {
  Digest model;
  RunType run_type = RunType::kBf16;
  std::string profile;
  Digest profile_digest;  // of the profile as it was planned; zero: not known
  int32_t prompt_tokens = 0;
  int32_t max_tokens = 0;  // to generate, the first included
  Sampling sampling;
  std::vector<int32_t> end_tokens;
  int64_t first_token_index = 0;  // of the answer: above 0 when a stream is resumed
  absl::Duration wait;            // for pages
};

struct Ticket {
  uint64_t id = 0;
  int64_t pages = 0;
  Digest profile;        // digest of the profile that the pages are for
  absl::Duration limit;  // until the transfer must begin
};

struct AnswerTokens {
  int64_t index = 0;  // of the first token, in the answer
  std::vector<int32_t> tokens;
  bool last = false;
  // With `last`.
  std::string finish_reason;  // "stop" or "length"
  int64_t full_bytes = 0;
  int64_t resident_bytes = 0;
  TokenCounts counts;
};

// Who reads an answer. Called by the engine thread; must not block.
class AnswerReceiver {
 public:
  virtual ~AnswerReceiver() = default;
  // An error ends the sequence.
  virtual absl::Status Write(const AnswerTokens& tokens) = 0;
  virtual void Finish(const absl::Status& end) = 0;  // once
};

struct DecodeLoad {
  int32_t running = 0;
  int32_t waiting = 0;
  int64_t free_pages = 0;
  int64_t total_pages = 0;
  double steps_per_s = 0;
  bool draining = false;
};

// Thread-safe but for RunOnce.
class Decode final : public FrameSink {
 public:
  Decode(std::unique_ptr<DecodeBatch> batch, DecodeCoreOptions options);
  ~Decode() override;

  // `done` runs once: with a ticket, or RESOURCE_EXHAUSTED (the queue is full or the wait was too short),
  // FAILED_PRECONDITION (another model), INVALID_ARGUMENT, NOT_FOUND (profile), UNAVAILABLE (draining), CANCELLED. The
  // returned id may be given to Release at any time.
  uint64_t Reserve(Reservation reservation, std::function<void(absl::StatusOr<Ticket>)> done);
  // The answer of `ticket`, from its first token. NOT_FOUND for an unknown ticket, ALREADY_EXISTS for a second reader.
  absl::Status Subscribe(uint64_t ticket, std::shared_ptr<AnswerReceiver> receiver);
  // Gives the pages back before the next step, in any state; unknown tickets are ignored.
  void Release(uint64_t ticket);

  // FrameSink. A commit is answered when the engine thread has taken in the last batches, or after commit_limit.
  absl::Status Open(const TransferOpen& open) override;
  absl::StatusOr<MemoryRef> Grant(uint64_t ticket, const BatchHeader& header) override;
  absl::Status Landed(uint64_t ticket, const BatchHeader& header, MemoryRef memory) override;
  void Committed(const TransferCommit& commit, std::function<void(const absl::Status&)> done) override;
  void Aborted(uint64_t ticket, const absl::Status& why) override;

  DecodeLoad load() const;
  int64_t page_bytes() const { return batch_->page_bytes(); }

  // Starts the engine thread.
  void Start();
  // Refuses reservations and waits until every ticket has ended, at the latest at `limit`.
  void Drain(absl::Time limit);
  // What the engine thread repeats: queued work, late tickets, one step. True while sequences run. For tests that use
  // no thread.
  bool RunOnce();

 private:
  enum class State { kWaiting, kReserved, kOpen, kRunning, kEnded };
  struct Entry {
    State state = State::kWaiting;
    Reservation reservation;
    std::function<void(absl::StatusOr<Ticket>)> done;  // until it was called
    absl::Time deadline;
    std::optional<SequenceId> sequence;
    uint64_t next_batch = 0;
    std::vector<MemoryRef> granted;                      // and not yet landed
    absl::Status error;                                  // why it ended
    std::function<void(const absl::Status&)> committed;  // until the commit was answered
    std::shared_ptr<AnswerReceiver> receiver;
    std::vector<int32_t> unread;      // tokens from before the receiver came
    int64_t sent = 0;                 // to the receiver
    std::optional<AnswerTokens> end;  // finished, and not yet told
  };

  // Engine thread only.
  void TryReserve();
  absl::Status Import(uint64_t ticket, MemoryRef memory);
  void Join(const TransferCommit& commit);
  void Step();
  void Deliver(uint64_t ticket, int32_t token, bool finished, bool stopped);
  void Flush(uint64_t ticket);
  void End(uint64_t ticket, const absl::Status& cause);
  void ExpireLate();
  void Loop();

  absl::Status CheckCommit(const TransferCommit& commit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<SequenceOptions> OptionsOf(const Reservation& reservation) const;
  void Post(std::function<void()> work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { work_.push_back(std::move(work)); }
  Entry* Find(uint64_t ticket) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Measure(absl::Time now);

  const DecodeCoreOptions options_;
  const std::unique_ptr<DecodeBatch> batch_;
  const int64_t total_pages_;
  BoundedLog abort_log_;
  absl::flat_hash_map<SequenceId, uint64_t> tickets_;  // of joined sequences; engine thread only
  int64_t steps_ = 0;
  int64_t measured_steps_ = 0;
  absl::Time measured_at_;

  mutable absl::Mutex mutex_;
  absl::flat_hash_map<uint64_t, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  std::deque<uint64_t> waiting_ ABSL_GUARDED_BY(mutex_);  // first come, first served
  // Bounded by what may be open at once: one entry per reservation and one per granted batch.
  std::deque<std::function<void()>> work_ ABSL_GUARDED_BY(mutex_);
  LandingArea landing_ ABSL_GUARDED_BY(mutex_);
  DecodeLoad load_ ABSL_GUARDED_BY(mutex_);
  uint64_t issued_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_DECODE_DECODE_H_
