// PyramidKV (arXiv 2406.02069; Zefan-Cai/KVCache-Factory pyramidkv_utils.py): more budget in lower layers, the same
// formula for every request.
#ifndef DECANT_COMMON_COMPRESS_ALLOCATE_PYRAMID_H_
#define DECANT_COMMON_COMPRESS_ALLOCATE_PYRAMID_H_

#include <cstdint>
#include <vector>

namespace decant {

struct PyramidBudget {
  int32_t cap = 0;     // tokens per layer on average, window included
  int32_t window = 0;  // kept in every layer, besides the budget below
  int32_t beta = 20;   // the top layer gets 1 / beta of the average
};

// Past tokens (the window not counted) that each of `layers` layers keeps of a prompt of `tokens`. All of them below
// `cap`; cap - window in every layer while the prompt is shorter than twice that; otherwise a line from the bottom
// layer down to the top one. A cap below the window keeps the window alone. REQUIRES: layers > 0, beta > 0, nothing
// negative.
//
// PyramidLayers is the released code to the integer, whose rounding keeps about 4 % more than cap at cap 128.
// PyramidLayersExact rounds so that the layers sum to layers * (cap - window).
std::vector<int32_t> PyramidLayers(const PyramidBudget& budget, int32_t layers, int32_t tokens);
std::vector<int32_t> PyramidLayersExact(const PyramidBudget& budget, int32_t layers, int32_t tokens);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ALLOCATE_PYRAMID_H_
