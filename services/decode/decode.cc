// Everything that touches the DecodeBatch runs on the engine thread: other threads queue closures under the mutex. An
// entry lives from Reserve until its pages are free and its last token is read; one whose transfer is open when it ends
// stays behind as kEnded, because the link may still write to granted memory, until the link reports Aborted.
#include "services/decode/decode.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/random.h"
#include "common/base/status_macros.h"

namespace decant {

Decode::Decode(std::unique_ptr<DecodeBatch> batch, DecodeCoreOptions options)
    : options_(std::move(options)),
      batch_(std::move(batch)),
      total_pages_(batch_->total_pages()),
      measured_at_(options_.now()),
      landing_(options_.landing_bytes) {
  load_.total_pages = total_pages_;
  load_.free_pages = batch_->unreserved_pages();
}

Decode::~Decode() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
  std::vector<uint64_t> left;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [ticket, entry] : entries_) left.push_back(ticket);
  }
  for (const uint64_t ticket : left) End(ticket, absl::UnavailableError("this decode worker is stopping"));
}

Decode::Entry* Decode::Find(uint64_t ticket) {
  const auto found = entries_.find(ticket);
  return found == entries_.end() ? nullptr : &found->second;
}

absl::StatusOr<SequenceOptions> Decode::OptionsOf(const Reservation& r) const {
  if (r.model != options_.model || r.run_type != options_.run_type) {
    return absl::FailedPreconditionError(absl::StrCat(
        "this decode worker serves model ", options_.model.Hex().substr(0, 12), " as ",
        options_.run_type == RunType::kF32 ? "f32" : "bf16", ", the request is for ", r.model.Hex().substr(0, 12),
        " as ", r.run_type == RunType::kF32 ? "f32" : "bf16", "; start all workers with one model folder and --dtype"));
  }
  if (r.prompt_tokens < 1 || r.max_tokens < 1 || r.prompt_tokens > options_.max_positions - r.max_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("a prompt of ", r.prompt_tokens, " tokens with ", r.max_tokens,
                                                   " to generate does not fit the model's ", options_.max_positions,
                                                   " positions; shorten the prompt or ask for fewer tokens"));
  }
  DECANT_ASSIGN_OR_RETURN(const Profile profile,
                          options_.catalogue.FindSame(r.profile, options_.model, r.profile_digest));
  SequenceOptions sequence;
  DECANT_ASSIGN_OR_RETURN(sequence.recipe, Compile(profile, options_.geometry, options_.run_type));
  sequence.fixed = sequence.recipe.prefix_format();
  sequence.prompt_tokens = r.prompt_tokens;
  sequence.max_tokens = r.max_tokens;
  sequence.sampling = r.sampling;
  sequence.end_tokens = r.end_tokens;
  return sequence;
}

uint64_t Decode::Reserve(Reservation reservation, std::function<void(absl::StatusOr<Ticket>)> done) {
  absl::Status refusal = OptionsOf(reservation).status();
  uint64_t ticket = 0;
  {
    absl::MutexLock lock(&mutex_);
    do ticket = MixBits(options_.ticket_seed, issued_++);
    while (ticket == 0 || entries_.contains(ticket));
    if (load_.draining || stopping_) {
      refusal = absl::UnavailableError("this decode worker is draining; use another one");
    } else if (refusal.ok() && static_cast<int32_t>(waiting_.size()) >= options_.waiting_limit) {
      refusal = absl::ResourceExhaustedError(
          absl::StrCat(waiting_.size(),
                       " reservations already wait for pages; retry later or start decode with a larger "
                       "--kv-budget"));
    }
    if (refusal.ok()) {
      Entry& entry = entries_[ticket];
      entry.deadline = options_.now() + reservation.wait;
      entry.reservation = std::move(reservation);
      entry.done = std::move(done);
      waiting_.push_back(ticket);
      Post([this] { TryReserve(); });
    }
  }
  if (!refusal.ok()) done(refusal);
  return ticket;
}

absl::Status Decode::Subscribe(uint64_t ticket, std::shared_ptr<AnswerReceiver> receiver) {
  absl::MutexLock lock(&mutex_);
  Entry* entry = Find(ticket);
  if (entry == nullptr || entry->state == State::kEnded) {
    return absl::NotFoundError(absl::StrCat("ticket ", ticket, " is unknown or has ended"));
  }
  if (entry->receiver != nullptr) return absl::AlreadyExistsError(absl::StrCat("ticket ", ticket, " has a reader"));
  entry->receiver = std::move(receiver);
  if (entry->state == State::kRunning) entry->deadline = absl::InfiniteFuture();
  Post([this, ticket] { Flush(ticket); });
  return absl::OkStatus();
}

void Decode::Release(uint64_t ticket) {
  absl::MutexLock lock(&mutex_);
  if (Find(ticket) == nullptr) return;
  Post([this, ticket] { End(ticket, absl::CancelledError("the ticket was released")); });
}

DecodeLoad Decode::load() const {
  absl::MutexLock lock(&mutex_);
  return load_;
}

void Decode::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void Decode::Drain(absl::Time limit) {
  absl::MutexLock lock(&mutex_);
  load_.draining = true;
  for (const uint64_t ticket : waiting_) {
    Post([this, ticket] { End(ticket, absl::UnavailableError("this decode worker is draining; use another one")); });
  }
  mutex_.AwaitWithDeadline(absl::Condition(
                               +[](decltype(entries_)* entries) { return entries->empty(); }, &entries_),
                           limit);
}

}  // namespace decant
