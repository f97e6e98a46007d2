// Quantise + pack of a prompt's layer, and the pool's ladder, at the sizes of Llama-3-8B: 8 kv heads of
// 128 elements, a fifth of the tokens high (K8V4) and the rest low (K4V2).
#include <algorithm>
#include <memory>
#include <vector>

#include "common/base/check.h"
#include "common/base/random.h"
#include "common/compress/arith/prompt_tier.h"
#include "gpu/kernels/codec/encode_frames.h"
#include "gpu/kernels/codec/reencode_frames.h"
#include "load_tests/kernels/device_data.h"
#include "load_tests/kernels/kernel_case.h"

namespace decant {
namespace {

constexpr int32_t kHeadDim = 128;
constexpr int32_t kKvHeads = 8;
constexpr int32_t kChunk = 64;
constexpr int32_t kPrompt = 8192;
constexpr int32_t kLaunchTokens = 512;  // what the launcher encodes of it

// Lays segments out one after the other, each aligned as a frame's.
struct Places {
  int64_t end = 0;
  int64_t bytes = 0;  // of the segments alone

  int64_t Next(int64_t segment) {
    const int64_t at = end;
    end += (segment + 15) / 16 * 16;
    bytes += segment;
    return at;
  }
};

struct EncodePlan {
  std::vector<uint8_t> tiers;  // [kv_heads, tokens]
  std::vector<EncodeRun> runs;
  Places out;
  int64_t minimum = 0;
};

EncodePlan PlanEncode(int32_t tokens) {
  EncodePlan plan;
  plan.tiers.resize(static_cast<size_t>(kKvHeads) * static_cast<size_t>(tokens));
  for (size_t i = 0; i < plan.tiers.size(); ++i) plan.tiers[i] = MixBits(3, i) % 5 == 0 ? 0 : 1;
  for (int32_t chunk = 0; chunk < tokens / kChunk; ++chunk) {
    for (int32_t head = 0; head < kKvHeads; ++head) {
      const auto first = plan.tiers.begin() + head * tokens + chunk * kChunk;
      for (const int32_t tier : {0, 1}) {
        EncodeRun run;
        run.head = head;
        run.tier = tier;
        run.first_token = chunk * kChunk;
        run.chunk_tokens = kChunk;
        run.format = tier == 0 ? FormatId::kK8V4 : FormatId::kK4V2;
        const Format format = FormatOf(run.format);
        const auto count = static_cast<int32_t>(std::count(first, first + kChunk, static_cast<uint8_t>(tier)));
        run.keys = plan.out.Next(count * VectorBytes(format.k, kHeadDim));
        run.key_meta = plan.out.Next(MetaSegmentBytes(format.k, kHeadDim, count));
        run.values = plan.out.Next(count * VectorBytes(format.v, kHeadDim));
        run.value_meta = plan.out.Next(MetaSegmentBytes(format.v, kHeadDim, count));
        run.positions = plan.out.Next(int64_t{2} * count);
        plan.runs.push_back(run);
      }
    }
  }
  plan.minimum = int64_t{4} * kKvHeads * tokens * kHeadDim + static_cast<int64_t>(plan.tiers.size()) + plan.out.bytes;
  return plan;
}

KernelWork PrepareEncode(Stream& stream, bool whole) {
  const int32_t tokens = whole ? kPrompt : kLaunchTokens;
  const EncodePlan plan = PlanEncode(tokens);
  auto data = std::make_shared<DeviceData>(stream);
  EncodeFramesArgs args;
  const int64_t elements = int64_t{kKvHeads} * tokens * kHeadDim;
  args.k = data->Noise(2 * elements);
  args.v = data->Noise(2 * elements);
  args.capacity = tokens;
  args.head_dim = kHeadDim;
  args.tiers = data->Upload(plan.tiers);
  args.tokens = tokens;
  args.runs = data->Upload(plan.runs);
  args.run_count = static_cast<int32_t>(plan.runs.size());
  args.out = data->New<uint8_t>(plan.out.end);
  args.key_errors = data->New<StoredError>(args.run_count);
  args.value_errors = data->New<StoredError>(args.run_count);
  KernelWork work;
  work.minimum_bytes = plan.minimum;
  work.enqueue = [&stream, args] { EncodeFrames(stream, args); };
  work.state = data;
  return work;
}

struct ReencodePlan {
  std::vector<ReencodeRun> runs;
  Places in;
  Places out;
};

// Whole chunks of K8V4 into K4V2.
ReencodePlan PlanReencode(int32_t tokens) {
  const Format from = FormatOf(FormatId::kK8V4);
  const Format to = FormatOf(FormatId::kK4V2);
  ReencodePlan plan;
  for (int32_t i = 0; i < kKvHeads * tokens / kChunk; ++i) {
    for (const bool key : {true, false}) {
      const Element source = key ? from.k : from.v;
      ReencodeRun run;
      run.tokens = kChunk;
      run.element = key ? to.k : to.v;
      run.sources[0].element = source;
      run.sources[0].codes = plan.in.Next(kChunk * VectorBytes(source, kHeadDim));
      run.sources[0].meta = plan.in.Next(MetaSegmentBytes(source, kHeadDim, kChunk));
      run.codes = plan.out.Next(kChunk * VectorBytes(run.element, kHeadDim));
      run.meta = plan.out.Next(MetaSegmentBytes(run.element, kHeadDim, kChunk));
      plan.runs.push_back(run);
    }
  }
  return plan;
}

KernelWork PrepareReencode(Stream& stream, bool whole) {
  const ReencodePlan plan = PlanReencode(whole ? kPrompt : kLaunchTokens);
  auto data = std::make_shared<DeviceData>(stream);
  ReencodeFramesArgs args;
  args.in = data->Noise(plan.in.end);
  args.runs = data->Upload(plan.runs);
  args.run_count = static_cast<int32_t>(plan.runs.size());
  args.head_dim = kHeadDim;
  args.out = data->New<uint8_t>(plan.out.end);
  args.errors = data->New<StoredError>(args.run_count);
  KernelWork work;
  work.minimum_bytes = plan.in.bytes + plan.out.bytes;
  work.enqueue = [&stream, args] { ReencodeFrames(stream, args); };
  work.state = data;
  return work;
}

constexpr double kLaunch = 2e-6;  // a launch of a graph behind another begins after about 2 us

std::vector<KernelCase> CodecCases() {
  const ReencodePlan reencode = PlanReencode(kPrompt);
  return {{"codec: quantise and pack, 8192 tokens of a layer", PrepareEncode, PlanEncode(kPrompt).minimum, 0, kLaunch},
          {"codec: k8v4 frames to k4v2, 8192 tokens of a layer", PrepareReencode,
           reencode.in.bytes + reencode.out.bytes, 0, kLaunch}};
}
const KernelCases kCodec(&CodecCases);

}  // namespace
}  // namespace decant
