// Re-encodes what the pool's ladder plans, on a device, while the pool goes on.
#ifndef DECANT_SERVICES_POOL_LADDER_RUNNER_H_
#define DECANT_SERVICES_POOL_LADDER_RUNNER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gpu/device/device.h"
#include "gpu/kernels/codec/frame_reencoder.h"
#include "services/pool/shared_pool.h"

namespace decant {

struct LadderRunnerOptions {
  absl::Duration every = absl::Milliseconds(100);  // between looks at how full the store is
  int64_t batch_bytes = int64_t{16} << 20;         // that one launch reads
  size_t batch_chunks = 64;
};

// One thread of its own. A batch is planned and finished under the pool's mutex; the work between the two is not.
class LadderRunner {
 public:
  // RESOURCE_EXHAUSTED when the device has no room for a batch. The device must outlive it.
  static absl::StatusOr<std::unique_ptr<LadderRunner>> Start(std::shared_ptr<SharedPool> pool, Device& device,
                                                             const LadderRunnerOptions& options);
  // Waits for the batch under way.
  ~LadderRunner();
  LadderRunner(const LadderRunner&) = delete;
  LadderRunner& operator=(const LadderRunner&) = delete;

 private:
  LadderRunner(std::shared_ptr<SharedPool> pool, std::unique_ptr<FrameReencoder> reencoder,
               const LadderRunnerOptions& options);
  void Loop();
  // False when there was nothing to do.
  bool RunBatch();
  // The frames of each job in its target's form; all jobs have one target.
  std::vector<absl::StatusOr<std::vector<LayerBlob>>> Reencode(absl::Span<const LadderJob> jobs);

  const std::shared_ptr<SharedPool> pool_;
  const std::unique_ptr<FrameReencoder> reencoder_;
  const LadderRunnerOptions options_;
  absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_LADDER_RUNNER_H_
