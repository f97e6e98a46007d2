#include "tests/gpu/kernels/codec/codec_rig.h"

#include <algorithm>
#include <cstring>

#include "common/base/half.h"
#include "common/base/random.h"
#include "common/compress/arith/affine.h"
#include "common/compress/arith/hadamard.h"

namespace decant {
namespace {

// The device copy of a prompt's K or V, [heads, capacity, head_dim] with a gap between heads.
constexpr int32_t kGap = 5;

Buffer Upload(Device& device, Stream& stream, const PromptLayer& prompt, const std::vector<float>& x) {
  const int64_t element = prompt.run_type == RunType::kF32 ? 4 : 2;
  const int64_t row = int64_t{prompt.head_dim} * element;
  const int64_t capacity = prompt.tokens + kGap;
  Buffer buffer = *device.Allocate(prompt.heads * capacity * row);
  for (int32_t head = 0; head < prompt.heads; ++head) {
    for (int32_t t = 0; t < prompt.tokens; ++t) {
      const float* from = x.data() + (head * prompt.tokens + t) * prompt.head_dim;
      std::string bytes(static_cast<size_t>(row), '\0');
      for (int32_t d = 0; d < prompt.head_dim; ++d) {
        const Bf16 half = ToBf16(from[d]);
        if (element == 2) std::memcpy(bytes.data() + 2 * d, &half, 2);
        if (element == 4) std::memcpy(bytes.data() + 4 * d, from + d, 4);
      }
      stream.Copy(buffer.As<uint8_t>((head * capacity + t) * row), bytes.data(), row);
    }
  }
  return buffer;
}

template <typename T>
Buffer UploadVector(Device& device, Stream& stream, const std::vector<T>& x) {
  Buffer buffer = *device.Allocate(static_cast<int64_t>(x.size() * sizeof(T)) + 1);
  stream.Copy(buffer.As<T>(), x.data(), static_cast<int64_t>(x.size() * sizeof(T)));
  return buffer;
}

struct Chunk {
  FrameHeader header;
  FrameLayout frame;
  OverlayHeader overlay_header;
  OverlayLayout overlay;
  size_t first_run = 0;
  size_t run_count = 0;
};

Chunk LayOutChunk(const PromptLayer& prompt, FormatId high, FormatId low, int32_t first, int32_t span, int64_t offset) {
  Chunk chunk;
  FrameHeader& header = chunk.header;
  header.formats[kHigh] = high;
  header.formats[kLow] = low;
  header.provenance = Provenance::kQuantised;
  header.explicit_positions = !prompt.tiers.empty();
  header.heads = prompt.heads;
  header.head_dim = prompt.head_dim;
  header.first_position = first;
  header.span = span;
  std::vector<int32_t> counts(static_cast<size_t>(prompt.heads) * kFrameTiers);
  for (int32_t head = 0; head < prompt.heads; ++head) {
    for (int32_t t = first; t < first + span; ++t) {
      const uint8_t tier =
          prompt.tiers.empty() ? uint8_t{0} : prompt.tiers[static_cast<size_t>(head * prompt.tokens + t)];
      if (tier < 2) ++counts[static_cast<size_t>(head * kFrameTiers + tier)];
    }
  }
  chunk.frame = LayOutFrame(header, counts, offset);
  chunk.overlay_header = OverlayHeaderFor(header, 0);
  chunk.overlay = LayOutOverlay(chunk.overlay_header, chunk.frame, offset + chunk.frame.bytes);
  return chunk;
}

}  // namespace

PromptLayer RandomPrompt(uint64_t seed, RunType run_type, int32_t heads, int32_t head_dim, int32_t tokens,
                         bool tiered) {
  PromptLayer prompt;
  prompt.run_type = run_type;
  prompt.heads = heads;
  prompt.head_dim = head_dim;
  prompt.tokens = tokens;
  const auto values = [&](uint64_t salt) {
    std::vector<float> x(static_cast<size_t>(heads * tokens * head_dim));
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = (UniformFloat(seed + salt, i) - 0.5f) * 6.0f;
      if (run_type == RunType::kBf16) x[i] = ToFloat(ToBf16(x[i]));
    }
    return x;
  };
  prompt.k = values(1);
  prompt.v = values(2);
  for (size_t i = 0; i < static_cast<size_t>(heads * tokens); ++i) {
    prompt.scores.push_back(UniformFloat(seed + 3, i));
    if (tiered) prompt.tiers.push_back(static_cast<uint8_t>(MixBits(seed + 4, i) % 3));
  }
  return prompt;
}

