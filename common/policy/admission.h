// Whether a request that waits can still have its first token in time. Under overload a queue in order of arrival makes
// everybody late; refusing at once those who would be late keeps the others in time.
#ifndef DECANT_COMMON_POLICY_ADMISSION_H_
#define DECANT_COMMON_POLICY_ADMISSION_H_

#include <cstdint>

namespace decant {

// What stands before a request.
struct QueueAhead {
  int64_t queued_tokens = 0;   // of prompts that wait before it
  int64_t running_tokens = 0;  // of prompts that hold a place now
  int32_t places = 1;          // prompts that are worked on at once
};

// Learns how long a prompt holds its place, as an exponentially weighted mean over prompts: every prompt counts, the
// last 16 or so decide. Not thread-safe.
class Admission {
 public:
  // A prompt of `tokens`, those that were reused included, has held its place for `held_ms`.
  void Served(int64_t tokens, double held_ms);

  // Milliseconds that a prompt of `tokens` holds its place; 0 as long as none was served.
  double ServiceMs(int64_t tokens) const;
  // Milliseconds until a place is free for it: prompts that run are half done.
  double WaitMs(const QueueAhead& ahead) const;

 private:
  // Weighted sums over prompts; held_ms = fixed share + tokens x slope is no better here, since short prompts wait for
  // long ones on the same worker.
  double tokens_ = 0;
  double ms_ = 0;
};

}  // namespace decant

#endif  // DECANT_COMMON_POLICY_ADMISSION_H_
