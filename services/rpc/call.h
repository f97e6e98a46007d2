// Client calls without blocking: one request and a callback, or a stream of messages and a callback.
//
//   calls.Unary(stub->async(), &Decode::Stub::async::Reserve, request, deadline,
//               [core](absl::StatusOr<ReserveReply> reply) { core->Reserved(std::move(reply)); });
//   Call tokens = calls.Read(stub->async(), &Decode::Stub::async::Tokens, request, deadline,
//                            [core](TokenEvent event) { core->Token(event); },
//                            [core](const absl::Status& end) { core->TokensEnded(end); });
//   tokens.Cancel();
//
// Callbacks run on gRPC's threads and must only queue work. `done` runs exactly once per call, after every message;
// nothing runs after it. Messages of one call come one after another.
#ifndef DECANT_SERVICES_RPC_CALL_H_
#define DECANT_SERVICES_RPC_CALL_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/rpc/status_edge.h"

namespace decant {

// A call under way, or none. Copies name the same call; dropping them does not cancel it. Thread-safe.
class Call {
 public:
  Call() = default;
  explicit Call(std::weak_ptr<grpc::ClientContext> context) : context_(std::move(context)) {}

  // Ends the call with CANCELLED unless it has ended. Any number of times, from any thread, also from a callback.
  void Cancel() const {
    if (auto context = context_.lock()) context->TryCancel();
  }

 private:
  std::weak_ptr<grpc::ClientContext> context_;
};

// The calls one owner has under way. Destroying it cancels them and waits until every `done` has returned, so callbacks
// may use what is declared before it. Never destroy it on a gRPC thread. Thread-safe.
class Calls {
 public:
  Calls() = default;
  ~Calls() { CancelAndWait(); }
  Calls(const Calls&) = delete;
  Calls& operator=(const Calls&) = delete;

  template <typename Async, typename Request, typename Reply>
  Call Unary(Async* async,
             void (Async::*method)(grpc::ClientContext*, const Request*, Reply*, std::function<void(grpc::Status)>),
             const Request& request, absl::Time deadline,
             std::type_identity_t<std::function<void(absl::StatusOr<Reply>)>> done);

  template <typename Async, typename Request, typename Message>
  Call Read(Async* async,
            void (Async::*method)(grpc::ClientContext*, const Request*, grpc::ClientReadReactor<Message>*),
            const Request& request, absl::Time deadline, std::type_identity_t<std::function<void(Message)>> on_message,
            std::function<void(const absl::Status&)> done);

  // Cancels every call and refuses later ones with CANCELLED (`done` then runs before Unary or Read returns).
  void CancelAndWait();
  int64_t running() const;

 private:
  // Null when calls are refused.
  std::shared_ptr<grpc::ClientContext> Begin(absl::Time deadline);
  void End(grpc::ClientContext* context);

  mutable absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_map<grpc::ClientContext*, std::shared_ptr<grpc::ClientContext>> contexts_ ABSL_GUARDED_BY(mutex_);
};

template <typename Async, typename Request, typename Reply>
Call Calls::Unary(Async* async,
                  void (Async::*method)(grpc::ClientContext*, const Request*, Reply*,
                                        std::function<void(grpc::Status)>),
                  const Request& request, absl::Time deadline,
                  std::type_identity_t<std::function<void(absl::StatusOr<Reply>)>> done) {
  struct State {
    std::shared_ptr<grpc::ClientContext> context;
    Request request;
    Reply reply;
    std::function<void(absl::StatusOr<Reply>)> done;
  };
  auto context = Begin(deadline);
  if (context == nullptr) {
    done(absl::CancelledError("this process is stopping"));
    return Call();
  }
  auto state = std::make_shared<State>(State{context, request, {}, std::move(done)});
  (async->*method)(context.get(), &state->request, &state->reply, [this, state](const grpc::Status& status) {
    if (status.ok()) {
      state->done(std::move(state->reply));
    } else {
      state->done(AsError(FromGrpc(status)));
    }
    state->done = nullptr;
    End(state->context.get());
  });
  return Call(context);
}

template <typename Async, typename Request, typename Message>
Call Calls::Read(Async* async,
                 void (Async::*method)(grpc::ClientContext*, const Request*, grpc::ClientReadReactor<Message>*),
                 const Request& request, absl::Time deadline,
                 std::type_identity_t<std::function<void(Message)>> on_message,
                 std::function<void(const absl::Status&)> done) {
  struct Reader final : grpc::ClientReadReactor<Message> {
    void OnReadDone(bool ok) override {
      if (!ok) return;
      on_message(std::move(message));
      message = Message();
      this->StartRead(&message);
    }
    void OnDone(const grpc::Status& status) override {
      done(FromGrpc(status));
      on_message = nullptr;
      done = nullptr;
      Calls* const owner = calls;
      const auto kept = std::move(context);
      delete this;
      owner->End(kept.get());
    }
    Calls* calls;
    std::shared_ptr<grpc::ClientContext> context;
    Request request;
    Message message;
    std::function<void(Message)> on_message;
    std::function<void(const absl::Status&)> done;
  };
  auto context = Begin(deadline);
  if (context == nullptr) {
    done(absl::CancelledError("this process is stopping"));
    return Call();
  }
  auto* reader = new Reader;
  reader->calls = this;
  reader->context = context;
  reader->request = request;
  reader->on_message = std::move(on_message);
  reader->done = std::move(done);
  (async->*method)(context.get(), &reader->request, reader);
  reader->StartRead(&reader->message);
  reader->StartCall();
  return Call(context);
}

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_CALL_H_
