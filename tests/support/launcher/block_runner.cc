#include "tests/support/launcher/block_runner.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "common/base/check.h"
#include "tests/support/launcher/fiber_pool.h"

namespace decant::launcher {

ThreadPlace place;

namespace {

constexpr int32_t kLanes = 32;
constexpr int32_t kMaxThreads = 1024;
constexpr size_t kMaxSharedBytes = size_t{227} << 10;  // of a block on sm_90
constexpr uint32_t kMaxGridYZ = 65535;
constexpr size_t kSharedAlignment = 128;

// Threads that meet. Values are kept by the parity of the generation: nobody reaches the generation after the next
// while somebody still reads this one, since that takes the reader too.
struct Barrier {
  uint32_t mask = 0;  // 0: the whole block
  int32_t arrived = 0;
  uint64_t generation = 0;
  const char* operation = "";
  uint64_t values[2][kLanes] = {};
  uint32_t lanes[2] = {0, 0};
  int32_t sum[2] = {0, 0};
};

// One barrier per mask that the warp's lanes have used: lanes under different masks never share a generation.
struct Warp {
  std::deque<Barrier> barriers;
  uint32_t live = 0;
};

struct Thread {
  uint3 index{0, 0, 0};
  int32_t lane = 0;
  int32_t warp = 0;
  Barrier* waits = nullptr;
  uint64_t generation = 0;  // of `waits` that it waits in
};

class BlockRunner {
 public:
  BlockRunner() : fibers_(&BlockRunner::RunThread) {}

  void Run(const LaunchRequest& request, const std::function<void()>& thread);

  void* dynamic_shared() { return shared_.get(); }
  Barrier& block_barrier() { return block_barrier_; }
  Warp& warp() { return warps_[static_cast<size_t>(Current().warp)]; }
  Barrier& WarpBarrier(uint32_t mask);
  // Waits until everybody of the barrier has come; returns the parity of the generation they met in.
  int Meet(Barrier& barrier, const char* operation);
  void Record(const void* address, int64_t bytes, int64_t alignment, bool write, const char* file, int line);

 private:
  static void RunThread(int32_t fiber);

  Thread& Current() { return threads_[static_cast<size_t>(current_)]; }
  // Lets everybody who came to the barrier go on; `warp` is that of one of them.
  void Open(Barrier& barrier, int32_t warp);
  int32_t Needed(const Thread& thread) const;
  bool CanGoOn(int32_t thread) const;
  void RunBlock();
  void RunWarp(int32_t warp);
  [[noreturn]] void Deadlock() const;
  [[noreturn]] void Die(const char* what) const;

