// Page operations at the sizes of Llama-3-8B: 32 layers, 8 kv heads of 128 elements, a fifth of the tokens high (K8V4)
// and the rest low (K4V2).
#include <memory>
#include <vector>

#include "common/base/check.h"
#include "common/base/random.h"
#include "gpu/kernels/pages/page_ops.h"
#include "load_tests/kernels/kernel_case.h"

namespace decant {
namespace {

constexpr int32_t kHeadDim = 128;
constexpr int32_t kKvHeads = 8;
constexpr int32_t kChunk = 64;
constexpr int32_t kHighInChunk = 13;
constexpr FormatId kFormats[] = {FormatId::kK8V4, FormatId::kK4V2};

// Rows of `sequences` with `layers` layers, and pages for them; what a head holds at first is the caller's to say.
class PageBench {
 public:
  PageBench(Stream& stream, int32_t sequences, int32_t layers, int32_t capacity, int32_t page_count)
      : stream_(stream), sequences_(sequences) {
    arena.geometry = Geometry{layers, 4 * kKvHeads, kKvHeads, kHeadDim};
    arena.page_bytes = ChoosePageBytes(kHeadDim, kFormats, 2, 2048);
    arena.page_count = page_count;
    for (const FormatId id : kFormats) {
      arena.layouts[static_cast<int>(id)] = FitLayout(id, kHeadDim, arena.page_bytes);
    }
    arena.pages = New<uint8_t>(arena.page_bytes * page_count);
    ring.page_count = page_count;
    ring.ids = New<int32_t>(page_count);
    ring.head_tail = New<uint64_t>(2);
    error = New<int32_t>(1);
    heads_ = int64_t{layers} * kKvHeads;
    states = New<HeadState>(heads_ * sequences);
    ids_ = New<int32_t>(heads_ * sequences * capacity);
    int32_t* const lengths = New<int32_t>(sequences);
    rows = New<SequenceRows>(sequences);
    stream.Fill(ids_, 0, heads_ * sequences * capacity * 4);
    const std::vector<int32_t> length(static_cast<size_t>(sequences), 1000);
    std::vector<SequenceRows> host(static_cast<size_t>(sequences));
    for (int32_t s = 0; s < sequences; ++s) {
      SequenceRows& row = host[static_cast<size_t>(s)];
      row.heads = states + s * heads_;
      row.page_ids = ids_ + s * heads_ * capacity;
      row.length = lengths + s;
      row.capacity = capacity;
      row.formats[kHigh] = kFormats[0];
      row.formats[kLow] = kFormats[1];
    }
    stream.Copy(lengths, length.data(), sequences * 4);
    stream.Copy(rows, host.data(), sequences * static_cast<int64_t>(sizeof(SequenceRows)));
    DECANT_CHECK(stream.Synchronize().ok());
    ResetRing(stream, ring);
  }

  template <typename T>
  T* New(int64_t count) {
    buffers_.push_back(stream_.device().Allocate(count * static_cast<int64_t>(sizeof(T))).value());
    return buffers_.back().As<T>();
  }
  template <typename T>
  T* Upload(const std::vector<T>& values) {
    T* const to = New<T>(static_cast<int64_t>(values.size()));
    stream_.Copy(to, values.data(), static_cast<int64_t>(values.size() * sizeof(T)));
    DECANT_CHECK(stream_.Synchronize().ok());
    return to;
  }
  int64_t heads() const { return heads_ * sequences_; }

  PageArena arena;
  PageRing ring;
  HeadState* states = nullptr;  // [sequences, layers, kv_heads]
  SequenceRows* rows = nullptr;
  int32_t* error = nullptr;

