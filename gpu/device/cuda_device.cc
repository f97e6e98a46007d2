// One cudaMalloc at the start, an arena over it, and streams. Buffers, streams and events may be used from any thread;
// CUDA's current device is a matter of the thread, so that every call that needs it sets it.
#include "gpu/device/cuda_device.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "gpu/device/cuda_stream.h"
#include "gpu/device/free_ranges.h"

namespace decant {
namespace {

constexpr int64_t kBufferAlignment = 256;  // that of cudaMalloc
// Pinned staging of a stream: large enough that one chunk's transfer hides the copy into the next, small enough that a
// dozen streams of a worker pin little.
constexpr int64_t kStagingChunk = int64_t{1} << 20;
constexpr int kStagingChunks = 8;

class CudaEvent final : public Event {
 public:
  explicit CudaEvent(cudaStream_t stream) {
    RequireCuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreate");
    RequireCuda(cudaEventRecord(event_, stream), "cudaEventRecord");
  }
  ~CudaEvent() override { RequireCuda(cudaEventDestroy(event_), "cudaEventDestroy"); }

  bool Ready() const override {
    const cudaError_t state = cudaEventQuery(event_);
    if (state == cudaErrorNotReady) return false;
    RequireCuda(state, "work before an event");
    return true;
  }
  absl::Status Wait() override {
    RequireCuda(cudaEventSynchronize(event_), "work before an event");
    return absl::OkStatus();
  }

 private:
  cudaEvent_t event_ = nullptr;
};

// Chunks of pinned memory, used in turn; each waits for the transfer that used it last.
class Staging {
 public:
  ~Staging() {
    for (Chunk& chunk : chunks_) {
      if (chunk.event != nullptr) RequireCuda(cudaEventDestroy(chunk.event), "cudaEventDestroy");
    }
    if (memory_ != nullptr) RequireCuda(cudaFreeHost(memory_), "cudaFreeHost");
  }

  void Copy(cudaStream_t stream, void* destination, const void* source, int64_t bytes) {
    if (memory_ == nullptr) Open();
    for (int64_t done = 0; done < bytes; done += kStagingChunk) {
      Chunk& chunk = chunks_[static_cast<size_t>(next_++ % kStagingChunks)];
      RequireCuda(cudaEventSynchronize(chunk.event), "a transfer from staging");
      const auto part = static_cast<size_t>(std::min(bytes - done, kStagingChunk));
      std::memcpy(chunk.memory, static_cast<const char*>(source) + done, part);
      RequireCuda(
          cudaMemcpyAsync(static_cast<char*>(destination) + done, chunk.memory, part, cudaMemcpyHostToDevice, stream),
          "a transfer from staging");
      RequireCuda(cudaEventRecord(chunk.event, stream), "cudaEventRecord");
    }
  }

 private:
  struct Chunk {
    char* memory = nullptr;
    cudaEvent_t event = nullptr;
  };

  void Open() {
    RequireCuda(cudaHostAlloc(&memory_, kStagingChunks * kStagingChunk, cudaHostAllocDefault), "pinned staging");
    for (size_t i = 0; i < chunks_.size(); ++i) {
      chunks_[i].memory = static_cast<char*>(memory_) + static_cast<int64_t>(i) * kStagingChunk;
      RequireCuda(cudaEventCreateWithFlags(&chunks_[i].event, cudaEventDisableTiming), "cudaEventCreate");
    }
  }

  void* memory_ = nullptr;  // taken with the first copy that needs it
  std::vector<Chunk> chunks_{kStagingChunks};
  int64_t next_ = 0;
};

class CudaGraph final : public Graph {
 public:
  CudaGraph(int ordinal, cudaStream_t stream, cudaGraphExec_t graph)
      : ordinal_(ordinal), stream_(stream), graph_(graph) {}
  ~CudaGraph() override { RequireCuda(cudaGraphExecDestroy(graph_), "cudaGraphExecDestroy"); }
  void Launch() override {
    RequireCuda(cudaSetDevice(ordinal_), "cudaSetDevice");
    RequireCuda(cudaGraphLaunch(graph_, stream_), "a graph");
  }

