// Public request traces: when requests came, how long they were, and which blocks of 512 tokens they share.
#ifndef DECANT_LOAD_TESTS_TRAFFIC_TRACE_H_
#define DECANT_LOAD_TESTS_TRAFFIC_TRACE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace decant {

struct TraceRow {
  double seconds = 0;  // since the first row
  int64_t input_tokens = 0;
  int64_t output_tokens = 0;
  std::vector<int64_t> blocks;  // ids of its 512-token blocks; empty where the trace has none
};

// Mooncake's JSON lines, in order of arrival. Rows that share a time stamp are spread evenly until the next one, since
// the trace has a step of three seconds. INVALID_ARGUMENT names the line.
absl::StatusOr<std::vector<TraceRow>> ReadMooncake(const std::string& file);
// Azure's CSV, with CRLF ends and no block ids. INVALID_ARGUMENT names the line.
absl::StatusOr<std::vector<TraceRow>> ReadAzure(const std::string& file);

}  // namespace decant

#endif  // DECANT_LOAD_TESTS_TRAFFIC_TRACE_H_
