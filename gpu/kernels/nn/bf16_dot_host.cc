#include <algorithm>

#include "common/base/check.h"
#include "gpu/kernels/nn/packed_layout.h"
#include "gpu/kernels/nn/product_host.h"

// The portable product's twin for processors with bf16 dot products, which Highway 1.0 does not reach. It adds in the
// order of oneDNN's kernels, so that a row's result does not depend on how many rows are computed with it.
#if defined(__x86_64__)
#include <immintrin.h>

namespace decant {
namespace {

// Bytes ahead of the read position: some memory latencies at full bandwidth.
constexpr int64_t kPrefetchBytes = 8192;

template <int kRows>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) void DotPanel(const Product& p, const uint16_t* a,
                                                                              const uint16_t* b, float* c,
                                                                              int32_t columns) {
  __m512 totals[kRows][4];
  __m512 sums[kRows][4];
  for (int32_t begin = 0; begin < p.depth; begin += SumDepth(p.depth)) {
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < 4; ++v) sums[r][v] = _mm512_setzero_ps();
    }
    const int32_t end = std::min(p.depth, begin + SumDepth(p.depth));
    for (int32_t k = begin; k < end; k += 2) {
      const uint16_t* line = b + static_cast<int64_t>(k) * kPanelColumns;
      __m512bh pair[kRows];
      for (int r = 0; r < kRows; ++r) {
        const uint16_t* row = a + static_cast<int64_t>(r) * p.depth + k;
        const uint32_t high = k + 1 < p.depth ? row[1] : 0;
        pair[r] = (__m512bh)_mm512_set1_epi32(static_cast<int>(high << 16 | row[0]));
      }
      for (int v = 0; v < 4; ++v) {
        _mm_prefetch(reinterpret_cast<const char*>(line + v * 32) + kPrefetchBytes, _MM_HINT_T0);
        const __m512bh column = (__m512bh)_mm512_loadu_si512(line + v * 32);
        for (int r = 0; r < kRows; ++r) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], pair[r], column);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < 4; ++v) totals[r][v] = begin == 0 ? sums[r][v] : _mm512_add_ps(totals[r][v], sums[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < 4; ++v) {
      const int32_t left = std::clamp(columns - v * 16, 0, 16);
      const auto mask = static_cast<__mmask16>((1u << left) - 1);
      float* out = c + static_cast<int64_t>(r) * p.columns + v * 16;
      if (p.accumulate) totals[r][v] = _mm512_add_ps(totals[r][v], _mm512_maskz_loadu_ps(mask, out));
      _mm512_mask_storeu_ps(out, mask, totals[r][v]);
    }
  }
}

}  // namespace

bool HasBf16Dot() {
  static const bool has = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw");
  return has;
}

void RunBf16Dot(const Product& p) {
  const int64_t panel_elements = PackedPanelElements(p.type, p.depth);
  for (int32_t row = 0; row < p.rows;) {
    const int32_t rows = p.rows - row >= 4 ? 4 : p.rows - row >= 2 ? 2 : 1;
    const uint16_t* a = static_cast<const uint16_t*>(p.a) + static_cast<int64_t>(row) * p.depth;
    for (int32_t first = 0; first < p.columns; first += kPanelColumns) {
      const uint16_t* b = static_cast<const uint16_t*>(p.b) + first / kPanelColumns * panel_elements;
      float* c = p.c + static_cast<int64_t>(row) * p.columns + first;
      const int32_t columns = std::min(kPanelColumns, p.columns - first);
      if (rows == 4) DotPanel<4>(p, a, b, c, columns);
      if (rows == 2) DotPanel<2>(p, a, b, c, columns);
      if (rows == 1) DotPanel<1>(p, a, b, c, columns);
    }
    row += rows;
  }
}

}  // namespace decant

#else

namespace decant {

bool HasBf16Dot() { return false; }
void RunBf16Dot(const Product&) { DECANT_CHECK(false); }

}  // namespace decant

#endif