 private:
  const int ordinal_;
  const cudaStream_t stream_;
  const cudaGraphExec_t graph_;
};

class CudaStream final : public Stream {
 public:
  CudaStream(Device& device, int ordinal) : device_(device), ordinal_(ordinal) {
    Activate();
    // Work of one stream never waits for the default stream.
    RequireCuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  }
  ~CudaStream() override {
    Activate();
    RequireCuda(cudaStreamSynchronize(stream_), "the work of a stream");
    RequireCuda(cudaStreamDestroy(stream_), "cudaStreamDestroy");
  }

  Device& device() override { return device_; }
  void Copy(void* destination, const void* source, int64_t bytes) override {
    if (bytes == 0) return;
    Activate();
    if (IsPageable(source) && !IsPageable(destination)) {
      staging_.Copy(stream_, destination, source, bytes);
      return;
    }
    RequireCuda(cudaMemcpyAsync(destination, source, static_cast<size_t>(bytes), cudaMemcpyDefault, stream_), "a copy");
  }
  void Fill(void* destination, int value, int64_t bytes) override {
    if (bytes == 0) return;
    Activate();
    RequireCuda(cudaMemsetAsync(destination, value, static_cast<size_t>(bytes), stream_), "a fill");
  }
  std::unique_ptr<Event> Record() override {
    Activate();
    return std::make_unique<CudaEvent>(stream_);
  }
  absl::Status Synchronize() override {
    Activate();
    RequireCuda(cudaStreamSynchronize(stream_), "the work of a stream");
    return absl::OkStatus();
  }

  std::unique_ptr<Graph> Capture(const std::function<void()>& work) {
    Activate();
    // Other threads go on with their streams meanwhile.
    RequireCuda(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    work();
    cudaGraph_t graph = nullptr;
    RequireCuda(cudaStreamEndCapture(stream_, &graph), "cudaStreamEndCapture");
    cudaGraphExec_t executable = nullptr;
    RequireCuda(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
    RequireCuda(cudaGraphDestroy(graph), "cudaGraphDestroy");
    return std::make_unique<CudaGraph>(ordinal_, stream_, executable);
  }

  cudaStream_t handle() {
    Activate();
    return stream_;
  }

 private:
  void Activate() const { RequireCuda(cudaSetDevice(ordinal_), "cudaSetDevice"); }
  static bool IsPageable(const void* address) {
    cudaPointerAttributes attributes;
    RequireCuda(cudaPointerGetAttributes(&attributes, address), "cudaPointerGetAttributes");
    return attributes.type == cudaMemoryTypeUnregistered;
  }

  Device& device_;
  const int ordinal_;
  cudaStream_t stream_ = nullptr;
  Staging staging_;
};

class CudaDevice final : public Device {
 public:
  CudaDevice(int ordinal, std::string name, void* arena, int64_t bytes)
      : ordinal_(ordinal), name_(std::move(name)), arena_(static_cast<char*>(arena)), free_(bytes, kBufferAlignment) {}
  ~CudaDevice() override {
    DECANT_CHECK_MSG(allocated_ == 0, "%lld bytes in use", static_cast<long long>(allocated_));
    RequireCuda(cudaSetDevice(ordinal_), "cudaSetDevice");
    RequireCuda(cudaFree(arena_), "cudaFree");
  }

  DeviceKind kind() const override { return DeviceKind::kCuda; }
  std::string name() const override { return name_; }
  absl::StatusOr<Buffer> Allocate(int64_t bytes) override {
    if (bytes < 0) return absl::InvalidArgumentError(absl::StrCat("cannot allocate ", bytes, " bytes"));
    if (bytes == 0) return Buffer();
    const std::lock_guard<std::mutex> lock(mutex_);
    const int64_t offset = free_.Take(bytes);
    if (offset < 0) {
      return absl::ResourceExhaustedError(absl::StrCat(name_, ": asked for ", bytes, " bytes, ", free_.free_bytes(),
                                                       " are free, ", free_.largest(),
                                                       " in one piece; use a smaller model or a larger budget"));
    }
    allocated_ += bytes;
    return Buffer(this, arena_ + offset, bytes);
  }
  std::unique_ptr<Stream> NewStream() override { return std::make_unique<CudaStream>(*this, ordinal_); }
  int64_t allocated_bytes() const override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return allocated_;
  }
  int threads() const override { return 1; }
  void ParallelFor(int64_t, const std::function<void(int64_t, int)>&) override {
    DECANT_CHECK_MSG(false, "a host loop on device %s", name_.c_str());
  }

 protected:
  // Work that still uses the buffer was enqueued before; a new owner's work on another stream is not ordered behind it,
  // so that memory changes hands only when the device is done with it.
  void Free(void* address, int64_t bytes) override {
    RequireCuda(cudaSetDevice(ordinal_), "cudaSetDevice");
    RequireCuda(cudaDeviceSynchronize(), "the work of the device");
    const std::lock_guard<std::mutex> lock(mutex_);
    allocated_ -= bytes;
    free_.Give(static_cast<char*>(address) - arena_, bytes);
  }

 private:
  const int ordinal_;
  const std::string name_;
  char* const arena_;
  mutable std::mutex mutex_;  // guards what follows
  FreeRanges free_;
  int64_t allocated_ = 0;
};

}  // namespace

void RequireCuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "cuda: %s failed: %s (%d, %s)\n", what, cudaGetErrorString(error), static_cast<int>(error),
               cudaGetErrorName(error));
  std::abort();
}

