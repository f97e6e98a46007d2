// Runs texts through prefill -> frames -> pages -> decode under every point and scores what comes out.
#ifndef DECANT_SERVICES_LAB_LAB_ENGINE_H_
#define DECANT_SERVICES_LAB_LAB_ENGINE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "gpu/engine/loaded_model.h"
#include "services/lab/lab_point.h"
#include "services/lab/scoring.h"

namespace decant {

// A text that is fed to decode token by token after a prompt. The logits after feed[i] are compared with the token that
// follows it: `answer` are the last answer.size() of those, so feed ends with the answer but its last token.
struct FedText {
  std::vector<int32_t> feed;    // at least one, at least as long as the answer
  std::vector<int32_t> answer;  // at least one
};

// A prompt that is compressed once and what is then fed to copies of it.
struct LabJob {
  std::vector<int32_t> prompt;
  std::vector<FedText> texts;
  int32_t span_tokens = 0;  // answers are scored in spans of so many tokens; 0 = in one
  // Bytes are those of prompt and fed tokens once all are in: where what is fed is a good part of what is held.
  bool bytes_at_end = false;
};

// What one point makes of the jobs it was given.
struct PointResult {
  std::vector<std::vector<AnswerScore>> scores;  // per text, in order of jobs and their texts; per span
  int64_t prompt_tokens = 0;                     // summed over jobs, as is what follows
  int64_t resident_bytes = 0;                    // pages x page size, before the first fed token or at the end
  int64_t resident_tokens = 0;                   // that they hold, pruned ones counted
  int64_t frame_bytes = 0;                       // of the prompt
  int64_t high_tokens = 0;                       // of every layer and kv head: what became of the prompt
  int64_t low_tokens = 0;
  int64_t pruned_tokens = 0;
  double encode_seconds = 0;
  int64_t steps = 0;          // tokens fed, over all sequences
  int64_t bytes_read = 0;     // by their attention
  int64_t online_events = 0;  // tokens demoted or dropped while texts were fed, over all sequences
};

// Not thread-safe.
class LabEngine {
 public:
  // `points[0]` is full precision, what the others are compared with. `model` must outlive it.
  static absl::StatusOr<std::unique_ptr<LabEngine>> Create(const LoadedModel& model, std::vector<LabPoint> points);
  virtual ~LabEngine() = default;

  virtual const std::vector<LabPoint>& points() const = 0;
  // One result per point of `chosen`, indices into points(), ascending and 0 first; of all points when it is empty.
  // Each prompt is prefilled once for all points whose prefill is the same. RESOURCE_EXHAUSTED when one sequence does
  // not fit the pages.
  virtual absl::StatusOr<std::vector<PointResult>> Measure(const std::vector<LabJob>& jobs,
                                                           const std::vector<size_t>& chosen) = 0;
  absl::StatusOr<std::vector<PointResult>> Measure(const std::vector<LabJob>& jobs) { return Measure(jobs, {}); }
};

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_LAB_ENGINE_H_
