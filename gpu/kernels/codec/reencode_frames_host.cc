#include <cstring>
#include <functional>

#include "common/compress/arith/hadamard.h"
#include "gpu/kernels/codec/codec_host.h"
#include "gpu/kernels/codec/half_writer.h"
#include "gpu/kernels/pages/key_statistics.h"

namespace decant {
namespace {

void Decode(const StoredVectors& from, const uint8_t* in, int32_t token, int32_t head_dim, float* x) {
  const uint8_t* codes = in + from.codes + token * VectorBytes(from.element, head_dim);
  if (IsChannel(from.element)) {
    const int64_t pairs = MetaSegmentBytes(from.element, head_dim, token / kTokenGroup * kTokenGroup);
    DecodeChannelToken(codes, in + from.meta + pairs, head_dim, from.element, RunType::kF32, x);
    return;
  }
  const uint8_t* meta = in + from.meta + token * MetaBytes(from.element, head_dim);
  DecodeVector(codes, meta, head_dim, from.element, RunType::kF32, x);
}

void Copy(const StoredVectors& from, const uint8_t* in, int32_t token, int32_t head_dim, HalfWriter& to) {
  const int64_t vector_bytes = VectorBytes(from.element, head_dim);
  const int64_t meta_bytes = MetaBytes(from.element, head_dim);
  std::memcpy(to.codes(), in + from.codes + token * vector_bytes, static_cast<size_t>(vector_bytes));
  std::memcpy(to.meta(), in + from.meta + token * meta_bytes, static_cast<size_t>(meta_bytes));
  to.Advance();
}

void ReencodeOneRun(const ReencodeFramesArgs& args, int64_t index) {
  const ReencodeRun& run = args.runs[index];
  const bool same_form = run.levels == 0 && run.unrotate == run.rotate && !IsChannel(run.element);
  HalfWriter writer(args.head_dim, run.element, run.levels, args.out + run.codes, args.out + run.meta);
  // A group's vectors wait for the last of them.
  float vectors[kTokenGroup * kMaxHeadDim];
  for (int32_t i = 0; i < run.tokens; ++i) {
    const uint32_t place = run.places < 0 ? StoredPlace(0, i) : args.places[run.places + i];
    const StoredVectors& from = run.sources[TierOfPlace(place)];
    if (same_form && from.element == run.element) {
      Copy(from, args.in, TokenOfPlace(place), args.head_dim, writer);
      continue;
    }
    float* const x = vectors + i % kTokenGroup * kMaxHeadDim;
    Decode(from, args.in, TokenOfPlace(place), args.head_dim, x);
    if (run.unrotate != run.rotate) {
      RotateHadamard(x, args.head_dim, 1 << run.unrotate);
      RotateHadamard(x, args.head_dim, 1 << run.rotate);
    }
    writer.Add(RunType::kF32, x);
  }
  args.errors[index] = writer.Finish();
  if (run.statistics >= 0) {
    WriteKeyStatistics(args.out + run.codes, run.tokens, args.head_dim, run.element, args.out + run.statistics);
  }
}

}  // namespace

void ReencodeFramesHost(Stream& stream, const ReencodeFramesArgs& args) {
  const HostAccess access(stream);
  const auto reencode = [&args](int64_t index, int) { ReencodeOneRun(args, index); };
  stream.device().ParallelFor(args.run_count, std::cref(reencode));
}

}  // namespace decant