cudaStream_t CudaStreamOf(Stream& stream) {
  auto* const cuda = dynamic_cast<CudaStream*>(&stream);
  DECANT_CHECK_MSG(cuda != nullptr, "a kernel on device %s", stream.device().name().c_str());
  return cuda->handle();
}

std::unique_ptr<Graph> CaptureCudaGraph(Stream& stream, const std::function<void()>& work) {
  auto* const cuda = dynamic_cast<CudaStream*>(&stream);
  return cuda != nullptr ? cuda->Capture(work) : nullptr;
}

absl::StatusOr<int> CudaDeviceCount() {
  int count = 0;  // without a driver the call leaves it as it is
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess) return count;
  cudaGetLastError();  // not to be found by the next call
  return absl::NotFoundError(absl::StrCat("CUDA cannot be used: ", cudaGetErrorString(error), " (",
                                          static_cast<int>(error), ", ", cudaGetErrorName(error), ")"));
}

absl::StatusOr<std::unique_ptr<Device>> CreateCudaDevice(int ordinal, const CudaDeviceOptions& options) {
  const absl::StatusOr<int> count = CudaDeviceCount();
  if (!count.ok()) return count.status();
  if (ordinal < 0 || ordinal >= *count) {
    return absl::NotFoundError(absl::StrCat("no GPU ", ordinal, ": there are ", *count));
  }
  RequireCuda(cudaSetDevice(ordinal), "cudaSetDevice");
  cudaDeviceProp properties;
  RequireCuda(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties");
  size_t free = 0;
  size_t total = 0;
  RequireCuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  const int64_t budget = options.budget_bytes > 0 ? options.budget_bytes : static_cast<int64_t>(free) / 10 * 9;
  const std::string name = absl::StrCat("cuda:", ordinal, " ", properties.name);
  void* arena = nullptr;
  const cudaError_t error = cudaMalloc(&arena, static_cast<size_t>(budget));
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return absl::ResourceExhaustedError(
        absl::StrCat(name, ": asked for a budget of ", budget, " bytes, ", free, " of ", total, " are free"));
  }
  RequireCuda(error, "cudaMalloc");
  return std::make_unique<CudaDevice>(ordinal, name, arena, budget);
}

}  // namespace decant
