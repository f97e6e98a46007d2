#include "services/rpc/reply.h"

namespace decant {

void CancelNotice::OnCancel(std::function<void()> callback) {
  {
    absl::MutexLock lock(&mutex_);
    if (!cancelled_) {
      if (over_) return;
      callback_ = std::move(callback);
      return;
    }
  }
  callback();
}

void CancelNotice::Cancelled() {
  std::function<void()> callback;
  {
    absl::MutexLock lock(&mutex_);
    if (cancelled_ || over_) return;
    cancelled_ = true;
    callback = std::move(callback_);
    callback_ = nullptr;
  }
  if (callback) callback();
}

void CancelNotice::Forget() {
  std::function<void()> callback;  // destroyed after the lock is gone: it may own its way back here
  absl::MutexLock lock(&mutex_);
  over_ = true;
  callback = std::move(callback_);
  callback_ = nullptr;
}

bool CancelNotice::cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_;
}

}  // namespace decant
