#include "services/pool/ladder_runner.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"

namespace decant {

absl::StatusOr<std::unique_ptr<LadderRunner>> LadderRunner::Start(std::shared_ptr<SharedPool> pool, Device& device,
                                                                  const LadderRunnerOptions& options) {
  DECANT_ASSIGN_OR_RETURN(std::unique_ptr<FrameReencoder> reencoder,
                          FrameReencoder::Create(device, options.batch_bytes));
  return std::unique_ptr<LadderRunner>(new LadderRunner(std::move(pool), std::move(reencoder), options));
}

LadderRunner::LadderRunner(std::shared_ptr<SharedPool> pool, std::unique_ptr<FrameReencoder> reencoder,
                           const LadderRunnerOptions& options)
    : pool_(std::move(pool)), reencoder_(std::move(reencoder)), options_(options), thread_([this] { Loop(); }) {}

LadderRunner::~LadderRunner() {
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
  }
  thread_.join();
}

void LadderRunner::Loop() {
  for (bool busy = false;;) {
    {
      absl::MutexLock lock(&mutex_);
      const absl::Duration pause = busy ? absl::ZeroDuration() : options_.every;
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopped_), pause)) return;
    }
    busy = RunBatch();
  }
}

bool LadderRunner::RunBatch() {
  std::vector<LadderJob> jobs =
      pool_->With([&](Pool& pool, absl::Time now) { return pool.PlanLadder(now, options_.batch_chunks); });
  if (jobs.empty()) return false;
  std::stable_sort(jobs.begin(), jobs.end(),
                   [](const LadderJob& a, const LadderJob& b) { return a.target.digest < b.target.digest; });
  for (size_t first = 0; first < jobs.size();) {
    size_t end = first;
    while (end < jobs.size() && jobs[end].target.digest == jobs[first].target.digest) ++end;
    const absl::Span<const LadderJob> same = absl::MakeConstSpan(jobs).subspan(first, end - first);
    std::vector<absl::StatusOr<std::vector<LayerBlob>>> results = Reencode(same);
    pool_->With([&](Pool& pool, absl::Time now) {
      for (size_t i = 0; i < same.size(); ++i) pool.FinishLadder(now, same[i], std::move(results[i]));
      pool.NoteLaunches(reencoder_->launches());
      return 0;
    });
    first = end;
  }
  return true;
}

std::vector<absl::StatusOr<std::vector<LayerBlob>>> LadderRunner::Reencode(absl::Span<const LadderJob> jobs) {
  std::vector<FrameToReencode> requests;
  for (const LadderJob& job : jobs) {
    for (const LayerBlob& frame : job.frames) requests.push_back(FrameToReencode{frame.blob.view(), {}, 0});
  }
  std::vector<absl::StatusOr<ReencodedFrame>> encoded = reencoder_->Reencode(requests, jobs.front().target);
  std::vector<absl::StatusOr<std::vector<LayerBlob>>> results;
  size_t next = 0;
  for (const LadderJob& job : jobs) {
    absl::StatusOr<std::vector<LayerBlob>> frames = std::vector<LayerBlob>();
    for (const LayerBlob& stored : job.frames) {
      const absl::StatusOr<ReencodedFrame>& one = encoded[next++];
      if (!one.ok()) frames = one.status();
      if (frames.ok())
        frames->push_back(
            LayerBlob{stored.first_layer, stored.layers, Blob::CopyOf(one->frame, pool_->frame_memory())});
    }
    results.push_back(std::move(frames));
  }
  return results;
}

}  // namespace decant