EncodedPrompt EncodePrompt(Device& device, const PromptLayer& prompt, FormatId high, FormatId low, int32_t chunk_tokens,
                           bool with_overlay) {
  const auto stream = device.NewStream();
  std::vector<Chunk> chunks;
  std::vector<EncodeRun> runs;
  int64_t bytes = 0;
  for (int32_t first = 0; first < prompt.tokens; first += chunk_tokens) {
    Chunk chunk = LayOutChunk(prompt, high, low, first, std::min(chunk_tokens, prompt.tokens - first), bytes);
    bytes += chunk.frame.bytes + (with_overlay ? chunk.overlay.bytes : 0);
    chunk.first_run = runs.size();
    AppendEncodeRuns(chunk.header, chunk.frame, with_overlay ? &chunk.overlay : nullptr, first, runs);
    chunk.run_count = runs.size() - chunk.first_run;
    chunks.push_back(std::move(chunk));
  }
  const Buffer k = Upload(device, *stream, prompt, prompt.k);
  const Buffer v = Upload(device, *stream, prompt, prompt.v);
  const Buffer tiers = UploadVector(device, *stream, prompt.tiers);
  const Buffer scores = UploadVector(device, *stream, prompt.scores);
  const Buffer device_runs = UploadVector(device, *stream, runs);
  const Buffer errors = *device.Allocate(static_cast<int64_t>(2 * runs.size() * sizeof(StoredError)) + 1);
  const Buffer out = *device.Allocate(bytes + 1);
  EncodeFramesArgs args;
  args.run_type = prompt.run_type;
  args.k = k.As<void>();
  args.v = v.As<void>();
  args.capacity = prompt.tokens + kGap;
  args.head_dim = prompt.head_dim;
  args.tiers = prompt.tiers.empty() ? nullptr : tiers.As<uint8_t>();
  args.scores = scores.As<float>();
  args.tokens = prompt.tokens;
  args.runs = device_runs.As<EncodeRun>();
  args.run_count = static_cast<int32_t>(runs.size());
  args.out = out.As<uint8_t>();
  args.key_errors = errors.As<StoredError>();
  args.value_errors = errors.As<StoredError>() + runs.size();
  EncodeFrames(*stream, args);

  EncodedPrompt encoded;
  encoded.batch.resize(static_cast<size_t>(bytes));
  stream->Copy(encoded.batch.data(), out.As<uint8_t>(), bytes);
  std::vector<StoredError> sums(2 * runs.size());
  stream->Copy(sums.data(), errors.As<StoredError>(), static_cast<int64_t>(sums.size() * sizeof(StoredError)));
  auto* batch = reinterpret_cast<uint8_t*>(encoded.batch.data());
  for (Chunk& chunk : chunks) {
    for (size_t i = chunk.first_run; i < chunk.first_run + chunk.run_count; ++i) {
      chunk.header.key_error.Add(sums[i]);
      chunk.header.value_error.Add(sums[runs.size() + i]);
    }
    encoded.key_error.Add(chunk.header.key_error);
    encoded.value_error.Add(chunk.header.value_error);
    SealFrame(chunk.header, chunk.frame, batch);
    if (with_overlay) SealOverlay(chunk.overlay_header, chunk.overlay, batch);
  }
  return encoded;
}

std::string ScalarEncode(const float* x, int32_t count, Element element, int32_t levels) {
  std::string bytes(static_cast<size_t>(VectorBytes(element, count) + MetaBytes(element, count)), '\0');
  if (element == Element::kF32) {
    std::memcpy(bytes.data(), x, bytes.size());
    return bytes;
  }
  if (element == Element::kBf16) {
    for (int32_t i = 0; i < count; ++i) {
      const Bf16 half = ToBf16(x[i]);
      std::memcpy(bytes.data() + 2 * i, &half, 2);
    }
    return bytes;
  }
  const int32_t bits = ElementBits(element);
  const int32_t width = IsGrouped(element) ? 32 : count;
  for (int32_t first = 0; first < count; first += width) {
    const int32_t end = std::min(first + width, count);
    float low = kLargestHalf;
    float high = -kLargestHalf;
    for (int32_t i = first; i < end; ++i) {
      low = std::min(low, TameValue(x[i]));
      high = std::max(high, TameValue(x[i]));
    }
    const AffinePair pair = FitAffine(low, high, bits, levels);
    for (int32_t i = first; i < end; ++i) {
      const uint32_t code =
          AffineCode(TameValue(x[i]), ToFloat(pair.zero), InverseScale(ToFloat(pair.scale)), bits, levels);
      char& byte = bytes[static_cast<size_t>(i * bits / 8)];
      byte = static_cast<char>(byte | static_cast<char>(code << (i * bits % 8)));
    }
    std::memcpy(bytes.data() + VectorBytes(element, count) + first / width * 4, &pair, 4);
  }
  return bytes;
}

