// Fibers: functions that give up the processor and go on later, each on a stack of its own. One of them is one thread
// of a CUDA block on the launcher.
#ifndef DECANT_TESTS_SUPPORT_LAUNCHER_FIBER_POOL_H_
#define DECANT_TESTS_SUPPORT_LAUNCHER_FIBER_POOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace decant::launcher {

// Fibers and their stacks are kept from block to block. Not thread-safe: one OS thread at a time uses the pool, and it
// leaves no fiber in the middle of its body.
class FiberPool {
 public:
  using Body = void (*)(int32_t fiber);

  explicit FiberPool(Body body) : body_(body) {}
  ~FiberPool();
  FiberPool(const FiberPool&) = delete;
  FiberPool& operator=(const FiberPool&) = delete;

  // Makes fibers [0, count) ready to run their body from its beginning.
  void Start(int32_t count);
  // Runs the fiber until it yields or its body ends.
  void Resume(int32_t fiber);
  // Called in a fiber: back to who resumed it.
  void Yield();
  bool Ended(int32_t fiber) const { return fibers_[static_cast<size_t>(fiber)]->ended; }

 private:
  // What the sanitisers want to know of a stack; unused without them.
  struct Stack {
    void* pointer = nullptr;  // where its registers lie while it does not run
    const void* bottom = nullptr;
    size_t bytes = 0;
    void* fake_stack = nullptr;
    void* tsan_fiber = nullptr;
  };
  struct Fiber {
    Stack stack;
    bool ended = true;
  };

  static void Enter();
  void Add();
  void Switch(Stack& from, Stack& to, Stack* left);

  const Body body_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  Stack owner_;  // of who resumes
  int32_t running_ = -1;
};

}  // namespace decant::launcher

#endif  // DECANT_TESTS_SUPPORT_LAUNCHER_FIBER_POOL_H_