 private:
  Stream& stream_;
  const int32_t sequences_;
  int64_t heads_ = 0;
  int32_t* ids_ = nullptr;
  std::vector<Buffer> buffers_;
};

// A step in which one head in forty opens a page.
constexpr int32_t kStepLayers = 32;
KernelWork PrepareStep(Stream& stream, bool whole) {
  const int32_t sequences = whole ? 128 : 8;
  auto bench = std::make_shared<PageBench>(stream, sequences, kStepLayers, 64, whole ? 40000 : 4000);
  const int32_t page_tokens = bench->arena.layouts[static_cast<int>(kFormats[0])].tokens;
  std::vector<HeadState> states(static_cast<size_t>(bench->heads()));
  for (size_t i = 0; i < states.size(); ++i) {
    states[i].pages[kHigh] = 1;
    states[i].tokens[kHigh] = static_cast<int32_t>(MixBits(1, i) % static_cast<uint64_t>(page_tokens + 1));
  }
  const HeadState* const first = bench->Upload(states);
  PlanStepArgs args;
  args.arena = bench->arena;
  args.ring = bench->ring;
  args.rows = bench->rows;
  args.sequences = sequences;
  args.actions = bench->New<StepAction>(bench->heads());
  args.scratch = bench->New<int32_t>(PlanStepScratch(bench->heads()));
  args.moved = bench->New<int64_t>(2 * sequences);
  args.error = bench->error;
  KernelWork work;
  work.minimum_bytes = bench->heads() * static_cast<int64_t>(sizeof(HeadState) + sizeof(StepAction));
  work.enqueue = [&stream, args] { PlanStep(stream, args); };
  work.reset = [&stream, bench = bench.get(), first] {
    stream.Copy(bench->states, first, bench->heads() * static_cast<int64_t>(sizeof(HeadState)));
    ResetRing(stream, bench->ring);
  };
  work.state = bench;
  return work;
}

// Frames of a layer: the segments of every run, each aligned, one after the other.
struct LayerFrames {
  std::vector<ImportRun> runs;
  int64_t bytes = 0;
  int64_t moved = 0;  // bytes read and written
};
LayerFrames LayOut(int32_t chunks) {
  LayerFrames frames;
  const auto place = [&frames](int64_t bytes) {
    const int64_t at = frames.bytes;
    frames.bytes += (bytes + 15) / 16 * 16;
    frames.moved += 2 * bytes;
    return at;
  };
  for (int32_t chunk = 0; chunk < chunks; ++chunk) {
    for (int32_t head = 0; head < kKvHeads; ++head) {
      for (const int32_t tier : {kHigh, kLow}) {
        const Format format = FormatOf(kFormats[tier]);
        ImportRun run;
        run.head = head;
        run.tier = tier;
        run.tokens = tier == kHigh ? kHighInChunk : kChunk - kHighInChunk;
        run.before = chunk * run.tokens;
        run.first_position = chunk * kChunk;
        run.keys = place(run.tokens * VectorBytes(format.k, kHeadDim));
        run.key_meta = place(MetaSegmentBytes(format.k, kHeadDim, run.tokens));
        run.values = place(run.tokens * VectorBytes(format.v, kHeadDim));
        run.value_meta = place(MetaSegmentBytes(format.v, kHeadDim, run.tokens));
        run.positions = place(int64_t{2} * run.tokens);
        run.scores = place(int64_t{4} * run.tokens);
        frames.moved += int64_t{2} * run.tokens;  // a position is written as 4 bytes
        frames.runs.push_back(run);
      }
    }
  }
  return frames;
}

constexpr int32_t kImportChunks = 128;  // 8192 tokens
KernelWork PrepareImport(Stream& stream, bool whole) {
  const LayerFrames frames = LayOut(whole ? kImportChunks : 8);
  auto bench = std::make_shared<PageBench>(stream, 1, 1, 1024, whole ? 4096 : 512);
  std::vector<int32_t> growth(kKvHeads * kTierCount);
  for (const ImportRun& run : frames.runs) growth[static_cast<size_t>(run.head * kTierCount + run.tier)] += run.tokens;
  GrowRowsArgs grow;
  grow.arena = bench->arena;
  grow.ring = bench->ring;
  grow.rows = bench->rows;
  grow.growth = bench->Upload(growth);
  grow.scratch = bench->New<int32_t>(kKvHeads * kTierCount + 1);
  grow.error = bench->error;
  ImportFramesArgs args;
  args.arena = bench->arena;
  args.rows = bench->rows;
  args.frames = bench->New<uint8_t>(frames.bytes);
  args.runs = bench->Upload(frames.runs);
  args.run_count = static_cast<int32_t>(frames.runs.size());
  stream.Fill(const_cast<uint8_t*>(args.frames), 1, frames.bytes);
  KernelWork work;
  work.minimum_bytes = frames.moved;
  work.enqueue = [&stream, args] { ImportFrames(stream, args); };
  work.reset = [&stream, bench = bench.get(), grow] {
    stream.Fill(bench->states, 0, bench->heads() * static_cast<int64_t>(sizeof(HeadState)));
    ResetRing(stream, bench->ring);
    GrowRows(stream, grow);
  };
  work.state = bench;
  return work;
}

constexpr int32_t kHeldPages = 150;
KernelWork PrepareRelease(Stream& stream, bool whole) {
  const int32_t layers = whole ? 32 : 4;
  auto bench = std::make_shared<PageBench>(stream, 1, layers, kHeldPages, layers * kKvHeads * kHeldPages);
  std::vector<HeadState> states(static_cast<size_t>(bench->heads()));
  for (HeadState& state : states) state.pages[kLow] = kHeldPages;
  const HeadState* const first = bench->Upload(states);
  KernelWork work;
  work.minimum_bytes = bench->heads() * (int64_t{8} * kHeldPages + static_cast<int64_t>(2 * sizeof(HeadState)));
  work.enqueue = [&stream, bench = bench.get()] { ReleaseRows(stream, bench->arena, bench->ring, bench->rows, 1); };
  work.reset = [&stream, bench = bench.get(), first] {
    ResetRing(stream, bench->ring);
    stream.Copy(bench->states, first, bench->heads() * static_cast<int64_t>(sizeof(HeadState)));
  };
  work.state = bench;
  return work;
}

// A launch of a graph behind another takes about 2 us to begin; a round of the single block that scans, 0.4 us.
constexpr double kLaunch = 2e-6;
constexpr double kScanRound = 0.4e-6;

std::vector<KernelCase> PagesCases() {
  constexpr int64_t kStepHeads = int64_t{128} * kStepLayers * kKvHeads;
  constexpr int64_t kState = static_cast<int64_t>(sizeof(HeadState));
  return {
      {"pages: plan, scan and commit, 128 sequences x 32 layers x 8 heads", PrepareStep,
       kStepHeads * (kState + static_cast<int64_t>(sizeof(StepAction))), 0,
       3 * kLaunch + static_cast<double>(kStepHeads) / 1024 * kScanRound},
      {"pages: frames to pages, 8192 tokens of a layer", PrepareImport, LayOut(kImportChunks).moved, 0, 2 * kLaunch},
      {"pages: release of a sequence, 32 layers x 8 heads x 150 pages", PrepareRelease,
       int64_t{32} * kKvHeads * (int64_t{8} * kHeldPages + 2 * kState), 0, 2 * kLaunch}};
}
const KernelCases kPages(&PagesCases);

}  // namespace
}  // namespace decant
