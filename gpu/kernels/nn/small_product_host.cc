#include "gpu/kernels/nn/product_host.h"

// A few rows of A against one panel of B at a time: B is read once for all of them, in the order in which it lies in
// memory, and prefetched far enough ahead that one thread comes near the memory's bandwidth.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/kernels/nn/small_product_host.cc"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "gpu/kernels/nn/packed_layout.h"
#include "gpu/kernels/nn/run_type-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {

// Bytes ahead of the read position: some memory latencies at full bandwidth.
constexpr int64_t kPrefetchBytes = 8192;

// Products of one depth (f32) or two (bf16) of a column vector of B with one row of A, added to sum.
template <class D>
HWY_INLINE hn::Vec<D> AddPairs(D, hn::Vec<D> sum, const float* a, hn::Vec<D> b) {
  return hn::MulAdd(hn::Set(D(), a[0]), b, sum);
}
template <class D>
HWY_INLINE hn::Vec<D> AddPairs(D d, hn::Vec<D> sum, const Bf16* a, hn::Vec<D> b) {
  const hn::RebindToUnsigned<D> d32;
  const auto bits = hn::BitCast(d32, b);
  const auto even = hn::BitCast(d, hn::ShiftLeft<16>(bits));
  const auto odd = hn::BitCast(d, hn::And(bits, hn::Set(d32, 0xffff0000u)));
  return hn::MulAdd(hn::Set(d, ToFloat(a[1])), odd, hn::MulAdd(hn::Set(d, ToFloat(a[0])), even, sum));
}

// Four vectors of columns of kRows rows, depths [begin, end) of one panel, into sums (or added to them).
template <int kRows, typename T, class D>
HWY_INLINE void Columns(D d, const Product& p, const T* a, const T* panel, int32_t begin, int32_t end, float* sums) {
  constexpr int32_t kPair = sizeof(T) == 2 ? 2 : 1;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  hn::Vec<D> s[kRows][4];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < 4; ++v) s[r][v] = hn::Zero(d);
  }
  for (int32_t k = begin; k < end; k += kPair) {
    const float* words = reinterpret_cast<const float*>(panel + static_cast<int64_t>(k) * kPanelColumns);
    T pairs[kRows][2];
    for (int r = 0; r < kRows; ++r) {
      const T* row = a + static_cast<int64_t>(r) * p.depth + k;
      pairs[r][0] = row[0];
      pairs[r][1] = k + 1 < p.depth ? row[1] : T{};
    }
    for (int v = 0; v < 4; ++v) {
      hwy::Prefetch(reinterpret_cast<const char*>(words + v * lanes) + kPrefetchBytes);
      const auto column = hn::LoadU(d, words + v * lanes);
      for (int r = 0; r < kRows; ++r) s[r][v] = AddPairs(d, s[r][v], pairs[r], column);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < 4; ++v) {
      float* sum = sums + r * kPanelColumns + v * lanes;
      hn::StoreU(begin == 0 ? s[r][v] : hn::Add(hn::LoadU(d, sum), s[r][v]), d, sum);
    }
  }
}

// Rows [0, kRows) times one panel into c, `columns` wide at most kPanelColumns.
template <int kRows, typename T>
HWY_NOINLINE void Panel(const Product& p, const T* a, const T* b, float* c, int32_t columns) {
  const hn::CappedTag<float, 16> d;
  constexpr int32_t kPair = sizeof(T) == 2 ? 2 : 1;
  const int32_t step = 4 * static_cast<int32_t>(hn::Lanes(d));
  float sums[kRows][kPanelColumns];
  for (int32_t first = 0; first < kPanelColumns; first += step) {
    for (int32_t begin = 0; begin < p.depth; begin += SumDepth(p.depth)) {
      const int32_t end = HWY_MIN(p.depth, begin + SumDepth(p.depth));
      Columns<kRows>(d, p, a, b + first * kPair, begin, end, sums[0] + first);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    float* out = c + static_cast<int64_t>(r) * p.columns;
    for (int32_t i = 0; i < columns; ++i) out[i] = p.accumulate ? sums[r][i] + out[i] : sums[r][i];
  }
}

template <typename T>
void Rows(const Product& p) {
  const int64_t panel_elements = PackedPanelElements(p.type, p.depth);
  for (int32_t row = 0; row < p.rows;) {
    const int32_t rows = p.rows - row >= 4 ? 4 : p.rows - row >= 2 ? 2 : 1;
    const T* a = static_cast<const T*>(p.a) + static_cast<int64_t>(row) * p.depth;
    for (int32_t first = 0; first < p.columns; first += kPanelColumns) {
      const T* b = static_cast<const T*>(p.b) + first / kPanelColumns * panel_elements;
      float* c = p.c + static_cast<int64_t>(row) * p.columns + first;
      const int32_t columns = HWY_MIN(kPanelColumns, p.columns - first);
      if (rows == 4) Panel<4, T>(p, a, b, c, columns);
      if (rows == 2) Panel<2, T>(p, a, b, c, columns);
      if (rows == 1) Panel<1, T>(p, a, b, c, columns);
    }
    row += rows;
  }
}

void SmallProduct(const Product& p) {
  if (p.type == RunType::kBf16) {
    Rows<Bf16>(p);
  } else {
    Rows<float>(p);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant {

HWY_EXPORT(SmallProduct);
void RunSmallProduct(const Product& product) { HWY_DYNAMIC_DISPATCH(SmallProduct)(product); }

}  // namespace decant
#endif
