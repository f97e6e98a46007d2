#ifndef DECANT_TESTS_GPU_ENGINE_ALLOCATION_COUNTER_H_
#define DECANT_TESTS_GPU_ENGINE_ALLOCATION_COUNTER_H_

#include <cstdint>

namespace decant {

// Calls of operator new by any thread of a binary that links this.
int64_t AllocationsSoFar();

}  // namespace decant

#endif  // DECANT_TESTS_GPU_ENGINE_ALLOCATION_COUNTER_H_
