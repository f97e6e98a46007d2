// What the frames of one publish must be: checked once, where bytes enter.
#ifndef DECANT_SERVICES_POOL_PUBLISH_RULES_H_
#define DECANT_SERVICES_POOL_PUBLISH_RULES_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/compress/recipe.h"
#include "common/kv/frame.h"
#include "common/store/host_tier.h"
#include "services/pool/pool_messages.h"
#include "services/pool/recipe_cache.h"

namespace decant {

// A frame that is what its publish announced, in memory of its own. Only PublishRules::Check makes good ones.
struct CheckedFrame {
  size_t chunk = 0;  // index into PublishStart.chunks
  Provenance provenance = Provenance::kUnspecified;
  LayerBlob blob;
};

// The outcome for one message: frames that are good, chunks that a wrong frame named, and whether the rest of the
// message could not be read (whose frames then never came).
struct CheckedMessage {
  std::vector<CheckedFrame> frames;
  std::vector<size_t> wrong_chunks;
  absl::Status fault;  // the first one
};

// Immutable once made, so that checking needs no lock.
class PublishRules {
 public:
  // INVALID_ARGUMENT for chunks that are no chain, an unknown or private profile (it names the shareable form), a
  // quality outside [0, 1], a model whose sizes cannot be.
  static absl::StatusOr<std::shared_ptr<const PublishRules>> Create(PublishStart start, RecipeCache& recipes);
  static absl::StatusOr<std::shared_ptr<const PublishRules>> Create(PublishStart start, const Catalogue& catalogue);

  // Verifies every frame of a message: checksum and structure, model, profile, layers, heads, positions, format,
  // provenance and, where a frame states it, the chunk's key.
  CheckedMessage Check(absl::string_view message) const;
  // The same for a message of `bytes` bytes that lies elsewhere: `copy(from, bytes, to)` copies a part of it and
  // returns that part's CRC-32C. Every byte is copied once, to where it stays (Blob::Make). Unless the whole has
  // `crc32c` nothing of it is good, and no chunk is blamed.
  using CopyOut = absl::FunctionRef<uint32_t(int64_t from, int64_t bytes, char* to)>;
  CheckedMessage Check(int64_t bytes, uint32_t crc32c, CopyOut copy, BlobMemory* where = nullptr) const;

  const PublishStart& start() const { return start_; }
  const Recipe& recipe() const { return recipe_; }

 private:
  PublishRules(PublishStart start, Recipe recipe) : start_(std::move(start)), recipe_(std::move(recipe)) {}
  std::optional<size_t> ChunkAt(int32_t first_position) const;
  absl::Status CheckHeader(const FrameHeader& header, const OfferedChunk& chunk) const;
  CheckedMessage CheckFrames(int64_t bytes, CopyOut copy, uint32_t& crc32c, BlobMemory* where) const;

  PublishStart start_;
  Recipe recipe_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_PUBLISH_RULES_H_
