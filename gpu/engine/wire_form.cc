#include "gpu/engine/wire_form.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"
#include "common/base/status_macros.h"
#include "common/compress/code/coded_frame.h"
#include "common/kv/envelope.h"

namespace decant {
namespace {

// The magic of the part that begins here and its bytes, 0 when they cannot be.
struct PartHead {
  uint32_t magic = 0;
  size_t bytes = 0;
};

PartHead HeadOf(absl::string_view rest) {
  ByteReader reader(rest);
  PartHead head;
  head.magic = reader.Get<uint32_t>();
  reader.Get<uint32_t>();
  head.bytes = reader.Get<uint32_t>();
  if (!reader.ok() || head.bytes < static_cast<size_t>(kEnvelopeBytes) || head.bytes > rest.size()) head.bytes = 0;
  return head;
}

bool IsPlain(absl::string_view batch) {
  while (!batch.empty()) {
    const PartHead head = HeadOf(batch);
    if (head.magic == kCodedFrameMagic || head.magic == kLowRankMagic) return false;
    if (head.bytes == 0) return true;
    batch.remove_prefix(head.bytes);
  }
  return true;
}

absl::Status CheckLowRank(const LowRankHeader& header, const WireContext& context) {
  const auto refused = [](const auto&... parts) {
    return absl::FailedPreconditionError(
        absl::StrCat("low-rank frame ", parts..., "; abort the transfer and plan the request again"));
  };
  const Geometry& geometry = context.geometry;
  if (header.first_layer + header.layers > geometry.layers || header.first_head != 0 ||
      header.heads != geometry.kv_heads || header.head_dim != geometry.head_dim) {
    return refused("of layers ", header.first_layer, " + ", header.layers, ", heads ", header.first_head, " + ",
                   header.heads, " of ", header.head_dim, " for a model of ", geometry.layers, " layers and ",
                   geometry.kv_heads, " heads of ", geometry.head_dim);
  }
  if (header.tokens > context.prompt_tokens - header.first_position) {
    return refused("of positions ", header.first_position, " + ", header.tokens, " in a prompt of ",
                   context.prompt_tokens, " tokens");
  }
  if (context.full != FormatId::kFullBf16 && context.full != FormatId::kFullF32) {
    return refused("for a sequence whose high format is ", static_cast<int>(context.full), ", not full precision");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<EncodedLayer> CodedLayer(const EncodedLayer& plain) {
  const absl::string_view batch(reinterpret_cast<const char*>(plain.batch.data()), plain.batch.size());
  EncodedLayer coded = plain;
  coded.batch.clear();
  for (EncodedChunk& chunk : coded.chunks) {
    const int64_t frame = chunk.frame_offset;
    const int64_t overlay = chunk.overlay_offset;
    chunk.frame_offset = static_cast<int64_t>(coded.batch.size());
    if (chunk.frame_bytes > 0) {
      const absl::StatusOr<FrameView> view = ParseFrame(batch, frame);
      if (!view.ok()) return absl::InternalError(absl::StrCat("made a wrong frame: ", view.status().message()));
      const std::string shorter = CodeFrame(*view);
      const absl::string_view bytes = shorter.empty() ? view->bytes : absl::string_view(shorter);
      coded.batch.insert(coded.batch.end(), bytes.begin(), bytes.end());
      chunk.frame_bytes = static_cast<int64_t>(bytes.size());
    }
    chunk.overlay_offset = static_cast<int64_t>(coded.batch.size());
    const auto scores = plain.batch.begin() + overlay;
    coded.batch.insert(coded.batch.end(), scores, scores + chunk.overlay_bytes);
  }
  return coded;
}

absl::StatusOr<std::optional<std::string>> PlainBatch(absl::string_view batch, const WireContext& context) {
  if (IsPlain(batch)) return std::nullopt;
  std::string plain;
  int64_t expanded = 0;  // tokens x layers
  const int64_t all = int64_t{context.prompt_tokens} * context.geometry.layers;
  for (size_t offset = 0; offset < batch.size();) {
    const PartHead head = HeadOf(batch.substr(offset));
    const auto place = static_cast<int64_t>(offset);
    if (head.magic == kCodedFrameMagic) {
      DECANT_ASSIGN_OR_RETURN(const RestoredFrame restored, RestoreFrame(batch, place));
      plain.append(restored.frame);
      offset += static_cast<size_t>(restored.coded_bytes);
      continue;
    }
    if (head.magic == kLowRankMagic) {
      DECANT_ASSIGN_OR_RETURN(const LowRankView view, ParseLowRankFrame(batch, place));
      DECANT_RETURN_IF_ERROR(CheckLowRank(view.header, context));
      expanded += int64_t{view.header.tokens} * view.header.layers;
      if (expanded > all) {
        return absl::FailedPreconditionError(absl::StrCat("low-rank frames of ", expanded,
                                                          " tokens x layers in one batch, the prompt has ", all,
                                                          "; abort the transfer and plan the request again"));
      }
      DECANT_RETURN_IF_ERROR(ExpandLowRankFrame(view, context.full, context.rotation, plain));
      offset += view.bytes.size();
      continue;
    }
    // What cannot be a part is left to whoever parses the plain batch.
    const size_t bytes = head.bytes == 0 ? batch.size() - offset : head.bytes;
    plain.append(batch.data() + offset, bytes);
    offset += bytes;
  }
  return plain;
}

}  // namespace decant
