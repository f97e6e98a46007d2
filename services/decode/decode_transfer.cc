// The receiving end of transfers: calls of links, on their threads.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/decode/decode.h"

namespace decant {

absl::Status Decode::Open(const TransferOpen& open) {
  if (open.model_fingerprint != options_.model) {
    return absl::FailedPreconditionError(absl::StrCat("frames of model ", open.model_fingerprint.Hex().substr(0, 12),
                                                      " cannot join model ", options_.model.Hex().substr(0, 12),
                                                      "; start all workers with one model folder"));
  }
  if (open.frame_version != options_.frame_version) {
    return absl::FailedPreconditionError(absl::StrCat("frames of version ", open.frame_version,
                                                      " cannot be read, this decode worker reads version ",
                                                      options_.frame_version, "; run one version of decant"));
  }
  absl::MutexLock lock(&mutex_);
  Entry* entry = Find(open.ticket);
  if (entry == nullptr || entry->state == State::kWaiting || entry->state == State::kEnded) {
    return absl::NotFoundError(absl::StrCat("ticket ", open.ticket, " is unknown or has ended"));
  }
  if (entry->state != State::kReserved) {
    return absl::AlreadyExistsError(absl::StrCat("ticket ", open.ticket, " already has a transfer"));
  }
  entry->state = State::kOpen;
  entry->deadline = options_.now() + options_.progress_limit;
  return absl::OkStatus();
}

absl::StatusOr<MemoryRef> Decode::Grant(uint64_t ticket, const BatchHeader& header) {
  absl::MutexLock lock(&mutex_);
  Entry* entry = Find(ticket);
  if (entry == nullptr) return absl::NotFoundError(absl::StrCat("ticket ", ticket, " has ended"));
  if (entry->state == State::kEnded) return entry->error;
  if (entry->state != State::kOpen || header.sequence != entry->next_batch) {
    return absl::FailedPreconditionError(absl::StrCat("batch ", header.sequence, " of ticket ", ticket,
                                                      " is out of order, batch ", entry->next_batch, " is next"));
  }
  auto memory = landing_.Take(header.bytes);
  // A sender that is told to wait is alive: it asks again.
  if (memory.ok() || absl::IsResourceExhausted(memory.status())) {
    entry->deadline = options_.now() + options_.progress_limit;
  }
  if (!memory.ok()) return memory.status();
  ++entry->next_batch;
  entry->granted.push_back(*memory);
  return memory;
}

absl::Status Decode::Landed(uint64_t ticket, const BatchHeader& header, MemoryRef memory) {
  absl::MutexLock lock(&mutex_);
  Entry* entry = Find(ticket);
  if (entry == nullptr) return absl::NotFoundError(absl::StrCat("ticket ", ticket, " has ended"));
  if (entry->state == State::kEnded) return entry->error;  // Aborted follows and gives the memory back
  const auto granted = std::find_if(entry->granted.begin(), entry->granted.end(), [&](const MemoryRef& g) {
    return g.address == memory.address && g.bytes == memory.bytes && g.bytes == header.bytes;
  });
  if (granted == entry->granted.end()) {
    return absl::FailedPreconditionError(absl::StrCat("batch ", header.sequence, " of ticket ", ticket, " with ",
                                                      header.bytes, " bytes was granted no such memory"));
  }
  entry->granted.erase(granted);
  entry->deadline = options_.now() + options_.progress_limit;
  options_.metrics.received_bytes.Increment(header.link, header.bytes);
  if (memory.bytes > 0) Post([this, ticket, memory] { (void)Import(ticket, memory); });
  return absl::OkStatus();
}

absl::Status Decode::CheckCommit(const TransferCommit& commit) {
  const Entry* entry = Find(commit.ticket);
  if (entry == nullptr) return absl::NotFoundError(absl::StrCat("ticket ", commit.ticket, " has ended"));
  if (entry->state == State::kEnded) return entry->error;
  if (entry->state != State::kOpen || entry->committed || commit.batches != entry->next_batch ||
      !entry->granted.empty() || commit.prompt_tokens != entry->reservation.prompt_tokens) {
    return absl::FailedPreconditionError(
        absl::StrCat("the commit names ", commit.batches, " batches of ", commit.prompt_tokens, " tokens, but ",
                     entry->next_batch, " batches of ", entry->reservation.prompt_tokens, " tokens came"));
  }
  return absl::OkStatus();
}

void Decode::Committed(const TransferCommit& commit, std::function<void(const absl::Status&)> done) {
  absl::Status refusal;
  {
    absl::MutexLock lock(&mutex_);
    refusal = CheckCommit(commit);
    if (refusal.ok()) {
      Entry& entry = entries_.at(commit.ticket);
      entry.deadline = options_.now() + options_.commit_limit;
      entry.committed = std::move(done);
      Post([this, commit] { Join(commit); });
    }
  }
  if (!refusal.ok()) done(refusal);
}

void Decode::Aborted(uint64_t ticket, const absl::Status& why) {
  options_.metrics.aborted.Increment();
  abort_log_.Log(options_.now(), LogLevel::kWarning,
                 absl::StrCat("transfer ", ticket, " was aborted: ", why.message()));
  std::function<void(const absl::Status&)> unanswered;  // destroyed after the lock is gone
  absl::MutexLock lock(&mutex_);
  Entry* entry = Find(ticket);
  if (entry == nullptr) return;
  unanswered.swap(entry->committed);
  for (const MemoryRef& memory : entry->granted) landing_.Give(memory);
  entry->granted.clear();
  if (entry->state == State::kEnded) {
    entries_.erase(ticket);
    return;
  }
  if (entry->state == State::kOpen) entry->state = State::kReserved;  // the link holds nothing of it any more
  Post([this, ticket, why] { End(ticket, why); });
}

}  // namespace decant
