// Server calls answered later, from any thread: one reply, or a stream of messages.
//
//   grpc::ServerUnaryReactor* Prefill(grpc::CallbackServerContext* context, const PrefillRequest* request,
//                                     PrefillReply* reply) override {
//     auto answer = UnaryAnswer<PrefillReply>::Create(reply);
//     answer->OnCancel([job] { job->Cancel(); });
//     core.Start(..., [answer](absl::StatusOr<PrefillReply> result) { answer->Finish(std::move(result)); });
//     return answer->reactor();
//   }
//   grpc::ServerWriteReactor<TokenEvent>* Tokens(...) override {
//     auto stream = StreamAnswer<TokenEvent>::Create(kQueueLimit);
//     ... later, any thread: stream->Write(event); stream->Finish(absl::OkStatus()); ...
//     return stream->reactor();
//   }
//
// An answer lives until the call is over and the last shared_ptr is gone; writing or finishing after the call is over
// does nothing. A call that nobody finishes holds the server's drain until its limit.
#ifndef DECANT_SERVICES_RPC_REPLY_H_
#define DECANT_SERVICES_RPC_REPLY_H_

#include <grpcpp/support/server_callback.h>

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/rpc/status_edge.h"

namespace decant {

// Runs a callback when the client is gone, once, even if that was before the callback was set and the call is over by
// then. Thread-safe.
class CancelNotice {
 public:
  void OnCancel(std::function<void()> callback);
  void Cancelled();  // called by the reactor
  void Forget();     // the call is over: the callback is destroyed and never runs again
  bool cancelled() const;

 private:
  mutable absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> callback_ ABSL_GUARDED_BY(mutex_);
};

// One reply. Thread-safe.
template <typename Reply>
class UnaryAnswer {
 public:
  // `reply` is gRPC's and lives as long as the call.
  static std::shared_ptr<UnaryAnswer> Create(Reply* reply) {
    auto answer = std::shared_ptr<UnaryAnswer>(new UnaryAnswer(reply));
    answer->reactor_ = new Reactor(answer);
    return answer;
  }

  grpc::ServerUnaryReactor* reactor() const { return reactor_; }
  // `callback` runs when the client has cancelled or its deadline has passed before it had the answer: also after
  // Finish, so that what an undelivered answer promised can be taken back.
  void OnCancel(std::function<void()> callback) { cancel_.OnCancel(std::move(callback)); }
  bool cancelled() const { return cancel_.cancelled(); }

  // The first call answers; later ones do nothing. A status alone is an error: OK without a reply becomes INTERNAL.
  void Finish(const absl::Status& error) { Finish(absl::StatusOr<Reply>(AsError(error))); }
  void Finish(absl::StatusOr<Reply> result) {
    {
      absl::MutexLock lock(&mutex_);
      if (finished_) return;
      finished_ = true;
    }
    if (result.ok()) *reply_ = std::move(result).value();
    reactor_->Finish(ToGrpc(result.status()));
  }

 private:
  struct Reactor final : grpc::ServerUnaryReactor {
    explicit Reactor(std::shared_ptr<UnaryAnswer> a) : answer(std::move(a)) {}
    void OnCancel() override { answer->cancel_.Cancelled(); }
    void OnDone() override {
      answer->cancel_.Forget();
      delete this;
    }
    std::shared_ptr<UnaryAnswer> answer;
  };

  explicit UnaryAnswer(Reply* reply) : reply_(reply) {}

  Reply* const reply_;
  Reactor* reactor_ = nullptr;
  CancelNotice cancel_;
  absl::Mutex mutex_;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

// A stream of messages with a bounded queue. Thread-safe; messages go out in the order of the calls.
template <typename Message>
class StreamAnswer {
 public:
  // `limit`: messages that may wait for a slow client.
  static std::shared_ptr<StreamAnswer> Create(size_t limit) {
    auto answer = std::shared_ptr<StreamAnswer>(new StreamAnswer(limit));
    answer->reactor_ = new Reactor(answer);
    return answer;
  }

  grpc::ServerWriteReactor<Message>* reactor() const { return reactor_; }
  // As in UnaryAnswer. The stream of a cancelled call is finished here; the owner only has to stop.
  void OnCancel(std::function<void()> callback) { cancel_.OnCancel(std::move(callback)); }
  bool cancelled() const { return cancel_.cancelled(); }

  // RESOURCE_EXHAUSTED when the client is `limit` messages behind: the stream then ends with that status. CANCELLED
  // when the call is over or finished.
  absl::Status Write(Message message) {
    absl::MutexLock lock(&mutex_);
    if (over_ || end_.has_value()) return absl::CancelledError("the stream has ended");
    absl::Status status;
    if (queue_.size() < limit_) {
      queue_.push_back(std::move(message));
    } else {
      // In one step: a message of another thread between the two would follow those that are dropped.
      status = absl::ResourceExhaustedError(absl::StrCat("the reader is ", limit_, " messages behind; read faster"));
      queue_.clear();
      end_ = status;
    }
    Pump();
    return status;
  }

  // Ends the stream after the messages written so far. The first call counts.
  void Finish(const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    if (over_ || end_.has_value()) return;
    end_ = status;
    Pump();
  }

 private:
  struct Reactor final : grpc::ServerWriteReactor<Message> {
    explicit Reactor(std::shared_ptr<StreamAnswer> a) : answer(std::move(a)) {}
    void OnWriteDone(bool ok) override { answer->Written(ok); }
    void OnCancel() override {
      answer->cancel_.Cancelled();
      answer->Finish(absl::CancelledError("the client is gone"));
    }
    void OnDone() override {
      answer->Over();
      delete this;
    }
    std::shared_ptr<StreamAnswer> answer;
  };

  explicit StreamAnswer(size_t limit) : limit_(limit) {}

  void Written(bool ok) {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) {
      queue_.clear();
      if (!end_.has_value()) end_ = absl::CancelledError("the client is gone");
    }
    Pump();
  }
  void Over() {
    {
      absl::MutexLock lock(&mutex_);
      over_ = true;
      queue_.clear();
    }
    cancel_.Forget();
  }
  // gRPC allows one write at a time; StartWrite and Finish only queue, so holding the mutex is safe.
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || over_ || finish_sent_) return;
    if (!queue_.empty()) {
      current_ = std::move(queue_.front());
      queue_.pop_front();
      writing_ = true;
      reactor_->StartWrite(&current_);
    } else if (end_.has_value()) {
      finish_sent_ = true;
      reactor_->Finish(ToGrpc(*end_));
    }
  }

  const size_t limit_;
  Reactor* reactor_ = nullptr;
  CancelNotice cancel_;
  absl::Mutex mutex_;
  std::deque<Message> queue_ ABSL_GUARDED_BY(mutex_);
  Message current_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finish_sent_ ABSL_GUARDED_BY(mutex_) = false;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_REPLY_H_