namespace {

float ScalarValue(const char* codes, const char* meta, int32_t i, int32_t bits) {
  AffinePair pair;
  std::memcpy(&pair, meta, 4);
  const auto byte = static_cast<uint8_t>(codes[i * bits / 8]);
  return AffineValue((uint32_t{byte} >> (i * bits % 8)) & MaxCode(bits), ToFloat(pair.scale), ToFloat(pair.zero));
}

}  // namespace

std::vector<float> ScalarRoundTrip(const float* x, int32_t count, Element element, int32_t levels) {
  return ScalarDecode(ScalarEncode(x, count, element, levels), count, element);
}

std::vector<float> ScalarDecode(const std::string& bytes, int32_t count, Element element) {
  std::vector<float> back(static_cast<size_t>(count));
  if (element == Element::kF32) std::memcpy(back.data(), bytes.data(), bytes.size());
  const char* meta = bytes.data() + VectorBytes(element, count);
  for (int32_t i = 0; i < count && element != Element::kF32; ++i) {
    if (element == Element::kBf16) {
      Bf16 half;
      std::memcpy(&half, bytes.data() + 2 * i, 2);
      back[static_cast<size_t>(i)] = ToFloat(half);
      continue;
    }
    const int32_t pair = IsGrouped(element) ? i / 32 : 0;
    back[static_cast<size_t>(i)] = ScalarValue(bytes.data(), meta + 4 * pair, i, ElementBits(element));
  }
  return back;
}

std::string ScalarReencode(const std::string& bytes, Element from, Element to, int32_t count, int32_t levels,
                           int32_t unrotate, int32_t rotate) {
  if (from == to && levels == 0 && unrotate == rotate) return bytes;
  std::vector<float> x = ScalarDecode(bytes, count, from);
  if (unrotate != rotate) {
    RotateHadamard(x.data(), count, 1 << unrotate);
    RotateHadamard(x.data(), count, 1 << rotate);
  }
  return ScalarEncode(x.data(), count, to, levels);
}

std::string ScalarEncodeChannels(const std::vector<const float*>& rows, int32_t head_dim, Element element,
                                 int32_t levels) {
  const int32_t bits = ElementBits(element);
  const auto vector_bytes = static_cast<size_t>(VectorBytes(element, head_dim));
  std::string codes(rows.size() * vector_bytes, '\0');
  std::string meta;
  for (int32_t i = 0; i < head_dim; ++i) {
    float low = kLargestHalf;
    float high = -kLargestHalf;
    for (const float* row : rows) {
      low = std::min(low, TameValue(row[i]));
      high = std::max(high, TameValue(row[i]));
    }
    const AffinePair pair = FitAffine(low, high, bits, levels);
    meta.append(reinterpret_cast<const char*>(&pair), 4);
    for (size_t t = 0; t < rows.size(); ++t) {
      const uint32_t code =
          AffineCode(TameValue(rows[t][i]), ToFloat(pair.zero), InverseScale(ToFloat(pair.scale)), bits, levels);
      char& byte = codes[t * vector_bytes + static_cast<size_t>(i * bits / 8)];
      byte = static_cast<char>(byte | static_cast<char>(code << (i * bits % 8)));
    }
  }
  return codes + meta;
}

std::vector<float> ScalarRoundTripChannels(const std::vector<const float*>& rows, int32_t head_dim, Element element,
                                           int32_t levels) {
  const std::string bytes = ScalarEncodeChannels(rows, head_dim, element, levels);
  const int64_t vector_bytes = VectorBytes(element, head_dim);
  const char* meta = bytes.data() + static_cast<int64_t>(rows.size()) * vector_bytes;
  std::vector<float> back;
  for (size_t t = 0; t < rows.size(); ++t) {
    for (int32_t i = 0; i < head_dim; ++i) {
      const char* codes = bytes.data() + static_cast<int64_t>(t) * vector_bytes;
      back.push_back(ScalarValue(codes, meta + 4 * i, i, ElementBits(element)));
    }
  }
  return back;
}

}  // namespace decant
