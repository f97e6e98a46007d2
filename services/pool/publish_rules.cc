#include "services/pool/publish_rules.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "common/base/status_macros.h"
#include "common/kv/envelope.h"
#include "common/kv/rows.h"

namespace decant {
namespace {

constexpr size_t kMostChunks = 65536;
constexpr int32_t kMostLayers = 1024;

absl::Status CheckChain(const std::vector<OfferedChunk>& chunks) {
  if (chunks.empty() || chunks.size() > kMostChunks) {
    return absl::InvalidArgumentError(
        absl::StrCat(chunks.size(), " chunks; from 1 to ", kMostChunks, " may be published at once"));
  }
  const int32_t tokens = chunks.front().tokens;
  const int32_t first = chunks.front().first_token;
  if (tokens < 1 || tokens > kMaxFrameSpan || first < 0 || first % tokens != 0) {
    return absl::InvalidArgumentError(absl::StrCat("a first chunk of ", tokens, " tokens from token ", first));
  }
  for (size_t i = 0; i < chunks.size(); ++i) {
    const OfferedChunk& chunk = chunks[i];
    const bool in_place = chunk.tokens == tokens && chunk.first_token == first + static_cast<int64_t>(i) * tokens;
    const bool linked = i > 0 ? chunk.parent == chunks[i - 1].key : chunk.parent.IsZero() == (first == 0);
    if (!in_place || !linked || chunk.key.IsZero()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "chunk ", i, " (", chunk.tokens, " tokens from token ", chunk.first_token,
          ") does not continue the chain; publish consecutive chunks of one prompt, each with its parent"));
    }
    if (!(chunk.quality >= 0 && chunk.quality <= 1)) {
      return absl::InvalidArgumentError(absl::StrCat("quality of chunk ", i, " is ", chunk.quality, ", not in [0, 1]"));
    }
  }
  return absl::OkStatus();
}

absl::Status Mismatch(absl::string_view what, int64_t has, int64_t wants) {
  return absl::FailedPreconditionError(absl::StrCat("a frame has ", what, " ", has, ", announced is ", wants));
}

