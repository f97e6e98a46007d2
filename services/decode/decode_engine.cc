// The engine thread of a decode worker.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/decode/decode.h"

namespace decant {

void Decode::Loop() {
  while (true) {
    const bool running = RunOnce();
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;
    if (running) continue;
    absl::Time wake = options_.now() + absl::Seconds(1);
    for (const auto& [ticket, entry] : entries_) wake = std::min(wake, entry.deadline);
    const auto has_work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !work_.empty(); };
    mutex_.AwaitWithDeadline(absl::Condition(&has_work), wake);
  }
}

bool Decode::RunOnce() {
  std::deque<std::function<void()>> work;
  {
    absl::MutexLock lock(&mutex_);
    work.swap(work_);
  }
  for (const auto& item : work) item();
  ExpireLate();
  TryReserve();
  if (batch_->running() > 0) Step();
  Measure(options_.now());
  return batch_->running() > 0;
}

void Decode::TryReserve() {
  while (true) {
    uint64_t ticket = 0;
    Reservation reservation;
    {
      absl::MutexLock lock(&mutex_);
      if (waiting_.empty()) return;
      ticket = waiting_.front();
      reservation = entries_.at(ticket).reservation;
    }
    const auto options = OptionsOf(reservation);  // was checked when the reservation came
    const auto sequence = options.ok() ? batch_->Reserve(*options) : absl::StatusOr<SequenceId>(options.status());
    if (absl::IsResourceExhausted(sequence.status())) return;
    if (!sequence.ok()) {
      End(ticket, sequence.status());
      continue;
    }
    std::function<void(absl::StatusOr<Ticket>)> done;
    {
      absl::MutexLock lock(&mutex_);
      waiting_.pop_front();
      Entry& entry = entries_.at(ticket);
      entry.sequence = *sequence;
      entry.state = State::kReserved;
      entry.deadline = options_.now() + options_.open_limit;
      done = std::exchange(entry.done, nullptr);
    }
    done(Ticket{ticket, batch_->WorstCasePages(*options), options->recipe.digest, options_.open_limit});
  }
}

void Decode::ExpireLate() {
  const absl::Time now = options_.now();
  std::vector<std::pair<uint64_t, absl::Status>> late;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [ticket, entry] : entries_) {
      if (entry.deadline > now) continue;
      switch (entry.state) {
        case State::kWaiting:
          late.emplace_back(ticket, absl::ResourceExhaustedError(absl::StrCat(
                                        "no pages became free within ", absl::FormatDuration(entry.reservation.wait),
                                        "; retry later or start decode with a larger --kv-budget")));
          break;
        case State::kReserved:
          late.emplace_back(ticket, absl::DeadlineExceededError(absl::StrCat("no transfer began within ",
                                                                             absl::FormatDuration(options_.open_limit),
                                                                             " of the reservation")));
          break;
        case State::kOpen:
          late.emplace_back(ticket, absl::DeadlineExceededError(
                                        entry.committed ? absl::StrCat("the last batches were not taken in within ",
                                                                       absl::FormatDuration(options_.commit_limit))
                                                        : absl::StrCat("the transfer made no progress for ",
                                                                       absl::FormatDuration(options_.progress_limit))));
          break;
        case State::kRunning:
          late.emplace_back(ticket, absl::DeadlineExceededError(absl::StrCat(
                                        "nobody read the answer for ", absl::FormatDuration(options_.open_limit))));
          break;
        case State::kEnded:
          break;
      }
    }
  }
  for (const auto& [ticket, why] : late) End(ticket, why);
}

absl::Status Decode::Import(uint64_t ticket, MemoryRef memory) {
  std::optional<SequenceId> sequence;
  {
    absl::MutexLock lock(&mutex_);
    if (const Entry* entry = Find(ticket)) sequence = entry->sequence;
  }
  absl::Status status;
  if (sequence.has_value()) {
    const absl::Span<const uint8_t> batch(static_cast<const uint8_t*>(memory.address),
                                          static_cast<size_t>(memory.bytes));
    status = batch_->Import(*sequence, batch);
  }
  {
    absl::MutexLock lock(&mutex_);
    landing_.Give(memory);
  }
  if (!status.ok()) End(ticket, status);
  return status;
}

// Nothing is left to answer when the ticket has ended meanwhile: whatever ended it has answered.
void Decode::Join(const TransferCommit& commit) {
  std::optional<SequenceId> sequence;
  Reservation reservation;
  {
    absl::MutexLock lock(&mutex_);
    const Entry* entry = Find(commit.ticket);
    if (entry == nullptr || !entry->sequence.has_value() || !entry->committed) return;
    sequence = entry->sequence;
    reservation = entry->reservation;
  }
  if (const absl::Status joined = batch_->Join(*sequence, commit.first_token); !joined.ok()) {
    End(commit.ticket, joined);
    return;
  }
  tickets_[*sequence] = commit.ticket;
  std::function<void(const absl::Status&)> committed;
  {
    absl::MutexLock lock(&mutex_);
    Entry& entry = entries_.at(commit.ticket);
    entry.state = State::kRunning;
    entry.deadline = entry.receiver != nullptr ? absl::InfiniteFuture() : options_.now() + options_.open_limit;
    committed = std::exchange(entry.committed, nullptr);
  }
  committed(absl::OkStatus());
  options_.metrics.committed.Increment();
  const auto& ends = reservation.end_tokens;
  const bool stopped = commit.finished || std::find(ends.begin(), ends.end(), commit.first_token) != ends.end();
  Deliver(commit.ticket, commit.first_token, stopped || reservation.max_tokens == 1, stopped);
}

