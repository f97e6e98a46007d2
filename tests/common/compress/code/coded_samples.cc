#include "tests/common/compress/code/coded_samples.h"

#include <cstring>

#include "common/base/half.h"
#include "common/base/random.h"
#include "common/kv/rows.h"
#include "tests/common/kv/frame_samples.h"

namespace decant {
namespace {

// A sum of uniform numbers around 0, of standard deviation 0.7.
float Bell(uint64_t i) {
  float sum = -3;
  for (uint64_t k = 0; k < 6; ++k) sum += UniformFloat(7, i * 6 + k);
  return sum;
}

void PutCodes(int32_t bits, int64_t bytes, uint64_t seed, uint8_t* to) {
  const float levels = static_cast<float>(1 << bits);
  for (int64_t i = 0; i < bytes; ++i) {
    uint32_t packed = 0;
    for (int32_t shift = 0; shift < 8; shift += bits) {
      const auto code = static_cast<uint32_t>((Bell(seed + static_cast<uint64_t>(8 * i + shift)) + 3) / 6 * levels);
      packed |= code << shift;
    }
    to[i] = static_cast<uint8_t>(packed);
  }
}

void PutVectors(Element element, int64_t bytes, uint64_t seed, uint8_t* to) {
  if (IsAffine(element)) return PutCodes(ElementBits(element), bytes, seed, to);
  const int64_t size = ElementBits(element) / 8;
  for (int64_t i = 0; i < bytes; i += size) {
    const float value = Bell(seed + static_cast<uint64_t>(i));
    const uint16_t half = ToBf16(value).bits;
    std::memcpy(to + i, size == 4 ? static_cast<const void*>(&value) : &half, static_cast<size_t>(size));
  }
}

void PutPairs(int64_t bytes, uint64_t seed, uint8_t* to) {
  for (int64_t i = 0; i < bytes; i += 4) {
    const float wide = 4 + Bell(seed + static_cast<uint64_t>(i));
    const uint16_t pair[2] = {ToFp16(wide / 15).bits, ToFp16(-wide / 2).bits};
    std::memcpy(to + i, pair, 4);
  }
}

}  // namespace

std::string BellFrame(const FrameHeader& header, const std::vector<int32_t>& counts) {
  const FrameLayout layout = LayOutFrame(header, counts);
  std::string bytes(static_cast<size_t>(layout.bytes), '\0');
  auto* to = reinterpret_cast<uint8_t*>(bytes.data());
  for (size_t i = 0; i < layout.runs.size(); ++i) {
    const FrameRun& run = layout.runs[i];
    const FormatId id = header.formats[i % kFrameTiers];
    const Format format = FormatOf(id);
    const uint64_t seed = uint64_t{100000} * i;
    PutVectors(format.k, run.tokens * VectorBytes(format.k, header.head_dim), seed, to + run.keys);
    PutVectors(format.v, run.tokens * VectorBytes(format.v, header.head_dim), seed + 50000, to + run.values);
    PutPairs(MetaSegmentBytes(format.k, header.head_dim, run.tokens), seed + 1, to + run.key_meta);
    PutPairs(MetaSegmentBytes(format.v, header.head_dim, run.tokens), seed + 2, to + run.value_meta);
    PutVectors(Element::kBf16, StatisticsBytes(id, header.head_dim, run.tokens), seed + 3, to + run.statistics);
    const auto tier = static_cast<int32_t>(i % kFrameTiers);
    for (int32_t token = 0; header.explicit_positions && token < run.tokens; ++token) {
      const int32_t place = tier < kFixed ? 2 * token + tier : header.span - run.tokens + token;
      const auto offset = static_cast<uint16_t>(place);
      std::memcpy(to + run.positions + 2 * token, &offset, 2);
    }
  }
  if (layout.balance >= 0) {
    PutVectors(Element::kF32, int64_t{4} * header.layers * header.heads * header.head_dim, 11, to + layout.balance);
  }
  SealFrame(header, layout, to);
  return bytes;
}

std::vector<NamedFrame> BellFrames() {
  const auto header_of = [](FormatId high, FormatId low) {
    FrameHeader header = SampleHeader(high, low, 64);
    header.head_dim = 32;
    return header;
  };
  const auto whole = [&](FormatId id) { return BellFrame(header_of(id, FormatId::kNone), TierCounts({64, 0, 64, 0})); };
  FrameHeader split = header_of(FormatId::kChannelK2, FormatId::kGroupV2);
  split.formats[kFixed] = FormatId::kFullK16;
  split.formats[kTail] = FormatId::kFullV16;
  split.span = 72;
  FrameHeader rich = header_of(FormatId::kIndexedBf16, FormatId::kNone);
  rich.key_form = {1, 3, 1};
  FrameHeader layers = header_of(FormatId::kK8V4, FormatId::kK4V2);
  layers.layers = 2;
  return {{"full_bf16", whole(FormatId::kFullBf16)},
          {"full_f32", whole(FormatId::kFullF32)},
          {"k8v4", whole(FormatId::kK8V4)},
          {"k4v1", whole(FormatId::kK4V1)},
          {"groups", whole(FormatId::kGroupK2V2)},
          {"kivi", BellFrame(split, {32, 32, 8, 8, 32, 32, 8, 8})},
          {"indexed", BellFrame(rich, TierCounts({64, 0, 64, 0}))},
          {"diffkv", BellFrame(layers, TierCounts({31, 17, 0, 0, 32, 32, 1, 20}))}};
}

}  // namespace decant
