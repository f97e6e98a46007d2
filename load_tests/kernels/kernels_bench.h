// The two ways of looking at the cases: what they move on the launcher, and how long they take on a GPU.
#ifndef DECANT_LOAD_TESTS_KERNELS_KERNELS_BENCH_H_
#define DECANT_LOAD_TESTS_KERNELS_KERNELS_BENCH_H_

#include "load_tests/support/report.h"

namespace decant {

// What a GPU is taken for where there is none: an H200.
inline constexpr double kMemoryBytesPerSecond = 4.3e12;
inline constexpr double kOperationsPerSecond = 790e12;

// Exit status of a bench that found no GPU.
inline constexpr int kNoGpu = 77;

// Each is defined in the file that its binary is made with; returns main's exit status.
int RunKernelsBench(const LoadTestFlags& flags);

}  // namespace decant

#endif  // DECANT_LOAD_TESTS_KERNELS_KERNELS_BENCH_H_
