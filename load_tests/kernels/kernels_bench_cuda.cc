// On a GPU: every case captured as a graph and launched again and again, the second-level cache scrubbed before each
// pass, timed by events; beside it what a copy on the device reaches in the same rounds.
#include <cuda_runtime_api.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "gpu/device/cuda_device.h"
#include "gpu/device/cuda_stream.h"
#include "load_tests/kernels/kernel_case.h"
#include "load_tests/kernels/kernels_bench.h"

namespace decant {
namespace {

constexpr int kRounds = 21;
constexpr int64_t kScrubBytes = int64_t{256} << 20;  // several times the second-level cache
constexpr int64_t kCopyBytes = int64_t{1} << 30;

class GraphTimer {
 public:
  GraphTimer(Stream& stream, const Buffer& scrub) : stream_(stream), scrub_(scrub) {
    RequireCuda(cudaEventCreate(&begin_), "cudaEventCreate");
    RequireCuda(cudaEventCreate(&end_), "cudaEventCreate");
  }
  ~GraphTimer() {
    RequireCuda(cudaEventDestroy(begin_), "cudaEventDestroy");
    RequireCuda(cudaEventDestroy(end_), "cudaEventDestroy");
  }

  // Also proves that the chain can be captured: it reads no device value and allocates nothing.
  cudaGraphExec_t Capture(const std::function<void()>& enqueue) {
    const cudaStream_t stream = CudaStreamOf(stream_);
    RequireCuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "the begin of a capture");
    enqueue();
    cudaGraph_t graph = nullptr;
    RequireCuda(cudaStreamEndCapture(stream, &graph), "a capture");
    cudaGraphExec_t executable = nullptr;
    RequireCuda(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
    RequireCuda(cudaGraphDestroy(graph), "cudaGraphDestroy");
    return executable;
  }

  double Seconds(cudaGraphExec_t graph, const std::function<void()>& reset) {
    const cudaStream_t stream = CudaStreamOf(stream_);
    if (reset) reset();
    stream_.Fill(scrub_.As<void>(), 0, scrub_.bytes());
    RequireCuda(cudaEventRecord(begin_, stream), "cudaEventRecord");
    RequireCuda(cudaGraphLaunch(graph, stream), "cudaGraphLaunch");
    RequireCuda(cudaEventRecord(end_, stream), "cudaEventRecord");
    RequireCuda(cudaEventSynchronize(end_), "a measured pass");
    float milliseconds = 0;
    RequireCuda(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    return double{milliseconds} * 1e-3;
  }

 private:
  Stream& stream_;
  const Buffer& scrub_;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

void RunCase(const KernelCase& kernel_case, int rounds, GraphTimer& timer, Stream& stream, cudaGraphExec_t copy,
             Report& report) {
  const KernelWork work = kernel_case.prepare(stream, true);
  const cudaGraphExec_t graph = timer.Capture(work.enqueue);
  for (int i = 0; i < 2; ++i) timer.Seconds(graph, work.reset);
  const auto seconds = InterleavedRounds(
      rounds, {[&] { return timer.Seconds(graph, work.reset); }, [&] { return timer.Seconds(copy, nullptr); }});
  const double median = Median(seconds[0]);
  const double rate = static_cast<double>(work.minimum_bytes) / median;
  const double copy_rate = 2.0 * kCopyBytes / Median(seconds[1]);
  report.Add(absl::StrCat(kernel_case.name, " time"), median * 1e6, "us");
  report.Add(absl::StrCat(kernel_case.name, " bandwidth"), rate * 1e-9, "GB/s", copy_rate * 1e-9);
  if (work.operations > 0) {
    report.Add(absl::StrCat(kernel_case.name, " operations"), work.operations / median * 1e-12, "TFLOP/s");
  }
  RequireCuda(cudaGraphExecDestroy(graph), "cudaGraphExecDestroy");
}

}  // namespace

int RunKernelsBench(const LoadTestFlags& flags) {
  auto device = CreateCudaDevice(0);
  if (!device.ok()) {
    std::printf("%s\n", std::string(device.status().message()).c_str());
    return kNoGpu;
  }
  const auto stream = (*device)->NewStream();
  const Buffer scrub = (*device)->Allocate(kScrubBytes).value();
  const Buffer copies = (*device)->Allocate(2 * kCopyBytes).value();
  GraphTimer timer(*stream, scrub);
  const cudaGraphExec_t copy =
      timer.Capture([&] { stream->Copy(copies.As<void>(kCopyBytes), copies.As<void>(), kCopyBytes); });
  std::printf("device: %s\n", (*device)->name().c_str());
  Report report(flags);
  for (const KernelCase& kernel_case : KernelCases::All()) {
    RunCase(kernel_case, flags.quick ? 5 : kRounds, timer, *stream, copy, report);
  }
  RequireCuda(cudaGraphExecDestroy(copy), "cudaGraphExecDestroy");
  return report.Finish();
}

}  // namespace decant