  FiberPool fibers_;
  const LaunchRequest* request_ = nullptr;
  const std::function<void()>* body_ = nullptr;
  std::mt19937_64 random_;
  // Of exactly the bytes that the launch asked for: the address sanitiser sees what reaches past them.
  std::unique_ptr<char[], void (*)(char*)> shared_{
      nullptr, [](char* bytes) { ::operator delete[](bytes, std::align_val_t{kSharedAlignment}); }};
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  Barrier block_barrier_;
  int32_t live_ = 0;
  int32_t current_ = -1;
  int64_t progress_ = 0;
};

// One runner for the process: fibers and their stacks are kept, and kernels' static shared memory is one.
BlockRunner& Runner() {
  static BlockRunner runner;
  return runner;
}

std::mutex& LaunchMutex() {
  static std::mutex mutex;
  return mutex;
}

void BlockRunner::Die(const char* what) const {
  std::fprintf(stderr, "launcher: kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s\n", request_->kernel,
               place.block.x, place.block.y, place.block.z, place.thread.x, place.thread.y, place.thread.z, what);
  std::abort();
}

void BlockRunner::Deadlock() const {
  std::string waiting;
  std::string last;
  for (size_t i = 0; i < threads_.size(); ++i) {
    if (fibers_.Ended(static_cast<int32_t>(i))) continue;
    const std::string operation = threads_[i].waits->operation;
    if (operation != last) waiting += " " + std::to_string(i) + " at " + operation + ",";
    last = operation;
  }
  waiting.pop_back();
  std::fprintf(stderr, "launcher: kernel %s, block (%u, %u, %u): deadlock, threads from%s\n", request_->kernel,
               place.block.x, place.block.y, place.block.z, waiting.c_str());
  std::abort();
}

void BlockRunner::RunThread(int32_t fiber) {
  BlockRunner& runner = Runner();
  (*runner.body_)();
  Thread& self = runner.threads_[static_cast<size_t>(fiber)];
  --runner.live_;
  runner.warps_[static_cast<size_t>(self.warp)].live &= ~(1u << self.lane);
  ++runner.progress_;
}

int32_t BlockRunner::Needed(const Thread& thread) const {
  const uint32_t mask = thread.waits->mask;
  if (mask == 0) return live_;
  return std::popcount(mask & warps_[static_cast<size_t>(thread.warp)].live);
}

Barrier& BlockRunner::WarpBarrier(uint32_t mask) {
  if ((mask >> Current().lane & 1u) == 0) Die("a lane that is not in its own mask");
  Warp& warp = this->warp();
  for (Barrier& barrier : warp.barriers) {
    if (barrier.mask == mask) return barrier;
  }
  warp.barriers.emplace_back();
  warp.barriers.back().mask = mask;
  return warp.barriers.back();
}

int BlockRunner::Meet(Barrier& barrier, const char* operation) {
  if (barrier.arrived > 0 && std::strcmp(barrier.operation, operation) != 0) {
    Die((std::string(operation) + " while others of its mask wait at " + barrier.operation).c_str());
  }
  Thread& self = Current();
  self.waits = &barrier;
  self.generation = barrier.generation;
  barrier.operation = operation;
  ++barrier.arrived;
  ++progress_;
  const auto parity = static_cast<int>(barrier.generation & 1);
  while (barrier.generation == self.generation) {
    if (barrier.arrived >= Needed(self)) {
      Open(barrier, self.warp);
    } else {
      fibers_.Yield();
    }
  }
  self.waits = nullptr;
  return parity;
}

void BlockRunner::Open(Barrier& barrier, int32_t warp) {
  const uint32_t live = warps_[static_cast<size_t>(warp)].live;
  const auto parity = static_cast<int>(barrier.generation & 1);
  barrier.lanes[parity] = barrier.mask & live;
  barrier.sum[1 - parity] = 0;
  barrier.arrived = 0;
  ++barrier.generation;
  ++progress_;
  AccessRecorder* const recorder = request_->recorder;
  if (recorder == nullptr) return;
  if (barrier.mask != 0) {
    if (barrier.lanes[parity] == live) recorder->Converge(warp);
    return;
  }
  for (size_t w = 0; w < warps_.size(); ++w) recorder->Converge(static_cast<int32_t>(w));
}

bool BlockRunner::CanGoOn(int32_t index) const {
  if (fibers_.Ended(index)) return false;
  const Thread& thread = threads_[static_cast<size_t>(index)];
  return thread.waits == nullptr || thread.waits->generation != thread.generation ||
         thread.waits->arrived >= Needed(thread);
}

// Runs the warp's lanes in turn until none can go on.
void BlockRunner::RunWarp(int32_t warp) {
  const auto count = static_cast<int32_t>(threads_.size());
  for (bool ran = true; ran;) {
    ran = false;
    for (int32_t i = 0; i < kLanes; ++i) {
      const int32_t index = warp * kLanes + (request_->order == WarpOrder::kReverse ? kLanes - 1 - i : i);
      if (index >= count || !CanGoOn(index)) continue;
      current_ = index;
      place.thread = threads_[static_cast<size_t>(index)].index;
      place.lane = threads_[static_cast<size_t>(index)].lane;
      fibers_.Resume(index);
      ran = true;
    }
  }
}

void BlockRunner::RunBlock() {
  const dim3& size = request_->block;
  const auto count = static_cast<int32_t>(size.x * size.y * size.z);
  threads_.assign(static_cast<size_t>(count), Thread{});
  warps_.assign(static_cast<size_t>((count + kLanes - 1) / kLanes), Warp{});
  block_barrier_ = Barrier{};
  live_ = count;
  for (int32_t i = 0; i < count; ++i) {
    Thread& thread = threads_[static_cast<size_t>(i)];
    const auto linear = static_cast<unsigned>(i);
    thread.index = uint3{linear % size.x, linear / size.x % size.y, linear / size.x / size.y};
    thread.lane = i % kLanes;
    thread.warp = i / kLanes;
    warps_[static_cast<size_t>(thread.warp)].live |= 1u << thread.lane;
  }
  std::memset(shared_.get(), 0xff, request_->shared_bytes);
  fibers_.Start(count);

  std::vector<int32_t> order(warps_.size());
  std::iota(order.begin(), order.end(), 0);
  if (request_->order == WarpOrder::kReverse) std::reverse(order.begin(), order.end());
  while (live_ > 0) {
    if (request_->order == WarpOrder::kRandom) std::shuffle(order.begin(), order.end(), random_);
    const int64_t before = progress_;
    for (const int32_t warp : order) RunWarp(warp);
    if (progress_ == before) Deadlock();
  }
  if (request_->recorder != nullptr) request_->recorder->EndBlock();
}

void BlockRunner::Run(const LaunchRequest& request, const std::function<void()>& thread) {
  const dim3& grid = request.grid;
  const dim3& block = request.block;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  DECANT_CHECK_MSG(body_ == nullptr, "kernel %s is launched inside a kernel", request.kernel);
  DECANT_CHECK_MSG(block.x * block.y * block.z >= 1 && block.x * block.y * block.z <= kMaxThreads &&
                       grid.y <= kMaxGridYZ && grid.z <= kMaxGridYZ && request.shared_bytes <= kMaxSharedBytes,
                   "kernel %s: no device runs a grid of (%u, %u, %u), blocks of (%u, %u, %u), %zu bytes shared",
                   request.kernel, grid.x, grid.y, grid.z, block.x, block.y, block.z, request.shared_bytes);
  request_ = &request;
  body_ = &thread;
  random_.seed(request.seed);
  shared_.reset(static_cast<char*>(::operator new[](request.shared_bytes, std::align_val_t{kSharedAlignment})));
  place.block_size = block;
  place.grid_size = grid;
  if (request.recorder != nullptr) {
    request.recorder->BeginLaunch(request.kernel, static_cast<int32_t>(block.x * block.y * block.z),
                                  static_cast<int64_t>(request.shared_bytes));
  }
  std::vector<int64_t> order(static_cast<size_t>(grid.x) * grid.y * grid.z);
  std::iota(order.begin(), order.end(), int64_t{0});
  if (request.order == WarpOrder::kReverse) std::reverse(order.begin(), order.end());
  if (request.order == WarpOrder::kRandom) std::shuffle(order.begin(), order.end(), random_);
  for (const int64_t index : order) {
    const auto linear = static_cast<uint64_t>(index);
    place.block = uint3{static_cast<unsigned>(linear % grid.x), static_cast<unsigned>(linear / grid.x % grid.y),
                        static_cast<unsigned>(linear / grid.x / grid.y)};
    RunBlock();
  }
  if (request.recorder != nullptr) request.recorder->EndLaunch();
  body_ = nullptr;
  request_ = nullptr;
}

void BlockRunner::Record(const void* address, int64_t bytes, int64_t alignment, bool write, const char* file,
                         int line) {
  const auto at = reinterpret_cast<uintptr_t>(address);
  const auto begin = reinterpret_cast<uintptr_t>(request_->memory);
  if (at < begin || at + static_cast<uintptr_t>(bytes) > begin + static_cast<uintptr_t>(request_->memory_bytes)) {
    Die((std::string(file) + ":" + std::to_string(line) + " reaches " + std::to_string(bytes) +
         " bytes that are not the device's")
            .c_str());
  }
  if (at % static_cast<uintptr_t>(alignment) != 0) {
    Die((std::string(file) + ":" + std::to_string(line) + ": an access of " + std::to_string(bytes) +
         " bytes is not aligned to " + std::to_string(alignment))
            .c_str());
  }
  if (request_->recorder == nullptr) return;
  const Thread& self = Current();
  request_->recorder->Add(self.warp, self.lane, file, line, write, at, bytes);
}

}  // namespace

void RunLaunch(const LaunchRequest& request, const std::function<void()>& thread) {
  const std::lock_guard<std::mutex> lock(LaunchMutex());
  Runner().Run(request, thread);
}

void* DynamicShared() { return Runner().dynamic_shared(); }

void SyncBlock(const char* operation) { Runner().Meet(Runner().block_barrier(), operation); }

int32_t SumOverBlock(int32_t value, const char* operation) {
  Barrier& barrier = Runner().block_barrier();
  barrier.sum[barrier.generation & 1] += value;
  const int parity = Runner().Meet(barrier, operation);
  return barrier.sum[parity];
}

void SyncWarp(uint32_t mask) { Runner().Meet(Runner().WarpBarrier(mask), "__syncwarp"); }

Gathered GatherOverWarp(uint32_t mask, uint64_t value, const char* operation) {
  Barrier& barrier = Runner().WarpBarrier(mask);
  barrier.values[barrier.generation & 1][place.lane] = value;
  const int parity = Runner().Meet(barrier, operation);
  return Gathered{barrier.values[parity], barrier.lanes[parity]};
}

uint32_t LiveLanes() { return Runner().warp().live; }

void RecordAccess(const void* address, int64_t bytes, int64_t alignment, bool write, const char* file, int line) {
  Runner().Record(address, bytes, alignment, write, file, line);
}

}  // namespace decant::launcher
