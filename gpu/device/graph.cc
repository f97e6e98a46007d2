#include "gpu/device/graph.h"

#include <utility>

#include "gpu/device/cuda_device.h"

namespace decant {
namespace {

class ReplayedWork final : public Graph {
 public:
  explicit ReplayedWork(std::function<void()> work) : work_(std::move(work)) {}
  void Launch() override { work_(); }

 private:
  const std::function<void()> work_;
};

}  // namespace

std::unique_ptr<Graph> CaptureGraph(Stream& stream, std::function<void()> work) {
  std::unique_ptr<Graph> graph = CaptureCudaGraph(stream, work);
  if (graph == nullptr) graph = std::make_unique<ReplayedWork>(std::move(work));
  return graph;
}

}  // namespace decant
