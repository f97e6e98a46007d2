// A host device that behaves towards its user as a GPU does: its memory faults when touched outside operations and
// copies. What passes on it dereferences no device address.
#ifndef DECANT_TESTS_SUPPORT_TEST_DEVICE_H_
#define DECANT_TESTS_SUPPORT_TEST_DEVICE_H_

#include <cstdint>
#include <memory>

#include "gpu/device/device.h"

namespace decant {

// Memory comes from one arena of `arena_bytes` (reserved, not resident) that is inaccessible except while a HostAccess
// lives or a stream copies or fills. New memory is filled with bytes 0xA5, so that nobody counts on zeros. Allocate
// answers RESOURCE_EXHAUSTED when the arena is full. Thread-safe.
std::unique_ptr<Device> CreateTestDevice(int threads, int64_t arena_bytes = int64_t{1} << 30);

}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_TEST_DEVICE_H_
