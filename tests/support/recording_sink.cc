#include "tests/support/recording_sink.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace decant {

class RecordingSink::Turn {
 public:
  Turn(RecordingSink& sink, uint64_t ticket) : sink_(sink), ticket_(ticket) {
    absl::MutexLock lock(&sink_.mutex_);
    Slot& slot = sink_.slots_[ticket_];
    sink_.overlapped_ = sink_.overlapped_ || slot.busy;
    slot.busy = true;
  }
  ~Turn() {
    absl::MutexLock lock(&sink_.mutex_);
    sink_.slots_[ticket_].busy = false;
  }

 private:
  RecordingSink& sink_;
  const uint64_t ticket_;
};

absl::Status RecordingSink::Open(const TransferOpen& open) {
  const Turn turn(*this, open.ticket);
  if (at_open) DECANT_RETURN_IF_ERROR(at_open(open));
  absl::MutexLock lock(&mutex_);
  slots_[open.ticket].received.open = open;
  return absl::OkStatus();
}

absl::StatusOr<MemoryRef> RecordingSink::Grant(uint64_t ticket, const BatchHeader& header) {
  const Turn turn(*this, ticket);
  if (at_grant) DECANT_RETURN_IF_ERROR(at_grant(ticket, header));
  // Exactly as large as announced, so that an address sanitiser sees a byte too many.
  auto memory = std::make_unique<char[]>(static_cast<size_t>(header.bytes));
  void* const address = memory.get();
  absl::MutexLock lock(&mutex_);
  slots_[ticket].granted[header.sequence] = std::move(memory);
  return MemoryRef{MemorySpace::kHost, address, header.bytes - grant_short_by};
}

absl::Status RecordingSink::Landed(uint64_t ticket, const BatchHeader& header, MemoryRef memory) {
  const Turn turn(*this, ticket);
  if (at_landed) DECANT_RETURN_IF_ERROR(at_landed(ticket, header));
  absl::MutexLock lock(&mutex_);
  Slot& slot = slots_[ticket];
  if (memory.address != slot.granted[header.sequence].get() || memory.bytes != header.bytes) {
    return absl::InternalError(absl::StrCat("batch ", header.sequence, " landed in memory it was not granted"));
  }
  slot.received.headers.push_back(header);
  slot.received.batches.emplace_back(static_cast<const char*>(memory.address), static_cast<size_t>(memory.bytes));
  slot.granted.erase(header.sequence);
  return absl::OkStatus();
}

void RecordingSink::Committed(const TransferCommit& commit, std::function<void(const absl::Status&)> done) {
  const Turn turn(*this, commit.ticket);
  const absl::Status status = at_commit ? at_commit(commit) : absl::OkStatus();
  const auto answer = [this, commit, status, done = std::move(done)] {
    if (status.ok()) {
      absl::MutexLock lock(&mutex_);
      slots_[commit.ticket].received.commit = commit;
    }
    done(status);
  };
  if (at_answer) {
    at_answer(answer);
  } else {
    answer();
  }
}

void RecordingSink::Aborted(uint64_t ticket, const absl::Status& why) {
  const Turn turn(*this, ticket);
  absl::MutexLock lock(&mutex_);
  Slot& slot = slots_[ticket];
  slot.granted.clear();
  ++slot.received.aborted;
  slot.received.why = why;
}

ReceivedTransfer RecordingSink::Received(uint64_t ticket) {
  absl::MutexLock lock(&mutex_);
  return slots_[ticket].received;
}

bool RecordingSink::Await(uint64_t ticket, absl::Duration limit,
                          const std::function<bool(const ReceivedTransfer&)>& reached) {
  struct Wait {
    RecordingSink* sink;
    uint64_t ticket;
    const std::function<bool(const ReceivedTransfer&)>* reached;
  } wait{this, ticket, &reached};
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(
      absl::Condition(
          +[](Wait* w) ABSL_NO_THREAD_SAFETY_ANALYSIS { return (*w->reached)(w->sink->slots_[w->ticket].received); },
          &wait),
      limit);
}

bool RecordingSink::AwaitEnd(uint64_t ticket, absl::Duration limit) {
  return Await(ticket, limit, [](const ReceivedTransfer& t) { return t.commit.has_value() || t.aborted > 0; });
}

bool RecordingSink::AwaitBatches(uint64_t ticket, size_t batches, absl::Duration limit) {
  return Await(ticket, limit, [batches](const ReceivedTransfer& t) { return t.batches.size() >= batches; });
}

bool RecordingSink::overlapped() {
  absl::MutexLock lock(&mutex_);
  return overlapped_;
}

}  // namespace decant