void Decode::Step() {
  const auto tokens = batch_->Step();
  if (!tokens.ok()) {
    // The device failed: no sequence's memory can be trusted any more.
    const auto joined = tickets_;
    for (const auto& [sequence, ticket] : joined) End(ticket, tokens.status());
    return;
  }
  ++steps_;
  options_.metrics.steps.Increment();
  // Delivering may remove sequences, which ends the life of the batch's own record.
  const std::vector<StepToken> step(tokens->begin(), tokens->end());
  for (const StepToken& token : step) {
    const auto ticket = tickets_.find(token.sequence);
    if (ticket != tickets_.end()) Deliver(ticket->second, token.token, token.finished, token.stopped);
  }
}

void Decode::Deliver(uint64_t ticket, int32_t token, bool finished, bool stopped) {
  options_.metrics.tokens.Increment();
  std::optional<SequenceId> done;
  {
    absl::MutexLock lock(&mutex_);
    Entry& entry = entries_.at(ticket);
    entry.unread.push_back(token);
    if (finished) done = std::exchange(entry.sequence, std::nullopt);
  }
  if (done.has_value()) {
    AnswerTokens end;
    end.last = true;
    end.finish_reason = stopped ? "stop" : "length";
    if (const auto use = batch_->Use(*done); use.ok()) {
      end.resident_bytes = use->resident_bytes;
      end.counts = use->tokens;
      options_.metrics.demoted.Increment(static_cast<double>(use->tokens.demoted));
      options_.metrics.dropped.Increment(static_cast<double>(use->tokens.dropped));
    }
    batch_->Remove(*done);
    tickets_.erase(*done);
    absl::MutexLock lock(&mutex_);
    Entry& entry = entries_.at(ticket);
    // The last token of an answer is never fed back, so it has no KV.
    const int64_t kept = entry.reservation.prompt_tokens + entry.sent + static_cast<int64_t>(entry.unread.size()) - 1;
    end.full_bytes = kept * options_.geometry.full_bytes_per_token();
    entry.end = std::move(end);
  }
  Flush(ticket);
}

void Decode::Flush(uint64_t ticket) {
  AnswerTokens out;
  std::shared_ptr<AnswerReceiver> receiver;
  {
    absl::MutexLock lock(&mutex_);
    Entry* entry = Find(ticket);
    if (entry == nullptr || entry->receiver == nullptr || (entry->unread.empty() && !entry->end.has_value())) return;
    receiver = entry->receiver;
    if (entry->end.has_value()) out = std::move(*entry->end);
    out.index = entry->reservation.first_token_index + entry->sent;
    out.tokens = std::exchange(entry->unread, {});
    entry->sent += static_cast<int64_t>(out.tokens.size());
    if (out.last) entries_.erase(ticket);
  }
  const absl::Status written = receiver->Write(out);
  if (out.last) {
    receiver->Finish(absl::OkStatus());
  } else if (!written.ok()) {
    End(ticket, written);
  }
}

void Decode::End(uint64_t ticket, const absl::Status& cause) {
  const absl::Status why = cause.ok() ? absl::AbortedError("the ticket was ended without a reason") : cause;
  Entry ended;
  {
    absl::MutexLock lock(&mutex_);
    Entry* entry = Find(ticket);
    if (entry == nullptr || entry->state == State::kEnded) return;
    if (entry->state == State::kWaiting) waiting_.erase(std::find(waiting_.begin(), waiting_.end(), ticket));
    ended.sequence = std::exchange(entry->sequence, std::nullopt);
    ended.done = std::exchange(entry->done, nullptr);
    ended.receiver = std::exchange(entry->receiver, nullptr);
    ended.committed = std::exchange(entry->committed, nullptr);
    if (entry->state == State::kOpen) {
      entry->state = State::kEnded;
      entry->error = why;
      entry->deadline = absl::InfiniteFuture();
    } else {
      entries_.erase(ticket);
    }
  }
  if (ended.sequence.has_value()) {
    tickets_.erase(*ended.sequence);
    batch_->Remove(*ended.sequence);
  }
  if (ended.done) ended.done(why);
  if (ended.committed) ended.committed(why);
  if (ended.receiver != nullptr) ended.receiver->Finish(why);
}

void Decode::Measure(absl::Time now) {
  const int64_t free_pages = batch_->unreserved_pages();
  absl::MutexLock lock(&mutex_);
  load_.running = batch_->running();
  load_.waiting = static_cast<int32_t>(waiting_.size());
  load_.free_pages = free_pages;
  options_.metrics.running.Set(load_.running);
  options_.metrics.waiting.Set(load_.waiting);
  options_.metrics.pages_total.Set(static_cast<double>(total_pages_));
  options_.metrics.pages_free.Set(static_cast<double>(free_pages));
  options_.metrics.pages_reserved.Set(static_cast<double>(total_pages_ - free_pages));
  const double seconds = absl::ToDoubleSeconds(now - measured_at_);
  if (seconds < 0.5) return;
  if (steps_ > measured_steps_) load_.steps_per_s = static_cast<double>(steps_ - measured_steps_) / seconds;
  measured_steps_ = steps_;
  measured_at_ = now;
}

}  // namespace decant
