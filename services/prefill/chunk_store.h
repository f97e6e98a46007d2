// The pool as a prefill worker sees it: where stored frames come from and where computed ones may go.
#ifndef DECANT_SERVICES_PREFILL_CHUNK_STORE_H_
#define DECANT_SERVICES_PREFILL_CHUNK_STORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/base/memory_ref.h"
#include "common/store/blob.h"

namespace decant {

// One chunk that a plan found in the pool.
struct StoredChunk {
  Digest key;
  int32_t first_token = 0;
  int32_t tokens = 0;
  std::string profile;  // of the stored variant
  Digest variant;
  int64_t bytes = 0;
};

struct FetchOrder {
  std::string pool_address;
  std::string tenant;
  uint64_t lease = 0;
  std::vector<StoredChunk> chunks;
};

// Stored frames as they arrive, layer-major. For one thread; Cancel may come from any.
class ChunkStream {
 public:
  virtual ~ChunkStream() = default;
  // The next whole frames, back to back; nothing at the end; DEADLINE_EXCEEDED, UNAVAILABLE or what the pool answered.
  virtual absl::StatusOr<std::optional<Blob>> Next() = 0;
  virtual void Cancel() = 0;
  // Why chunks at the end of the order are not among the frames, once Next has returned; empty as a rule. On Next's
  // thread.
  virtual std::string lost() const { return ""; }
};

// Thread-safe.
class ChunkSource {
 public:
  virtual ~ChunkSource() = default;
  virtual absl::StatusOr<std::unique_ptr<ChunkStream>> Fetch(const FetchOrder& order, absl::Time deadline) = 0;
};

// Chunks of one prompt in a form that may be stored.
struct Publication {
  struct Chunk {
    Digest key;
    Digest parent;  // zero for the first chunk
    int32_t first_token = 0;
    int32_t tokens = 0;
  };
  // Frames of one layer, borrowed from `keep`.
  struct Layer {
    uint32_t layer = 0;
    std::vector<ConstMemoryRef> frames;
    std::shared_ptr<const void> keep;
  };
  std::string pool_address;
  std::string tenant;
  std::string profile;
  Digest context;     // of the variants that these chunks were computed over; zero when all were exact
  double floor = 0;   // of the request
  bool ends = false;  // the last chunk is the last whole one of the prompt
  std::vector<Chunk> chunks;
  std::vector<Layer> layers;
  int64_t bytes = 0;
};

struct PublishCounts {
  int32_t stored = 0;
  int32_t known = 0;
  int32_t refused = 0;
};

// Thread-safe.
class ChunkSink {
 public:
  virtual ~ChunkSink() = default;
  virtual absl::StatusOr<PublishCounts> Publish(const Publication& publication, absl::Time deadline) = 0;
  // Ends every Publish under way soon, and later ones at once, with CANCELLED.
  virtual void Cancel() = 0;
};

}  // namespace decant

#endif  // DECANT_SERVICES_PREFILL_CHUNK_STORE_H_
