// Finds after a start what only the remote tier has.
#ifndef DECANT_SERVICES_POOL_REMOTE_SEARCH_H_
#define DECANT_SERVICES_POOL_REMOTE_SEARCH_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/pool/shared_pool.h"
#include "services/pool/tiers/remote_tier.h"

namespace decant {

struct RemoteSearchOptions {
  size_t most_pages = size_t{1} << 18;           // that one search looks at, some 64 keys each
  absl::Duration pause = absl::Milliseconds(2);  // between pages: the server has others to serve
  absl::Duration page_limit = absl::Seconds(5);
  absl::Duration retry = absl::Seconds(1);  // while the server does not answer
};

// Walks once through the records of the server, on a thread of its own, and has the pool learn of them a few at a time,
// so that no call waits longer than for any other. What it finds is believed only as far as where a record may lie:
// when it is wanted it is read and verified as any other. A server that does not answer is asked again until it has.
class RemoteSearch {
 public:
  // `say` is called once, when the search has ended by itself. `remote` belongs to the pool's store.
  RemoteSearch(std::shared_ptr<SharedPool> pool, RemoteTier& remote, std::function<void(const std::string&)> say,
               RemoteSearchOptions options = {});
  // Ends the search after the page at hand.
  ~RemoteSearch();
  RemoteSearch(const RemoteSearch&) = delete;
  RemoteSearch& operator=(const RemoteSearch&) = delete;

 private:
  void Loop();
  bool StoppedWithin(absl::Duration pause);

  const std::shared_ptr<SharedPool> pool_;
  RemoteTier& remote_;
  const std::function<void(const std::string&)> say_;
  const RemoteSearchOptions options_;
  absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_REMOTE_SEARCH_H_
