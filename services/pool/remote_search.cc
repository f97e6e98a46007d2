#include "services/pool/remote_search.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace decant {

RemoteSearch::RemoteSearch(std::shared_ptr<SharedPool> pool, RemoteTier& remote,
                           std::function<void(const std::string&)> say, RemoteSearchOptions options)
    : pool_(std::move(pool)), remote_(remote), say_(std::move(say)), options_(options), thread_([this] { Loop(); }) {}

RemoteSearch::~RemoteSearch() {
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
  }
  thread_.join();
}

bool RemoteSearch::StoppedWithin(absl::Duration pause) {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&stopped_), pause);
}

void RemoteSearch::Loop() {
  uint64_t cursor = 0;
  size_t found = 0;
  for (size_t pages = 0; pages < options_.most_pages;) {
    const absl::StatusOr<RemotePage> page = remote_.Scan(cursor, absl::Now() + options_.page_limit);
    if (!page.ok()) {
      if (StoppedWithin(options_.retry)) return;
      continue;
    }
    ++pages;
    const absl::StatusOr<size_t> learned = pool_->Learn(Tier::kRemote, page->heads);
    found += learned.value_or(0);
    if (!learned.ok())
      return say_(absl::StrCat("of the remote tier ", found, " chunks are known: ", learned.status().message()));
    cursor = page->next;
    if (cursor == 0) return say_(absl::StrCat("the remote tier holds ", found, " chunks that were not known"));
    if (StoppedWithin(options_.pause)) return;
  }
  say_(absl::StrCat("of the remote tier ", found, " chunks are known: it holds too many keys to look at all of them"));
}

}  // namespace decant