// The size of the part whose first bytes these are, as it says; nothing checks it here.
int64_t StatedBytes(const char* envelope) {
  uint32_t bytes = 0;
  std::memcpy(&bytes, envelope + offsetof(Envelope, total_bytes), sizeof(bytes));
  return bytes;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const PublishRules>> PublishRules::Create(PublishStart start,
                                                                         const Catalogue& catalogue) {
  RecipeCache recipes(catalogue);
  return Create(std::move(start), recipes);
}

absl::StatusOr<std::shared_ptr<const PublishRules>> PublishRules::Create(PublishStart start, RecipeCache& recipes) {
  DECANT_RETURN_IF_ERROR(CheckChain(start.chunks));
  const Geometry& geometry = start.model.geometry;
  if (start.model.fingerprint.IsZero() || geometry.layers < 1 || geometry.layers > kMostLayers ||
      geometry.kv_heads < 1) {
    return absl::InvalidArgumentError(absl::StrCat("model '", start.model.name, "' with ", geometry.layers,
                                                   " layers and ", geometry.kv_heads, " kv heads cannot be stored"));
  }
  if (!(start.floor >= 0 && start.floor <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("a floor of ", start.floor, "; it lies in [0, 1]"));
  }
  DECANT_ASSIGN_OR_RETURN(Recipe recipe, recipes.Find(start.profile, start.model));
  if (recipe.allocation != Allocation::kAllHigh || recipe.shareable != recipe.profile) {
    return absl::InvalidArgumentError(absl::StrCat(
        "profile ", recipe.profile, " depends on the whole prompt and is never stored; publish its shareable form ",
        recipe.shareable));
  }
  return std::shared_ptr<const PublishRules>(new PublishRules(std::move(start), std::move(recipe)));
}

std::optional<size_t> PublishRules::ChunkAt(int32_t first_position) const {
  const OfferedChunk& first = start_.chunks.front();
  const int64_t offset = int64_t{first_position} - first.first_token;
  if (offset < 0 || offset % first.tokens != 0) return std::nullopt;
  const auto chunk = static_cast<size_t>(offset / first.tokens);
  if (chunk >= start_.chunks.size()) return std::nullopt;
  return chunk;
}

absl::Status PublishRules::CheckHeader(const FrameHeader& header, const OfferedChunk& chunk) const {
  const Geometry& geometry = start_.model.geometry;
  if (header.model_fingerprint != start_.model.fingerprint.Prefix64()) {
    return absl::FailedPreconditionError("a frame is of another model than its publish");
  }
  if (header.profile != recipe_.digest) {
    return absl::FailedPreconditionError(absl::StrCat("a frame was not encoded with this pool's ", recipe_.profile));
  }
  if (!header.context.IsZero() && header.context != chunk.key) {
    return absl::FailedPreconditionError("a frame states the key of another chunk");
  }
  if (header.span != chunk.tokens) return Mismatch("tokens", header.span, chunk.tokens);
  if (header.first_layer < 0 || header.layers < 1 || header.first_layer + header.layers > geometry.layers) {
    return Mismatch("last layer", header.first_layer + header.layers, geometry.layers);
  }
  if (header.first_head != 0 || header.heads != geometry.kv_heads)
    return Mismatch("heads", header.heads, geometry.kv_heads);
  if (header.head_dim != geometry.head_dim) return Mismatch("head_dim", header.head_dim, geometry.head_dim);
  // Not explicit means that every head holds the whole span in one tier.
  if (header.explicit_positions || header.formats[kHigh] != recipe_.high || header.formats[kLow] != FormatId::kNone) {
    return absl::FailedPreconditionError(absl::StrCat("a frame does not hold every token as ", recipe_.profile));
  }
  if (header.key_form != KeyForm{}) {
    return absl::FailedPreconditionError("a frame of a prefix holds keys that are not plain keys after rope");
  }
  if (IsTainted(header.provenance) || (header.provenance == Provenance::kExact && !recipe_.exact())) {
    return absl::FailedPreconditionError(absl::StrCat("a frame of ", recipe_.profile, " has provenance ",
                                                      static_cast<int>(header.provenance), "; such are not kept"));
  }
  return absl::OkStatus();
}

CheckedMessage PublishRules::Check(absl::string_view message) const {
  uint32_t crc32c = 0;
  return CheckFrames(
      static_cast<int64_t>(message.size()),
      [message](int64_t from, int64_t bytes, char* to) {
        return CopyWithCrc32c(to, message.data() + from, static_cast<size_t>(bytes));
      },
      crc32c, nullptr);
}

CheckedMessage PublishRules::Check(int64_t bytes, uint32_t crc32c, CopyOut copy, BlobMemory* where) const {
  uint32_t found = 0;
  CheckedMessage checked = CheckFrames(bytes, copy, found, where);
  if (found == crc32c) return checked;
  CheckedMessage damaged;
  damaged.fault = absl::DataLossError(absl::StrCat("a message of ", bytes, " bytes has another checksum than it says"));
  return damaged;
}

// `crc32c`: of the whole message, read to its end whatever is wrong with its frames.
CheckedMessage PublishRules::CheckFrames(int64_t bytes, CopyOut copy, uint32_t& crc32c, BlobMemory* where) const {
  CheckedMessage checked;
  const auto blame = [&checked](const absl::Status& fault) {
    if (checked.fault.ok()) checked.fault = fault;
  };
  for (int64_t offset = 0; offset < bytes;) {
    // The first bytes say where the frame ends; one that says nonsense is all that is left.
    char envelope[kEnvelopeBytes] = {};
    copy(offset, std::min(bytes - offset, kEnvelopeBytes), envelope);
    const int64_t stated = StatedBytes(envelope);
    const bool sane = stated >= kEnvelopeBytes && stated <= bytes - offset;
    const int64_t size = sane ? stated : bytes - offset;
    Blob blob = Blob::Make(
        size, [&](char* to) { return copy(offset, size, to); }, where);
    crc32c = JoinCrc32c(crc32c, blob.crc32c(), static_cast<size_t>(size));
    offset += size;
    const absl::StatusOr<FrameView> frame = ParseFrame(blob.view());
    if (!frame.ok()) {
      blame(frame.status());
      if (offset < bytes) {  // where the next frame begins cannot be known
        const Blob rest = Blob::Make(bytes - offset, [&](char* to) { return copy(offset, bytes - offset, to); });
        crc32c = JoinCrc32c(crc32c, rest.crc32c(), static_cast<size_t>(rest.bytes()));
      }
      break;
    }
    const std::optional<size_t> chunk = ChunkAt(frame->header.first_position);
    if (!chunk.has_value()) {
      blame(absl::FailedPreconditionError(
          absl::StrCat("a frame from token ", frame->header.first_position, " belongs to no announced chunk")));
      continue;
    }
    const absl::Status good = CheckHeader(frame->header, start_.chunks[*chunk]);
    if (!good.ok()) {
      blame(good);
      checked.wrong_chunks.push_back(*chunk);
      continue;
    }
    checked.frames.push_back(CheckedFrame{*chunk, frame->header.provenance,
                                          LayerBlob{frame->header.first_layer, frame->header.layers, std::move(blob)}});
  }
  return checked;
}

}  // namespace decant
