#ifndef DECANT_GPU_KERNELS_NN_ROW_PARTS_H_
#define DECANT_GPU_KERNELS_NN_ROW_PARTS_H_

#include <algorithm>
#include <cstdint>
#include <functional>

#include "gpu/device/device.h"

namespace decant {

// body(first, last) over parts of [0, rows), each large enough that waking a thread pays: few rows stay on one thread.
template <typename Body>
void ForRowParts(Device& device, int32_t rows, int64_t row_elements, const Body& body) {
  constexpr int64_t kPartElements = 16384;
  const auto part =
      static_cast<int32_t>(std::clamp<int64_t>(kPartElements / std::max<int64_t>(row_elements, 1), 1, 256));
  const auto run = [&](int64_t index, int) {
    const int32_t first = static_cast<int32_t>(index) * part;
    body(first, std::min(rows, first + part));
  };
  // By reference: a decode step allocates nothing.
  device.ParallelFor((rows + part - 1) / part, std::cref(run));
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_ROW_PARTS_H_
