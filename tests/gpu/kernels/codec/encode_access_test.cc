// What the kernels that quantise and pack ask of memory, counted on the launcher.
#include <gtest/gtest.h>

#include "gpu/kernels/codec/encode_frames.h"
#include "gpu/kernels/codec/reencode_frames.h"
#include "tests/gpu/kernels/pages/page_rig.h"
#include "tests/support/device_array.h"
#include "tests/support/launcher/launcher_device.h"

namespace decant {
namespace {

constexpr int32_t kTokens = 64;
constexpr int32_t kHeads = 2;
constexpr int32_t kChunks = 3;

struct Moved {
  launcher::AccessCounts counts;
  int64_t minimum_read = 0;
  int64_t minimum_written = 0;
};

std::unique_ptr<LauncherDevice> NewRecorder() {
  LauncherOptions options;
  options.record = true;
  options.arena_bytes = int64_t{64} << 20;
  return CreateLauncherDevice(options);
}

int64_t StoredBytes(FormatId id, int32_t head_dim) { return TokensBytes(id, head_dim, kTokens); }

// A layer of bf16 vectors into frames of one format, laid out back to back at multiples of 16.
Moved Encode(FormatId id, int32_t head_dim) {
  const auto device = NewRecorder();
  const auto stream = device->NewStream();
  const int32_t tokens = kTokens * kChunks;
  const auto k = ToRunType(RunType::kBf16, RandomFloats(static_cast<size_t>(kHeads * tokens * head_dim), 3));
  const DeviceArray<uint8_t> keys(*stream, k);
  const DeviceArray<uint8_t> values(*stream, k);
  const Format format = FormatOf(id);
  std::vector<EncodeRun> runs;
  int64_t at = 16;
  const auto place = [&at](int64_t bytes) {
    const int64_t start = at;
    at += (bytes + 15) / 16 * 16;
    return start;
  };
  for (int32_t chunk = 0; chunk < kChunks; ++chunk) {
    for (int32_t head = 0; head < kHeads; ++head) {
      EncodeRun run;
      run.head = head;
      run.first_token = chunk * kTokens;
      run.chunk_tokens = kTokens;
      run.format = id;
      run.keys = place(kTokens * VectorBytes(format.k, head_dim));
      run.key_meta = place(MetaSegmentBytes(format.k, head_dim, kTokens));
      run.values = place(kTokens * VectorBytes(format.v, head_dim));
      run.value_meta = place(MetaSegmentBytes(format.v, head_dim, kTokens));
      runs.push_back(run);
    }
  }
  const DeviceArray<EncodeRun> device_runs(*stream, runs);
  const DeviceArray<uint8_t> out(*stream, static_cast<size_t>(at));
  const DeviceArray<StoredError> errors(*stream, 2 * runs.size());
  EncodeFramesArgs args;
  args.k = keys.data();
  args.v = values.data();
  args.capacity = tokens;
  args.head_dim = head_dim;
  args.tokens = tokens;
  args.runs = device_runs.data();
  args.run_count = static_cast<int32_t>(runs.size());
  args.out = out.data();
  args.key_errors = errors.data();
  args.value_errors = errors.data() + runs.size();
  device->recorder().Clear();
  EncodeFrames(*stream, args);
  Moved moved;
  moved.counts = device->recorder().Total();
  moved.minimum_read = int64_t{2} * kHeads * tokens * head_dim * 2;
  moved.minimum_written = kHeads * kChunks * (StoredBytes(id, head_dim) - (format.tracked ? 8 * kTokens : 0)) +
                          static_cast<int64_t>(2 * runs.size() * sizeof(StoredError));
  return moved;
}

// Chunks of one format into another.
Moved Reencode(FormatId from, FormatId to, int32_t head_dim) {
  const auto device = NewRecorder();
  const auto stream = device->NewStream();
  std::vector<ReencodeRun> runs;
  int64_t in = 16;
  int64_t out = 16;
  Moved moved;
  const auto place = [](int64_t bytes, int64_t& at, int64_t& minimum) {
    const int64_t start = at;
    at += (bytes + 15) / 16 * 16;
    minimum += bytes;
    return start;
  };
  for (int32_t i = 0; i < kHeads * kChunks; ++i) {
    for (const bool key : {true, false}) {
      const Element source = key ? FormatOf(from).k : FormatOf(from).v;
      const Element target = key ? FormatOf(to).k : FormatOf(to).v;
      ReencodeRun run;
      run.tokens = kTokens;
      run.sources[0].element = source;
      run.sources[0].codes = place(kTokens * VectorBytes(source, head_dim), in, moved.minimum_read);
      run.sources[0].meta = place(MetaSegmentBytes(source, head_dim, kTokens), in, moved.minimum_read);
      run.element = target;
      run.codes = place(kTokens * VectorBytes(target, head_dim), out, moved.minimum_written);
      run.meta = place(MetaSegmentBytes(target, head_dim, kTokens), out, moved.minimum_written);
      runs.push_back(run);
    }
  }
  const DeviceArray<uint8_t> stored(*stream, std::vector<uint8_t>(static_cast<size_t>(in), 0x35));
  const DeviceArray<uint8_t> made(*stream, static_cast<size_t>(out));
  const DeviceArray<ReencodeRun> device_runs(*stream, runs);
  const DeviceArray<StoredError> errors(*stream, runs.size());
  ReencodeFramesArgs args;
  args.in = stored.data();
  args.runs = device_runs.data();
  args.run_count = static_cast<int32_t>(runs.size());
  args.head_dim = head_dim;
  args.out = made.data();
  args.errors = errors.data();
  device->recorder().Clear();
  ReencodeFrames(*stream, args);
  moved.counts = device->recorder().Total();
  moved.minimum_read += static_cast<int64_t>(runs.size() * sizeof(ReencodeRun));
  moved.minimum_written += static_cast<int64_t>(runs.size() * sizeof(StoredError));
  return moved;
}

// A request of a warp for 128 bytes of packed codes that begin in the middle of a sector touches 5 sectors where 4
// would hold them; frames promise only 16 bytes of alignment. The fifth is the next request's first, so no byte moves
// twice.
constexpr double kNarrowRequests = 1.15;

void ExpectLean(const Moved& moved, const std::string& what, double read_limit = 1.1) {
  const launcher::DirectionCounts& reads = moved.counts.reads;
  const launcher::DirectionCounts& writes = moved.counts.writes;
  // What leaves the multiprocessors: each byte once, in full sectors.
  EXPECT_LE(static_cast<double>(reads.footprint), 1.1 * static_cast<double>(moved.minimum_read)) << what;
  EXPECT_LE(static_cast<double>(writes.footprint), 1.1 * static_cast<double>(moved.minimum_written)) << what;
  EXPECT_LE(static_cast<double>(reads.sectors), read_limit * static_cast<double>(reads.ideal_sectors)) << what;
  EXPECT_LE(static_cast<double>(writes.sectors), 1.1 * static_cast<double>(writes.ideal_sectors)) << what;
}

// D8: the released prompt kernel read each vector three times, a thread a token and so a sector a lane, and the decode
// compressor left 127 of 128 threads idle.
TEST(EncodeAccessTest, D8EveryByteMovesOnceInWholeSectors) {
  for (const int32_t head_dim : {64, 128, 256}) {
    for (const FormatId id : {FormatId::kFullBf16, FormatId::kK8V4, FormatId::kK4V4, FormatId::kK4V2,
                              FormatId::kGroupK4V4, FormatId::kGroupK2V2}) {
      ExpectLean(Encode(id, head_dim),
                 testing::PrintToString(static_cast<int>(id)) + " of " + testing::PrintToString(head_dim));
    }
  }
}

TEST(EncodeAccessTest, D8AppendedVectorsAreAWarpsEach) {
  RigOptions options;
  options.geometry = Geometry{1, 8, 8, 128};
  options.page_bytes = 16384;
  options.appends_on_device = true;
  LauncherDevice* device = nullptr;
  options.device = [&device](int64_t) {
    auto created = NewRecorder();
    device = created.get();
    return created;
  };
  PageRig rig(options);
  for (int32_t n = 0; n < 3; ++n) {
    rig.Plan();
    device->recorder().Clear();
    rig.Append(1.0f);
    rig.Advance();
    launcher::AccessCounts counts;
    for (const auto& [kernel, of_kernel] : device->recorder().counts()) {
      if (kernel == "AppendTokenKernel") counts += of_kernel;
    }
    EXPECT_EQ(counts.launches, 1);
    // Codes and a pair of both vectors, a score and a position.
    EXPECT_LE(counts.writes.requests, 8 * 6);
    // Floats are read in two requests, of which each takes half of the same sectors.
    EXPECT_LE(static_cast<double>(counts.reads.footprint), 1.1 * (8 * 2 * 128 * 4 + 8 * sizeof(StepAction)));
    EXPECT_LE(static_cast<double>(counts.writes.sectors), 1.1 * static_cast<double>(counts.writes.ideal_sectors));
  }
}

TEST(EncodeAccessTest, ReencodingTooMovesEveryByteOnce) {
  for (const int32_t head_dim : {64, 128, 256}) {
    ExpectLean(Reencode(FormatId::kFullBf16, FormatId::kK8V4, head_dim), "bf16 to k8v4");
    ExpectLean(Reencode(FormatId::kK8V4, FormatId::kK4V4, head_dim), "k8v4 to k4v4", kNarrowRequests);
    ExpectLean(Reencode(FormatId::kK8V4, FormatId::kK4V2, head_dim), "k8v4 to k4v2", kNarrowRequests);
  }
}

}  // namespace
}  // namespace decant
