#include "tests/common/kv/frame_samples.h"

#include <cstring>

#include "common/base/random.h"

namespace decant {
namespace {

void PutPositions(const FrameRun& run, int32_t tier, uint8_t* batch) {
  for (int32_t i = 0; i < run.tokens; ++i) {
    const auto offset = static_cast<uint16_t>(2 * i + tier);
    std::memcpy(batch + run.positions + 2 * i, &offset, 2);
  }
}

}  // namespace

FrameHeader SampleHeader(FormatId high, FormatId low, int32_t span) {
  FrameHeader header;
  header.formats[kHigh] = high;
  header.formats[kLow] = low;
  header.provenance = low == FormatId::kNone ? Provenance::kQuantised : Provenance::kPruned;
  header.explicit_positions = low != FormatId::kNone;
  header.k_norm_applied = true;
  header.first_layer = 3;
  header.first_head = 1;
  header.heads = 2;
  header.head_dim = 8;
  header.first_position = 128;
  header.span = span;
  header.model_fingerprint = 0x1122334455667788;
  header.profile = Sha256("profile");
  header.context = Sha256("context");
  header.key_error = {0.25, 16};
  header.value_error = {0.5, 32};
  return header;
}

std::vector<int32_t> TierCounts(const std::vector<int32_t>& high_and_low) {
  std::vector<int32_t> counts;
  for (size_t i = 0; i < high_and_low.size(); i += 2) {
    counts.insert(counts.end(), {high_and_low[i], high_and_low[i + 1], 0, 0});
  }
  return counts;
}

std::string SampleFrame(const FrameHeader& header, const std::vector<int32_t>& high_and_low) {
  const std::vector<int32_t> counts = TierCounts(high_and_low);
  const FrameLayout layout = LayOutFrame(header, counts);
  std::string bytes(static_cast<size_t>(layout.bytes), '\0');
  auto* batch = reinterpret_cast<uint8_t*>(bytes.data());
  for (size_t i = 0; i < bytes.size(); ++i) batch[i] = static_cast<uint8_t>(MixBits(1, i));
  if (header.explicit_positions) {
    for (size_t i = 0; i < layout.runs.size(); ++i) {
      PutPositions(layout.runs[i], static_cast<int32_t>(i % kFrameTiers), batch);
    }
  }
  SealFrame(header, layout, batch);
  return bytes;
}

std::string WithSampleOverlay(const std::string& frame, int32_t first_query) {
  const FrameView view = *ParseFrame(frame);
  const OverlayHeader header = OverlayHeaderFor(view.header, first_query);
  const OverlayLayout layout = LayOutOverlay(header, view.layout, view.layout.bytes);
  std::string bytes = frame;
  bytes.resize(static_cast<size_t>(layout.offset + layout.bytes), 'x');
  auto* batch = reinterpret_cast<uint8_t*>(bytes.data());
  float score = 0;
  for (size_t run = 0; run < layout.tokens.size(); ++run) {
    for (int32_t i = 0; i < layout.tokens[run]; ++i) {
      score += 0.5f;
      std::memcpy(batch + layout.scores[run] + 4 * i, &score, 4);
    }
  }
  SealOverlay(header, layout, batch);
  return bytes;
}

std::vector<NamedBatch> SampleBatches() {
  const std::string k8v4 = SampleFrame(SampleHeader(FormatId::kK8V4, FormatId::kNone, 5), {5, 0, 5, 0});
  const std::string k4v2 = SampleFrame(SampleHeader(FormatId::kK4V2, FormatId::kNone, 7), {7, 0, 7, 0});
  const std::string bf16 = SampleFrame(SampleHeader(FormatId::kFullBf16, FormatId::kNone, 3), {3, 0, 3, 0});
  const std::string f32 = SampleFrame(SampleHeader(FormatId::kFullF32, FormatId::kNone, 1), {1, 0, 1, 0});
  const std::string tiers = SampleFrame(SampleHeader(FormatId::kK8V4, FormatId::kK4V2, 8), {2, 3, 0, 0});
  FrameHeader layers = SampleHeader(FormatId::kK8V4, FormatId::kK4V2, 6);
  layers.layers = 2;
  layers.key_form.rope = 0;
  const std::string two_layers = SampleFrame(layers, {1, 0, 0, 2, 3, 3, 2, 1});
  FrameHeader rich = SampleHeader(FormatId::kIndexedBf16, FormatId::kNone, 17);
  rich.key_form = {1, 3, 1};
  const std::string indexed = SampleFrame(rich, {17, 0, 17, 0});
  return {{"indexed", indexed},
          {"k8v4", k8v4},
          {"k4v2", k4v2},
          {"full_bf16", bf16},
          {"full_f32", f32},
          {"diffkv", WithSampleOverlay(tiers, 120)},
          {"batch", WithSampleOverlay(two_layers, 0) + k8v4 + WithSampleOverlay(tiers, 7) + bf16}};
}

}  // namespace decant
