// A client that sends requests when they are due, whatever became of those before: what users do.
#ifndef DECANT_LOAD_TESTS_TRAFFIC_OPEN_LOOP_H_
#define DECANT_LOAD_TESTS_TRAFFIC_OPEN_LOOP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "decant/v1/generation.pb.h"

namespace decant {

struct TimedRequest {
  absl::Duration due;  // since the start
  v1::GenerateRequest request;
};

// What one client saw.
struct Served {
  absl::Status status;
  double ttft_ms = 0;  // from when it was due: a late client is the system's fault, too
  double tpot_ms = 0;  // between tokens after the first; 0 with fewer than two
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  int64_t reused_tokens = 0;
  double end_s = 0;  // since the start
};

// Sends all, in order of `due`, and waits for every end; a request has `limit` from when it is sent. Results in the
// order given.
std::vector<Served> RunOpenLoop(const std::string& router, const std::vector<TimedRequest>& requests,
                                absl::Duration limit);
// The same with `width` requests under way at any time: as fast as the system goes.
std::vector<Served> RunClosedLoop(const std::string& router, const std::vector<TimedRequest>& requests, int width,
                                  absl::Duration limit);

}  // namespace decant

#endif  // DECANT_LOAD_TESTS_TRAFFIC_OPEN_LOOP_H_
