#include "services/prefill/prefill.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace decant {
namespace {

constexpr size_t kUnpublishedKept = 256;

}  // namespace

Prefill::Prefill(const Weights& weights, FrameLink& link, ChunkSource& source, ChunkSink& sink,
                 PrefillCoreOptions options)
    : weights_(weights),
      link_(link),
      source_(source),
      options_(std::move(options)),
      publisher_(sink, Publishing()),
      thread_([this] { Loop(); }) {}

Prefill::~Prefill() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    for (const auto& [id, active] : active_) active->cancelled = true;
  }
  thread_.join();
}

PublisherOptions Prefill::Publishing() {
  PublisherOptions publishing;
  publishing.limit_bytes = options_.publish_bytes;
  publishing.publish_limit = options_.publish_limit;
  publishing.now = options_.now;
  publishing.tried = [this](const Publication& publication, const absl::Status& status) {
    (status.ok() ? options_.metrics.published : options_.metrics.publish_failed).Increment();
    if (status.ok()) return;
    const size_t chunks = publication.chunks.size();
    options_.metrics.unpublished_failed.Increment(static_cast<double>(chunks));
    publish_log_.Log(options_.now(), LogLevel::kWarning,
                     absl::StrCat(chunks, " chunks could not be published to the pool at ", publication.pool_address,
                                  ": ", status.message()));
  };
  return publishing;
}

absl::Status Prefill::Check(const PrefillJob& job) const {
  if (job.model != options_.model || job.run_type != weights_.run_type()) {
    return absl::FailedPreconditionError(
        absl::StrCat("this prefill worker serves model ", options_.model.Hex().substr(0, 12), " as ",
                     weights_.run_type() == RunType::kF32 ? "f32" : "bf16", ", the request is for ",
                     job.model.Hex().substr(0, 12), " as ", job.run_type == RunType::kF32 ? "f32" : "bf16",
                     "; start all workers with one model folder and --dtype"));
  }
  const auto tokens = static_cast<int64_t>(job.tokens.size());
  if (tokens < 1 || tokens > weights_.config().max_positions) {
    return absl::InvalidArgumentError(absl::StrCat("a prompt of ", tokens, " tokens does not fit this model's ",
                                                   weights_.config().max_positions, " positions"));
  }
  return absl::OkStatus();
}

uint64_t Prefill::Submit(PrefillJob job, std::function<void(absl::StatusOr<PrefillOutcome>)> done) {
  absl::Status refusal = Check(job);
  uint64_t id = 0;
  {
    absl::MutexLock lock(&mutex_);
    id = ++issued_;
    if (load_.draining || stopping_) {
      refusal = absl::UnavailableError("this prefill worker is draining; use another one");
    } else if (refusal.ok() && static_cast<int32_t>(queue_.size()) >= options_.waiting_limit) {
      refusal = absl::ResourceExhaustedError(
          absl::StrCat(queue_.size(), " prompts already wait in this prefill worker; retry later or add a worker"));
    }
    if (refusal.ok()) {
      auto active = std::make_unique<Active>();
      active->id = id;
      active->job = std::move(job);
      active->done = std::move(done);
      active_[id] = active.get();
      queue_.push_back(std::move(active));
      load_.waiting = static_cast<int32_t>(queue_.size());
    }
  }
  if (!refusal.ok()) done(refusal);
  return id;
}

void Prefill::Cancel(uint64_t id) {
  absl::MutexLock lock(&mutex_);
  const auto found = active_.find(id);
  if (found != active_.end()) found->second->cancelled = true;
}

PrefillLoad Prefill::load() const {
  absl::MutexLock lock(&mutex_);
  return load_;
}

void Prefill::Drain(absl::Time limit) {
  {
    absl::MutexLock lock(&mutex_);
    load_.draining = true;
    const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return active_.empty(); };
    mutex_.AwaitWithTimeout(absl::Condition(&idle), limit - options_.now());
  }
  publisher_.Flush(limit);
}

