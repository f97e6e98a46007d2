#include "common/policy/profile_facts.h"

#include "common/base/status_macros.h"
#include "common/kv/frame_fields.h"
#include "common/policy/priors.h"

namespace decant {
namespace {

struct ChunkBytes {
  int64_t frame = 0;
  int64_t overlay = 0;
};

// Of one chunk in all layers, as LayOutFrame and LayOutOverlay place them. Geometry comes from outside here and may be
// of any size.
ChunkBytes BytesOfChunk(const ProfileFacts& facts, const Geometry& geometry, int64_t tokens) {
  const Format format = FormatOf(facts.high);
  const int32_t dim = geometry.head_dim;
  const int64_t directory = DirectoryBytes(kFrameVersion, 1, geometry.kv_heads);
  const int64_t head_bytes =
      AlignFrame(tokens * VectorBytes(format.k, dim)) + AlignFrame(MetaSegmentBytes(format.k, dim, tokens)) +
      AlignFrame(tokens * VectorBytes(format.v, dim)) + AlignFrame(MetaSegmentBytes(format.v, dim, tokens)) +
      AlignFrame(StatisticsBytes(facts.high, dim, tokens));
  ChunkBytes bytes;
  bytes.frame = geometry.layers * (kFrameHeaderBytes + directory + geometry.kv_heads * head_bytes);
  if (!facts.overlays) return bytes;
  bytes.overlay = geometry.layers * AlignFrame(kOverlayHeaderBytes + directory + 4 * geometry.kv_heads * tokens);
  return bytes;
}

}  // namespace

int64_t HighWireBytes(const ProfileFacts& facts, const Geometry& geometry, int32_t chunk_tokens, int64_t tokens) {
  const auto all = [&](int64_t count) {
    const ChunkBytes bytes = BytesOfChunk(facts, geometry, count);
    return bytes.frame + bytes.overlay;
  };
  const int64_t whole = tokens / chunk_tokens;
  const int64_t rest = tokens % chunk_tokens;
  return (whole > 0 ? whole * all(chunk_tokens) : 0) + (rest > 0 ? all(rest) : 0);
}

int64_t OverlayWireBytes(const ProfileFacts& facts, const Geometry& geometry, int32_t chunk_tokens, int64_t chunks) {
  if (!facts.overlays || chunks == 0) return 0;
  return chunks * BytesOfChunk(facts, geometry, chunk_tokens).overlay;
}

absl::StatusOr<ProfileFacts> FactsOf(const Profile& profile, const Geometry& geometry, RunType run_type,
                                     const Digest& model, const ProfileTable* table) {
  DECANT_ASSIGN_OR_RETURN(const Recipe recipe, Compile(profile, geometry, run_type));
  ProfileFacts facts;
  facts.name = profile.name;
  facts.digest = recipe.digest;
  facts.exact = recipe.exact();
  facts.takes_prefix = recipe.propagation.layer < 0;
  const double full_bytes = 4.0 * geometry.head_dim;  // of one head's K and V at 2 bytes per element
  // Of a split row the high tier holds keys only and the low tier values.
  const int64_t halves = recipe.split() ? TokenBytes(recipe.low, geometry.head_dim) : 0;
  facts.wire_ratio = full_bytes / static_cast<double>(TokenBytes(recipe.high, geometry.head_dim) + halves);
  facts.resident_ratio = facts.wire_ratio;
  // Nothing is sure to be smaller than the high format before it was measured.
  facts.hit_wire_ratio = facts.wire_ratio;
  facts.hit_resident_ratio = facts.wire_ratio;
  facts.least_computed = recipe.least_computed();
  const bool by_threshold =
      recipe.allocation == Allocation::kThresholdByPosition || recipe.allocation == Allocation::kThresholdByLength;
  facts.window = recipe.window;
  facts.overlays = recipe.needs_overlays();
  facts.settles = recipe.online != OnlinePolicy::kNone && recipe.low != FormatId::kNone && recipe.forwards_prefix();
  facts.all_high = recipe.allocation == Allocation::kAllHigh && recipe.code == WireCode::kRaw && !recipe.split() &&
                   recipe.propagation.layer < 0 && recipe.low_rank.group_layers == 0 && recipe.key_form.balanced == 0;
  if (facts.all_high || by_threshold) facts.high = recipe.high;
  facts.exact_hit_is_cold = recipe.score != ScoreSource::kAllLaterQueries && recipe.score != ScoreSource::kAllQueries;
  facts.encode_bytes_per_s = kPriorEncodeBytesPerS;
  const ProfileCost* cost = table == nullptr ? nullptr : table->Find(profile.name);
  // What coding saves is not known before it was measured, and until then nothing speaks for it.
  if (facts.exact && (recipe.code == WireCode::kRaw || cost != nullptr)) facts.quality = 1;
  if (cost == nullptr) return facts;
  facts.encode_bytes_per_s = cost->encode_bytes_per_s;
  if (facts.exact && recipe.code == WireCode::kRaw) return facts;
  facts.wire_ratio = cost->wire_ratio;
  if (table->fingerprint != model) facts.measured_on = table->model;
  if (facts.exact) return facts;
  facts.quality = cost->quality;
  facts.resident_ratio = cost->resident_ratio;
  facts.tpot_ratio = cost->tpot_ratio;
  if (!cost->hit.has_value()) return facts;
  facts.hit_quality = cost->hit->quality;
  facts.hit_wire_ratio = cost->hit->wire_ratio;
  facts.hit_resident_ratio = cost->hit->resident_ratio;
  return facts;
}

}  // namespace decant
