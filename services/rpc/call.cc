#include "services/rpc/call.h"

#include <vector>

namespace decant {

std::shared_ptr<grpc::ClientContext> Calls::Begin(absl::Time deadline) {
  auto context = std::make_shared<grpc::ClientContext>();
  context->set_deadline(ToGrpc(deadline));
  absl::MutexLock lock(&mutex_);
  if (closed_) return nullptr;
  contexts_[context.get()] = context;
  return context;
}

void Calls::End(grpc::ClientContext* context) {
  absl::MutexLock lock(&mutex_);
  contexts_.erase(context);
}

void Calls::CancelAndWait() {
  std::vector<std::shared_ptr<grpc::ClientContext>> running;
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    for (const auto& [pointer, context] : contexts_) running.push_back(context);
  }
  for (const auto& context : running) context->TryCancel();
  running.clear();
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(
      +[](Calls* calls) ABSL_EXCLUSIVE_LOCKS_REQUIRED(calls->mutex_) { return calls->contexts_.empty(); }, this));
}

int64_t Calls::running() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int64_t>(contexts_.size());
}

}  // namespace decant