void Prefill::Loop() {
  while (true) {
    std::unique_ptr<Active> next;
    {
      absl::MutexLock lock(&mutex_);
      const auto something = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !queue_.empty(); };
      // Transfers that have ended meanwhile are reaped now and then.
      mutex_.AwaitWithTimeout(absl::Condition(&something),
                              finishing_.empty() ? absl::InfiniteDuration() : absl::Seconds(1));
      if (!queue_.empty()) {
        next = std::move(queue_.front());
        queue_.pop_front();
      } else if (stopping_) {
        break;
      }
      load_.waiting = static_cast<int32_t>(queue_.size());
      load_.running = next != nullptr ? 1 : 0;
    }
    if (next != nullptr) {
      Compute(*next);
      finishing_.push_back(std::move(next));
      absl::MutexLock lock(&mutex_);
      load_.running = 0;
    }
    Reap(false);
  }
  Reap(true);
}

void Prefill::Compute(Active& active) {
  if (active.cancelled) return Answer(active, absl::CancelledError("the request was cancelled"));
  const auto stream = weights_.device().NewStream();
  OutboxOptions outbox = options_.outbox;
  outbox.now = options_.now;
  const PassWorld world{weights_,
                        *stream,
                        link_,
                        source_,
                        options_.catalogue,
                        options_.tokenizer,
                        options_.model,
                        options_.sender,
                        options_.frame_version,
                        options_.fetch_limit,
                        options_.open_limit,
                        publisher_.room_bytes(),
                        outbox,
                        options_.gate,
                        options_.now};
  active.pass = std::make_unique<Pass>(world, active.job, active.cancelled);
  const absl::Status computed = active.pass->Run();
  if (!computed.ok()) {
    if (active.pass->outbox() != nullptr) {
      active.pass->outbox()->Abort(computed);
      NoteAborted(active.job, computed);
    }
    Answer(active, computed);
    return;
  }
  Measure(active.pass->outcome());
  active.pass->outbox()->Commit(active.pass->commit(), active.job.deadline,
                                [this, &active](const TransferEnd& end) { Finish(active, end); });
}

void Prefill::Finish(Active& active, const TransferEnd& end) {
  PrefillOutcome outcome = active.pass->outcome();
  outcome.wire_bytes = end.wire_bytes;
  outcome.wire = end.wire;
  if (end.status.ok()) {
    options_.metrics.committed.Increment();
  } else {
    NoteAborted(active.job, end.status);
  }
  options_.metrics.sent_bytes.Increment(options_.metrics.link, end.wire_bytes - end.carried.bytes);
  options_.metrics.sent_bytes.Increment(end.carried.by, end.carried.bytes);
  // What was computed is worth keeping even when decode is gone: the next try then finds it.
  if (auto publication = active.pass->TakePublication()) {
    if (!publisher_.Add(*std::move(publication))) {
      outcome.chunks_without_room += std::exchange(outcome.chunks_to_publish, 0);
    }
  }
  if (outcome.miss_reason.empty()) {
    outcome.miss_reason = WhyNotStored(active.job, outcome.tokens_reused / active.job.chunk_tokens);
  }
  if (outcome.chunks_without_room > 0) {
    NoteUnpublished(active.job, outcome);
    options_.metrics.unpublished_room.Increment(outcome.chunks_without_room);
    publish_log_.Log(
        options_.now(), LogLevel::kInfo,
        absl::StrCat(outcome.chunks_without_room, " chunks of a prompt of ", active.job.tokens.size(),
                     " tokens were not published: publications may hold ", options_.publish_bytes, " bytes"));
  }
  if (end.status.ok()) {
    Answer(active, std::move(outcome));
  } else {
    Answer(active, end.status);
  }
}

void Prefill::NoteUnpublished(const PrefillJob& job, const PrefillOutcome& outcome) {
  const auto first = static_cast<size_t>(outcome.tokens_reused / job.chunk_tokens + outcome.chunks_to_publish);
  if (first >= job.chunk_keys.size()) return;
  absl::MutexLock lock(&mutex_);
  unpublished_.push_back(job.chunk_keys[first]);
  if (unpublished_.size() > kUnpublishedKept) unpublished_.pop_front();
}

