#include "tests/support/launcher/fiber_pool.h"

#include <sys/mman.h>

#include "common/base/check.h"

#if defined(__has_feature)
#define DECANT_HAS_FEATURE(x) __has_feature(x)
#else
#define DECANT_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || DECANT_HAS_FEATURE(address_sanitizer)
#include <sanitizer/common_interface_defs.h>
#define DECANT_FIBERS_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__) || DECANT_HAS_FEATURE(thread_sanitizer)
#include <sanitizer/tsan_interface.h>
#define DECANT_FIBERS_TSAN 1
#endif

namespace decant::launcher {
namespace {

// Reserved, not resident: a kernel's frames are small, those of an instrumented build are not.
constexpr size_t kStackBytes = size_t{256} << 10;
constexpr size_t kGuardBytes = 4096;
constexpr int kSavedRegisters = 6;

// The pool that Enter belongs to; set around every first run of a fiber.
FiberPool* entering = nullptr;

}  // namespace

#if defined(__x86_64__)
// Saves what a function must keep on the running stack, leaves that stack's pointer in *from and goes on on `to`.
extern "C" void decant_switch_stack(void** from, void* to);
__asm__(R"(
.pushsection .text
.type decant_switch_stack,@function
decant_switch_stack:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size decant_switch_stack,.-decant_switch_stack
.popsection
)");
#else
#error "the launcher's stack switch is written for x86-64 only"
#endif

FiberPool::~FiberPool() {
  for (const auto& fiber : fibers_) {
#if defined(DECANT_FIBERS_TSAN)
    __tsan_destroy_fiber(fiber->stack.tsan_fiber);
#endif
    munmap(const_cast<void*>(fiber->stack.bottom), fiber->stack.bytes);
  }
}

void FiberPool::Add() {
  auto fiber = std::make_unique<Fiber>();
  void* const memory =
      mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  DECANT_CHECK(memory != MAP_FAILED);
  DECANT_CHECK(mprotect(memory, kGuardBytes, PROT_NONE) == 0);
  // A first switch pops the registers and returns into Enter, whose own return address is 0.
  auto* top = reinterpret_cast<uintptr_t*>(static_cast<char*>(memory) + kStackBytes);
  *--top = 0;
  *--top = reinterpret_cast<uintptr_t>(&FiberPool::Enter);
  for (int i = 0; i < kSavedRegisters; ++i) *--top = 0;
  fiber->stack = Stack{top, memory, kStackBytes, nullptr, nullptr};
#if defined(DECANT_FIBERS_TSAN)
  fiber->stack.tsan_fiber = __tsan_create_fiber(0);
#endif
  fibers_.push_back(std::move(fiber));
}

void FiberPool::Start(int32_t count) {
  while (static_cast<int32_t>(fibers_.size()) < count) Add();
  for (int32_t i = 0; i < count; ++i) {
    DECANT_CHECK(fibers_[static_cast<size_t>(i)]->ended);
    fibers_[static_cast<size_t>(i)]->ended = false;
  }
}

// `left`, when there is one, learns whose stack was left for the one that goes on here.
void FiberPool::Switch([[maybe_unused]] Stack& from, Stack& to, [[maybe_unused]] Stack* left) {
#if defined(DECANT_FIBERS_ASAN)
  __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.bytes);
#endif
#if defined(DECANT_FIBERS_TSAN)
  __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
  decant_switch_stack(&from.pointer, to.pointer);
#if defined(DECANT_FIBERS_ASAN)
  __sanitizer_finish_switch_fiber(from.fake_stack, left ? &left->bottom : nullptr, left ? &left->bytes : nullptr);
#endif
}

void FiberPool::Resume(int32_t fiber) {
#if defined(DECANT_FIBERS_TSAN)
  owner_.tsan_fiber = __tsan_get_current_fiber();
#endif
  running_ = fiber;
  entering = this;
  Switch(owner_, fibers_[static_cast<size_t>(fiber)]->stack, nullptr);
  running_ = -1;
}

// The next to resume may be another OS thread.
void FiberPool::Yield() { Switch(fibers_[static_cast<size_t>(running_)]->stack, owner_, &owner_); }

void FiberPool::Enter() {
  FiberPool& pool = *entering;
#if defined(DECANT_FIBERS_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &pool.owner_.bottom, &pool.owner_.bytes);
#endif
  Fiber& self = *pool.fibers_[static_cast<size_t>(pool.running_)];
  while (true) {
    pool.body_(pool.running_);
    self.ended = true;
    pool.Yield();
  }
}

}  // namespace decant::launcher
