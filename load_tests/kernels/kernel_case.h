// What kernels_bench measures. A room's cases are one file <room>_cases.cc with a KernelCases of its own at file scope;
// nothing else has to know it.
#ifndef DECANT_LOAD_TESTS_KERNELS_KERNEL_CASE_H_
#define DECANT_LOAD_TESTS_KERNELS_KERNEL_CASE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gpu/device/device.h"

namespace decant {

// An operation, or a chain of them, that is ready to be enqueued again and again.
struct KernelWork {
  std::shared_ptr<void> state;  // owns the memory
  std::function<void()> enqueue;
  std::function<void()> reset;  // enqueued before each measured pass; may be empty
  int64_t minimum_bytes = 0;    // what any algorithm has to read and write
  double operations = 0;        // multiplications and additions, where they could be what takes the time
};

struct KernelCase {
  std::string name;
  // Sets the work up on the stream's device: whole for a GPU, a part of the same shape for the launcher, where every
  // thread is a fiber.
  std::function<KernelWork(Stream& stream, bool whole)> prepare;
  // Of the whole.
  int64_t minimum_bytes = 0;
  double operations = 0;
  // Time that the chain's steps take one after the other, whatever their bytes: launches, and rounds of a single block.
  double latency_seconds = 0;
};

// Registers the cases that `list` returns.
class KernelCases {
 public:
  explicit KernelCases(std::vector<KernelCase> (*list)());
  static std::vector<KernelCase> All();  // by name
};

}  // namespace decant

#endif  // DECANT_LOAD_TESTS_KERNELS_KERNEL_CASE_H_
