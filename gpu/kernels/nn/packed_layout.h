// How the right-hand side of a matrix product lies in memory, for weights and for packed keys and values alike.
//
// B[depth, columns] is cut into panels of 64 columns. A panel holds depth rows (padded to kDepthStep) of 64 columns;
// with bf16 two consecutive depths lie beside each other in every column, as the processor's pairwise products want
// them. This is oneDNN's BA16a64b (f32) and BA16a64b2a (bf16); padding is zero.
#ifndef DECANT_GPU_KERNELS_NN_PACKED_LAYOUT_H_
#define DECANT_GPU_KERNELS_NN_PACKED_LAYOUT_H_

#include <cstdint>

#include "common/compress/profile.h"

namespace decant {

inline constexpr int32_t kPanelColumns = 64;

inline constexpr int32_t RunTypeBytes(RunType type) { return type == RunType::kBf16 ? 2 : 4; }
inline constexpr int32_t PackedPair(RunType type) { return type == RunType::kBf16 ? 2 : 1; }
inline constexpr int32_t PackedDepth(RunType type, int32_t depth) {
  const int32_t step = 16 * PackedPair(type);
  return (depth + step - 1) / step * step;
}
inline constexpr int32_t PackedPanels(int32_t columns) { return (columns + kPanelColumns - 1) / kPanelColumns; }

// Elements from one panel to the next.
inline constexpr int64_t PackedPanelElements(RunType type, int32_t depth) {
  return int64_t{kPanelColumns} * PackedDepth(type, depth);
}
inline constexpr int64_t PackedElements(RunType type, int32_t depth, int32_t columns) {
  return PackedPanels(columns) * PackedPanelElements(type, depth);
}
// Element of B[k, column] for a packed depth `depth`.
inline constexpr int64_t PackedIndex(RunType type, int32_t depth, int32_t k, int32_t column) {
  const int32_t pair = PackedPair(type);
  return column / kPanelColumns * PackedPanelElements(type, depth) + int64_t{k / pair} * pair * kPanelColumns +
         column % kPanelColumns * pair + k % pair;
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_PACKED_LAYOUT_H_
