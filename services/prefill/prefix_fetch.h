// Takes in the stored frames of a prefix beside the computation, checks every one, and shortens the prefix at the first
// that is wrong or missing.
#ifndef DECANT_SERVICES_PREFILL_PREFIX_FETCH_H_
#define DECANT_SERVICES_PREFILL_PREFIX_FETCH_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/kv/format.h"
#include "common/kv/receipt.h"
#include "gpu/engine/prefix_loader.h"
#include "services/prefill/chunk_store.h"

namespace decant {

class PrefixFetch {
 public:
  struct Options {
    int32_t layers = 0;
    int32_t chunk_tokens = 64;
    std::vector<FormatId> formats;  // of the chunks, by the plan; others are a miss
    absl::Duration limit;           // for all of it
    std::function<absl::Time()> now = absl::Now;
  };

  // `stream` may be an error: then nothing is usable. `checker` must outlive it; only Check is called, on its thread.
  PrefixFetch(absl::StatusOr<std::unique_ptr<ChunkStream>> stream, const PrefixLoader& checker, Options options);
  ~PrefixFetch();
  PrefixFetch(const PrefixFetch&) = delete;
  PrefixFetch& operator=(const PrefixFetch&) = delete;

  // Waits until the frames of `layer` are there for every usable chunk, and returns how many chunks are usable: it only
  // shrinks, and 0 means recompute.
  int32_t WaitLayer(int32_t layer);
  // The same for all layers.
  int32_t WaitAll() { return WaitLayer(options_.layers - 1); }
  bool complete() const;

  // REQUIRES: WaitLayer(layer) returned at least `chunks`. Valid while this lives.
  std::vector<StoredFrame> Frames(int32_t layer, int32_t chunks) const;
  // The worst of a chunk's frames so far.
  Provenance provenance(int32_t chunk) const;
  std::string miss_reason() const;
  // The same as one of kRejectReasons; empty when nothing fell away.
  std::string miss_label() const;

 private:
  void Loop();
  absl::Status Take(Blob message);
  void Cut(int32_t usable, const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseLayersBefore(int32_t layer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  const PrefixLoader& checker_;
  std::unique_ptr<ChunkStream> stream_;
  mutable absl::Mutex mutex_;
  std::vector<Blob> messages_ ABSL_GUARDED_BY(mutex_);                    // own the bytes of frames_
  std::vector<std::vector<StoredFrame>> frames_ ABSL_GUARDED_BY(mutex_);  // [layers, chunks]
  int32_t closed_layers_ ABSL_GUARDED_BY(mutex_) = 0;                     // of these no more frames will come
  int32_t usable_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Provenance> provenance_ ABSL_GUARDED_BY(mutex_);  // [chunks]
  absl::Status miss_ ABSL_GUARDED_BY(mutex_);                   // why the first chunk fell away
  absl::Time deadline_;
  std::thread thread_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_PREFILL_PREFIX_FETCH_H_