// A prefix that ends where this worker once had no room to publish on, or nothing.
std::string Prefill::WhyNotStored(const PrefillJob& job, int32_t chunk) const {
  if (static_cast<size_t>(chunk) >= job.chunk_keys.size()) return "";
  absl::MutexLock lock(&mutex_);
  const Digest& key = job.chunk_keys[static_cast<size_t>(chunk)];
  if (std::find(unpublished_.begin(), unpublished_.end(), key) == unpublished_.end()) return "";
  return absl::StrCat("chunk ", chunk, " (from token ", chunk * job.chunk_tokens,
                      "): it was computed before, but publications may hold ", options_.publish_bytes,
                      " bytes and had no room for it; --publish-bytes of prefill says how many");
}

void Prefill::NoteAborted(const PrefillJob& job, const absl::Status& why) {
  options_.metrics.aborted.Increment();
  abort_log_.Log(options_.now(), LogLevel::kWarning,
                 absl::StrCat("transfer ", job.ticket, " to ", job.decode_address, " was aborted: ", why.message()));
}

void Prefill::Answer(Active& active, absl::StatusOr<PrefillOutcome> outcome) {
  const auto done = std::exchange(active.done, nullptr);
  done(std::move(outcome));
  absl::MutexLock lock(&mutex_);
  active_.erase(active.id);
}

void Prefill::Reap(bool stopping) {
  const auto outbox_of = [](const std::unique_ptr<Active>& active) {
    return active->pass != nullptr ? active->pass->outbox() : nullptr;
  };
  finishing_.remove_if([&](const std::unique_ptr<Active>& active) {
    const Outbox* outbox = outbox_of(active);
    return outbox == nullptr || outbox->ended();
  });
  while (static_cast<int32_t>(finishing_.size()) > (stopping ? 0 : options_.finishing_limit)) {
    Outbox* oldest = outbox_of(finishing_.front());
    if (stopping) {
      oldest->CutShort(absl::CancelledError("the prefill worker stops"));
    } else if (!oldest->WaitEnded(options_.now() + options_.finishing_wait)) {
      oldest->CutShort(absl::DeadlineExceededError(absl::StrCat(
          "decode took too long to take the last batches in, and ", finishing_.size(), " transfers are under way")));
    }
    // `done` reads the pass.
    oldest->WaitEnded(absl::InfiniteFuture());
    finishing_.pop_front();
  }
}

void Prefill::Measure(const PrefillOutcome& outcome) {
  const PrefillMetrics& metrics = options_.metrics;
  const double compute = absl::ToDoubleSeconds(outcome.compute);
  const double encode = absl::ToDoubleSeconds(outcome.encode);
  metrics.tokens_computed.Increment(outcome.tokens_computed);
  metrics.tokens_reused.Increment(outcome.tokens_reused);
  metrics.compute_seconds.Increment(compute);
  metrics.encode_seconds.Increment(encode);
  metrics.encoded_high.Increment(static_cast<double>(outcome.counts.high));
  metrics.encoded_low.Increment(static_cast<double>(outcome.counts.low));
  metrics.encoded_pruned.Increment(static_cast<double>(outcome.counts.pruned));
  if (const auto rejected = metrics.chunks_rejected.find(outcome.miss_label);
      rejected != metrics.chunks_rejected.end()) {
    rejected->second.Increment(outcome.chunks_missed);
  }
  // Behind a reused prefix a token takes longer, and is not all that full_bytes counts.
  if (outcome.tokens_reused > 0) return;
  absl::MutexLock lock(&mutex_);
  // The mean of the newest and of what was known before: follows a change of load within a few prompts.
  const auto blend = [](double& known, double amount, double seconds) {
    if (seconds <= 0 || amount <= 0) return;
    known = known == 0 ? amount / seconds : (known + amount / seconds) / 2;
  };
  blend(load_.tokens_per_s, outcome.tokens_computed, compute);
  blend(load_.encode_bytes_per_s, static_cast<double>(outcome.full_bytes), encode);
}

}  // namespace decant
