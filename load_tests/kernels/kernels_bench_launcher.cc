// Without a GPU: bytes and sectors that the launcher counts, registers and occupancy that ptxas reported, and the time
// that bytes and operations take at the figures of kernels_bench.h: what the first run on a GPU is compared with.
#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "load_tests/kernels/kernel_case.h"
#include "load_tests/kernels/kernel_resources.h"
#include "load_tests/kernels/kernels_bench.h"
#include "tests/support/launcher/launcher_device.h"

namespace decant {
namespace {

void ReportKernels(const std::string& name, const launcher::AccessRecorder& recorder,
                   const std::map<std::string, KernelResources>& resources, Report& report) {
  for (const auto& [launch, counts] : recorder.counts()) {
    const std::string kernel = KernelNameOf(launch);
    const auto found = resources.find(kernel);
    if (found == resources.end()) continue;
    report.Add(absl::StrCat(name, " ", kernel, " registers"), found->second.registers, "");
    report.Add(absl::StrCat(name, " ", kernel, " occupancy"),
               Occupancy(found->second, counts.block_threads, counts.shared_bytes), "");
  }
}

void RunCase(const KernelCase& kernel_case, const std::map<std::string, KernelResources>& resources, Report& report) {
  LauncherOptions options;
  options.record = true;
  options.arena_bytes = int64_t{2} << 30;
  const auto device = CreateLauncherDevice(options);
  const auto stream = device->NewStream();
  const KernelWork work = kernel_case.prepare(*stream, false);
  if (work.reset) work.reset();
  device->recorder().Clear();
  work.enqueue();
  const launcher::AccessCounts counts = device->recorder().Total();
  const auto minimum = static_cast<double>(work.minimum_bytes);
  // Memory moves the sectors of a launch's footprint, the caches those of every request.
  const auto moved = static_cast<double>(counts.reads.footprint + counts.writes.footprint);
  const auto requested = static_cast<double>(counts.reads.moved_bytes() + counts.writes.moved_bytes());
  const double ratio = moved / minimum;
  const auto sectors = static_cast<double>(counts.reads.sectors + counts.writes.sectors);
  const auto ideal = static_cast<double>(counts.reads.ideal_sectors + counts.writes.ideal_sectors);
  const std::string& name = kernel_case.name;
  report.Add(absl::StrCat(name, " launches"), static_cast<double>(counts.launches), "");
  report.Add(absl::StrCat(name, " moved bytes"), moved, "B", minimum, ratio);
  report.Add(absl::StrCat(name, " requested bytes"), requested, "B", minimum, requested / minimum);
  report.Add(absl::StrCat(name, " sectors"), sectors, "", ideal, sectors / ideal);
  ReportKernels(name, device->recorder(), resources, report);
  const double bytes = static_cast<double>(kernel_case.minimum_bytes) * ratio;
  const double seconds = kernel_case.latency_seconds +
                         std::max(bytes / kMemoryBytesPerSecond, kernel_case.operations / kOperationsPerSecond);
  report.Add(absl::StrCat(name, " whole, implied"), seconds * 1e6, "us");
}

}  // namespace

int RunKernelsBench(const LoadTestFlags& flags) {
  const auto resources = ReadKernelResources(DECANT_BINARY_DIR);
  if (resources.empty()) std::printf("no CUDA compiler in this build: registers and occupancy are left out\n");
  Report report(flags);
  for (const KernelCase& kernel_case : KernelCases::All()) RunCase(kernel_case, resources, report);
  return report.Finish();
}

}  // namespace decant
