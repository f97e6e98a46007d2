#include "services/prefill/publisher.h"

#include <utility>

namespace decant {

Publisher::Publisher(ChunkSink& sink, PublisherOptions options)
    : sink_(sink), options_(std::move(options)), thread_([this] { Loop(); }) {}

Publisher::~Publisher() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  sink_.Cancel();
  thread_.join();
}

int64_t Publisher::room_bytes() const {
  absl::MutexLock lock(&mutex_);
  return options_.limit_bytes - held_bytes_;
}

bool Publisher::Add(Publication publication) {
  absl::MutexLock lock(&mutex_);
  if (stopping_ || held_bytes_ + publication.bytes > options_.limit_bytes) return false;
  held_bytes_ += publication.bytes;
  queue_.push_back(std::move(publication));
  return true;
}

void Publisher::Flush(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return held_bytes_ == 0; };
  mutex_.AwaitWithTimeout(absl::Condition(&idle), deadline - options_.now());
}

void Publisher::Loop() {
  while (true) {
    Publication next;
    {
      absl::MutexLock lock(&mutex_);
      const auto something = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !queue_.empty(); };
      mutex_.Await(absl::Condition(&something));
      if (stopping_) return;
      next = std::move(queue_.front());
      queue_.pop_front();
    }
    // A failed publish is a miss later and nothing else; the pool counts what it refused.
    const absl::Status tried = sink_.Publish(next, options_.now() + options_.publish_limit).status();
    if (options_.tried) options_.tried(next, tried);
    absl::MutexLock lock(&mutex_);
    held_bytes_ -= next.bytes;
  }
}

}  // namespace decant
