// What is asked of the CUDA schedules beyond the cases that every device runs: the host's page ids whatever happens,
// one chain of launches and nothing else, and no more bytes than have to move.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "tests/gpu/kernels/pages/page_rig.h"
#include "tests/support/launcher/launcher_device.h"

namespace decant {
namespace {

using launcher::WarpOrder;

// A rig on the launcher whose device stays at hand.
struct LauncherRig {
  explicit LauncherRig(RigOptions options, WarpOrder order = WarpOrder::kForward, bool record = false) {
    options.device = [&](int64_t bytes) {
      LauncherOptions launcher_options;
      launcher_options.order = order;
      launcher_options.record = record;
      launcher_options.arena_bytes = bytes;
      auto created = CreateLauncherDevice(launcher_options);
      device = created.get();
      return created;
    };
    rig = std::make_unique<PageRig>(options);
  }

  LauncherDevice* device = nullptr;
  std::unique_ptr<PageRig> rig;
};

void ExpectSamePages(PageRig& host, PageRig& cuda, const RigOptions& options, uint64_t step) {
  ASSERT_EQ(host.FreeIds(), cuda.FreeIds()) << "step " << step;
  ASSERT_EQ(host.demoted(), cuda.demoted());
  ASSERT_EQ(host.dropped(), cuda.dropped());
  for (int32_t s = 0; s < options.sequences; ++s) {
    for (int32_t layer = 0; layer < options.geometry.layers; ++layer) {
      for (int32_t head = 0; head < options.geometry.kv_heads; ++head) {
        for (int32_t tier = 0; tier < kTierCount; ++tier) {
          ASSERT_EQ(host.PageIds(s, layer, head, tier), cuda.PageIds(s, layer, head, tier)) << "step " << step;
        }
        ASSERT_EQ(host.Action(s, layer, head).high_slot, cuda.Action(s, layer, head).high_slot);
        ASSERT_EQ(host.Action(s, layer, head).demote_to, cuda.Action(s, layer, head).demote_to);
      }
    }
  }
}

// Growth, steps and releases drawn at random, with a ring that often has too little.
TEST(PageKernelsTest, PagesAreThoseOfTheHost) {
  RigOptions options;
  options.geometry = Geometry{2, 3, 3, 8};
  options.sequences = 3;
  options.page_count = 90;
  options.capacity = 9;
  options.fixed = FormatId::kFullBf16;
  options.tail = FormatId::kFullF32;
  for (const WarpOrder order : {WarpOrder::kForward, WarpOrder::kReverse, WarpOrder::kRandom}) {
    PageRig host(options);
    LauncherRig cuda(options, order);
    int errors = 0;
    for (uint64_t step = 0; step < 120; ++step) {
      const auto s = static_cast<int32_t>(MixBits(1, step) % 3);
      std::vector<int32_t> growth(12);
      for (size_t i = 0; i < growth.size(); ++i) {
        growth[i] = static_cast<int32_t>(MixBits(2, step * 16 + i) % 5 == 0 ? MixBits(3, step * 16 + i) % 60 : 0);
      }
      const auto layer = static_cast<int32_t>(MixBits(5, step) % 2);
      for (PageRig* rig : {&host, cuda.rig.get()}) {
        switch (MixBits(4, step) % 8) {
          case 0:
            rig->Release(s);
            break;
          case 1:
          case 2:
            rig->Plan();
            rig->Append(1.0f);
            rig->Advance();
            break;
          default:
            rig->Grow(s, layer, growth);
        }
      }
      const bool error = host.TookError();
      ASSERT_EQ(cuda.rig->TookError(), error) << "step " << step;
      errors += error ? 1 : 0;
      ExpectSamePages(host, *cuda.rig, options, step);
      if (HasFatalFailure()) return;
    }
    EXPECT_GT(errors, 3);
  }
}

// Behind a reused prefix, whose queries left no scores, what the lanes tell one another says too that a token may not
// be given up yet.
TEST(PageKernelsTest, AShortSuffixGivesUpWhatTheHostWould) {
  RigOptions options;
  options.geometry = Geometry{1, 2, 2, 8};
  options.policy = OnlinePolicy::kDiffKvPaper;
  options.alpha_high = 8;
  options.alpha_low = 4;
  options.window = 4;
  options.first_query = 40;
  PageRig host(options);
  LauncherRig cuda(options);
  for (int32_t n = 0; n < 60; ++n) {
    for (PageRig* rig : {&host, cuda.rig.get()}) {
      rig->Plan();
      rig->Append(1.0f);
      for (int32_t head = 0; head < 2; ++head) {
        rig->AddScores(0, 0, head, [](int32_t position) { return position < 40 ? 0.0f : 8.0f; });
      }
      rig->Advance();
    }
    ExpectSamePages(host, *cuda.rig, options, static_cast<uint64_t>(n));
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(host.demoted(), 0);
}

// More heads than a block of the scan takes at once, and enough that a head is one warp's; the ring ends in the middle.
TEST(PageKernelsTest, ManyHeadsAndTooFewPages) {
  for (const int32_t pages : {4100, 4096, 3000, 1024, 1}) {
    RigOptions options;
    options.geometry = Geometry{64, 16, 16, 8};
    options.sequences = 4;
    options.page_count = pages;
    options.capacity = 2;
    PageRig host(options);
    LauncherRig cuda(options);
    host.Plan();
    cuda.rig->Plan();
    EXPECT_EQ(host.TookError(), pages < 4096);
    EXPECT_EQ(cuda.rig->TookError(), pages < 4096);
    ExpectSamePages(host, *cuda.rig, options, static_cast<uint64_t>(pages));
    if (HasFatalFailure()) return;
  }
}

// D7: the released code synchronised three to four times a layer and read lengths back on the host. D10: it compared
// the outputs of all ranks on every step, which takes a copy and a wait.
TEST(PageKernelsTest, D7AndD10AChainOfLaunchesAndNothingElse) {
  RigOptions options;
  options.geometry = Geometry{2, 2, 2, 8};
  options.sequences = 2;
  options.policy = OnlinePolicy::kDiffKvPaper;
  LauncherRig cuda(options);
  PageRig& rig = *cuda.rig;
  const auto launches = [&](const std::function<void()>& operation) {
    const LauncherDevice::Calls before = cuda.device->calls();
    operation();
    const LauncherDevice::Calls after = cuda.device->calls();
    EXPECT_EQ(after.allocations, before.allocations);
    EXPECT_EQ(after.copies, before.copies);
    EXPECT_EQ(after.waits, before.waits);
    return after.launches - before.launches;
  };
  EXPECT_EQ(launches([&] { rig.Plan(); }), 3);
  EXPECT_EQ(launches([&] { rig.Advance(); }), 1);
  EXPECT_EQ(launches([&] { rig.Release(1); }), 2);
  Stream& stream = rig.stream();
  EXPECT_EQ(launches([&] { ResetRing(stream, rig.ring()); }), 1);
}

// Chunks of Llama-3-8B's size: each byte is read and written once. Memory moves the sectors that are touched at all
// (the footprint). A frame's segments are aligned to 16 bytes, so that half of the 512-byte requests touch a 17th
// sector: between caches and processors more bytes go than there are in memory.
TEST(PageKernelsTest, ImportMovesWhatItMustAndNoMore) {
  constexpr int32_t kHeadDim = 128;
  constexpr int32_t kHeads = 8;
  for (const FormatId high : {FormatId::kK8V4, FormatId::kFullBf16, FormatId::kGroupK4V4}) {
    RigOptions options;
    options.geometry = Geometry{1, 32, kHeads, kHeadDim};
    options.high = high;
    const FormatId formats[] = {options.high, options.low};
    options.page_bytes = ChoosePageBytes(kHeadDim, formats, 2, 2048);
    options.page_count = 400;
    options.capacity = 50;
    LauncherRig cuda(options, WarpOrder::kForward, true);
    std::vector<ImportRun> runs;
    int64_t bytes = 0;
    int64_t moved = 0;
    const auto place = [&](int64_t segment) {
      const int64_t at = bytes;
      bytes += (segment + 15) / 16 * 16;
      moved += 2 * segment;
      return at;
    };
    for (int32_t chunk = 0; chunk < 4; ++chunk) {
      for (int32_t head = 0; head < kHeads; ++head) {
        for (const int32_t tier : {kHigh, kLow}) {
          const Format format = FormatOf(formats[tier]);
          ImportRun run;
          run.head = head;
          run.tier = tier;
          run.tokens = tier == kHigh ? 13 : 51;
          run.before = chunk * run.tokens;
          run.keys = place(run.tokens * VectorBytes(format.k, kHeadDim));
          run.key_meta = place(MetaSegmentBytes(format.k, kHeadDim, run.tokens));
          run.values = place(run.tokens * VectorBytes(format.v, kHeadDim));
          run.value_meta = place(MetaSegmentBytes(format.v, kHeadDim, run.tokens));
          if (format.tracked) moved += int64_t{8} * run.tokens;  // positions and scores are written
          runs.push_back(run);
        }
      }
    }
    cuda.device->recorder().Clear();
    cuda.rig->GrowAndImport(0, 0, std::string(static_cast<size_t>(bytes), 'x'), runs);
    launcher::AccessCounts counts;
    for (const auto& [kernel, of_kernel] : cuda.device->recorder().counts()) {
      if (kernel != "GrowRowsKernel") counts += of_kernel;
    }
    const auto sectors = static_cast<double>(counts.reads.sectors + counts.writes.sectors);
    const auto ideal = static_cast<double>(counts.reads.ideal_sectors + counts.writes.ideal_sectors);
    EXPECT_LE(sectors, 1.1 * ideal) << static_cast<int>(high);
    const auto footprint = static_cast<double>(counts.reads.footprint + counts.writes.footprint);
    EXPECT_LE(footprint, 1.1 * static_cast<double>(moved)) << static_cast<int>(high);
    EXPECT_LE(sectors * launcher::kSectorBytes, 1.2 * static_cast<double>(moved)) << static_cast<int>(high);
    EXPECT_EQ(counts.launches, 2);
    EXPECT_EQ(cuda.rig->Head(0, 0, 7).tokens[kLow], 4 * 51);
  }
}

}  // namespace
}  // namespace decant
