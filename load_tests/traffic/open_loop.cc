#include "load_tests/traffic/open_loop.h"

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "decant/v1/generation.grpc.pb.h"
#include "services/rpc/call.h"
#include "services/rpc/channel.h"

namespace decant {
namespace {

class Run {
 public:
  Run(const std::string& router, const std::vector<TimedRequest>& requests, absl::Duration limit)
      : requests_(requests),
        limit_(limit),
        stub_(v1::Generation::NewStub(channels_.Get(router))),
        seen_(requests.size()) {}

  std::vector<Served> Open() {
    start_ = absl::Now();
    for (size_t i = 0; i < requests_.size(); ++i) {
      absl::SleepFor(start_ + requests_[i].due - absl::Now());
      Send(i, start_ + requests_[i].due);
    }
    WaitRunning(0);
    return Results();
  }

  std::vector<Served> Closed(int width) {
    start_ = absl::Now();
    for (size_t i = 0; i < requests_.size(); ++i) {
      WaitRunning(width - 1);
      Send(i, absl::Now());
    }
    WaitRunning(0);
    return Results();
  }

 private:
  struct Seen {
    absl::Time due;
    absl::Time first = absl::InfiniteFuture();
    absl::Time last;
    Served served;
  };

  void Send(size_t i, absl::Time due) {
    {
      absl::MutexLock lock(&mutex_);
      seen_[i].due = due;
      ++running_;
    }
    calls_.Read(
        stub_->async(), &v1::Generation::Stub::async::Generate, requests_[i].request, absl::Now() + limit_,
        [this, i](const v1::GenerateEvent& event) { Event(i, event); },
        [this, i](const absl::Status& end) {
          absl::MutexLock lock(&mutex_);
          seen_[i].served.status = end;
          seen_[i].served.end_s = absl::ToDoubleSeconds(absl::Now() - start_);
          --running_;
        });
  }

  void Event(size_t i, const v1::GenerateEvent& event) {
    absl::MutexLock lock(&mutex_);
    Seen& seen = seen_[i];
    if (event.has_piece() && event.piece().tokens_size() > 0) {
      seen.last = absl::Now();
      if (seen.first == absl::InfiniteFuture()) seen.first = seen.last;
    }
    if (event.has_finished()) {
      seen.served.prompt_tokens = event.finished().prompt_tokens();
      seen.served.output_tokens = event.finished().output_tokens();
      seen.served.reused_tokens = event.finished().prefix_tokens_reused();
    }
  }

  void WaitRunning(int most) {
    absl::MutexLock lock(&mutex_);
    const auto few = [this, most]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return running_ <= most; };
    mutex_.Await(absl::Condition(&few));
  }

  std::vector<Served> Results() {
    absl::MutexLock lock(&mutex_);
    std::vector<Served> results;
    for (Seen& seen : seen_) {
      if (seen.first != absl::InfiniteFuture()) {
        seen.served.ttft_ms = absl::ToDoubleMilliseconds(seen.first - seen.due);
        if (seen.served.output_tokens > 1) {
          seen.served.tpot_ms =
              absl::ToDoubleMilliseconds(seen.last - seen.first) / static_cast<double>(seen.served.output_tokens - 1);
        }
      }
      results.push_back(seen.served);
    }
    return results;
  }

  const std::vector<TimedRequest>& requests_;
  const absl::Duration limit_;
  Channels channels_;
  const std::unique_ptr<v1::Generation::Stub> stub_;
  absl::Time start_;
  absl::Mutex mutex_;
  std::vector<Seen> seen_ ABSL_GUARDED_BY(mutex_);
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  Calls calls_;
};

}  // namespace

std::vector<Served> RunOpenLoop(const std::string& router, const std::vector<TimedRequest>& requests,
                                absl::Duration limit) {
  return Run(router, requests, limit).Open();
}

std::vector<Served> RunClosedLoop(const std::string& router, const std::vector<TimedRequest>& requests, int width,
                                  absl::Duration limit) {
  return Run(router, requests, limit).Closed(width);
}

}  // namespace decant
