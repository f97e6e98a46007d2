// Work of a stream that can be enqueued again as a whole.
#ifndef DECANT_GPU_DEVICE_GRAPH_H_
#define DECANT_GPU_DEVICE_GRAPH_H_

#include <functional>
#include <memory>

#include "gpu/device/device.h"

namespace decant {

class Graph {
 public:
  virtual ~Graph() = default;
  // Enqueues the work on the stream that captured it.
  virtual void Launch() = 0;
};

// The operations that `work` enqueues on the stream, with the addresses and numbers that they have now; none is run
// yet. `work` enqueues operations, fills and copies between device memories, nothing else. Where a device has no
// graphs, Launch calls `work` again.
std::unique_ptr<Graph> CaptureGraph(Stream& stream, std::function<void()> work);

}  // namespace decant

#endif  // DECANT_GPU_DEVICE_GRAPH_H_
