// One matrix product on one host thread: the building block of Matmul and PrefillAttention.
#ifndef DECANT_GPU_KERNELS_NN_PRODUCT_HOST_H_
#define DECANT_GPU_KERNELS_NN_PRODUCT_HOST_H_

#include <cstdint>

#include "common/compress/profile.h"

namespace decant {

struct Product {
  RunType type = RunType::kF32;
  int32_t rows = 0;
  int32_t columns = 0;
  int32_t depth = 0;
  bool accumulate = false;
  const void* a = nullptr;  // [rows, depth], dense
  const void* b = nullptr;  // [depth, columns] as packed_layout.h says
  float* c = nullptr;       // [rows, columns], dense
};

// c = a b, or c += a b. Every row of c is the same whatever `rows` is; sums are f32. Runs on the calling thread alone;
// keeps what it compiled for a shape on this thread, so use few shapes.
void RunProduct(const Product& product);

// The same in portable vectors: few rows, where memory decides, and processors for which oneDNN has no kernel of this
// layout. rows <= 8 at a time is what it is made for; any number works.
void RunSmallProduct(const Product& product);

// Up to so many rows the portable version is the faster one: memory decides, and it prefetches.
inline constexpr int32_t kSmallProductRows = 1;

// Rows are brought to one of few sizes so that few kernels are compiled: kRowTile and what is below.
inline constexpr int32_t kRowTile = 64;
// The size in which a tail of `rows` < kRowTile is computed.
inline constexpr int32_t TailRows(int32_t rows) { return rows <= 8 ? rows : (rows + 7) / 8 * 8; }

// True where oneDNN multiplies the packed layout of `type` on this processor.
bool HasFastProduct(RunType type);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_PRODUCT_HOST_H_
