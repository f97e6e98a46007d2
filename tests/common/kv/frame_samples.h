// Small frames with every feature, the same bytes on every machine: goldens, corpus of the fuzzer, input of the tests.
#ifndef DECANT_TESTS_COMMON_KV_FRAME_SAMPLES_H_
#define DECANT_TESTS_COMMON_KV_FRAME_SAMPLES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "common/kv/batch.h"
#include "common/kv/rows.h"

namespace decant {

// Lays out, fills and seals one frame; payload bytes are a function of their place, positions are the first `count`
// offsets that fit the tier (high takes even offsets first, low the odd ones).
std::string SampleFrame(const FrameHeader& header, const std::vector<int32_t>& high_and_low);

// Counts of every tier from those of the high and the low one, head by head.
std::vector<int32_t> TierCounts(const std::vector<int32_t>& high_and_low);

// The frame of `batch` at its start, followed by its overlay with scores 0.5, 1.0, 1.5, ...
std::string WithSampleOverlay(const std::string& frame, int32_t first_query);

// A header of one layer and two heads of 8 dimensions at positions 128 .. 128 + span.
FrameHeader SampleHeader(FormatId high, FormatId low, int32_t span);

struct NamedBatch {
  std::string name;
  std::string bytes;
};
// One batch per format and one with everything: several frames, two layers, pruned tokens, overlays.
std::vector<NamedBatch> SampleBatches();

}  // namespace decant

#endif  // DECANT_TESTS_COMMON_KV_FRAME_SAMPLES_H_
