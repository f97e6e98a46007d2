#include "services/prefill/publisher.h"

#include <utility>

namespace decant {

Publisher::Publisher(ChunkSink& sink, int64_t limit_bytes, absl::Duration publish_limit)
    : sink_(sink), limit_bytes_(limit_bytes), publish_limit_(publish_limit), thread_([this] { Loop(); }) {}

Publisher::~Publisher() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

int64_t Publisher::room_bytes() const {
  absl::MutexLock lock(&mutex_);
  return limit_bytes_ - held_bytes_;
}

bool Publisher::Add(Publication publication) {
  absl::MutexLock lock(&mutex_);
  if (stopping_ || held_bytes_ + publication.bytes > limit_bytes_) return false;
  held_bytes_ += publication.bytes;
  queue_.push_back(std::move(publication));
  return true;
}

void Publisher::Flush(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return held_bytes_ == 0; };
  mutex_.AwaitWithDeadline(absl::Condition(&idle), deadline);
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
    (void)sink_.Publish(next, absl::Now() + publish_limit_);
    absl::MutexLock lock(&mutex_);
    held_bytes_ -= next.bytes;
  }
}

}  // namespace decant
