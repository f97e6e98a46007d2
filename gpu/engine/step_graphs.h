// The captured steps of a decode batch: one graph for every number of rows that comes up again.
#ifndef DECANT_GPU_ENGINE_STEP_GRAPHS_H_
#define DECANT_GPU_ENGINE_STEP_GRAPHS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "gpu/device/device.h"
#include "gpu/device/graph.h"

namespace decant {

// A step of so many rows is enqueued call by call the first time, which leaves nothing to be prepared inside a capture,
// captured the second time and launched as a whole from then on. On a host device, where a graph saves nothing, every
// step goes call by call.
class StepGraphs {
 public:
  StepGraphs(Stream& stream, int32_t max_rows) : stream_(stream), steps_(static_cast<size_t>(max_rows) + 1) {}

  // Enqueues `step`, which always enqueues the same for the same rows until Forget.
  void Run(int32_t rows, const std::function<void(int32_t rows)>& step) {
    Step& known = steps_[static_cast<size_t>(rows)];
    if (known.graph == nullptr && known.ran && stream_.device().kind() != DeviceKind::kHost) {
      known.graph = CaptureGraph(stream_, [step, rows] { step(rows); });
    }
    known.ran = true;
    if (known.graph == nullptr) return step(rows);
    known.graph->Launch();
  }
  // An address or a number that steps were captured with has changed. REQUIRES: no launched step is still running.
  void Forget() {
    for (Step& step : steps_) step = Step();
  }

 private:
  struct Step {
    bool ran = false;
    std::unique_ptr<Graph> graph;
  };

  Stream& stream_;
  std::vector<Step> steps_;  // by rows
};

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_STEP_GRAPHS_H_
