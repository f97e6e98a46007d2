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

// c = a b, or c += a b, summed in f32. Every row of c has the same bits whatever `rows` is. Runs on the calling thread
// alone; keeps what it compiled for a shape on this thread, so use few shapes.
void RunProduct(const Product& product);

// True where oneDNN computes a product of so many rows: it allocates inside its own call.
bool ProductAllocates(RunType type, int32_t rows);

// The same in portable vectors: for one row, where memory decides and it prefetches, and for processors for which
// oneDNN has no kernel of this layout.
void RunSmallProduct(const Product& product);

// The same for bf16 with the processor's bf16 dot products; only where HasBf16Dot().
bool HasBf16Dot();
void RunBf16Dot(const Product& product);

// Sums over the depth are taken in steps of so many, then added: the order of oneDNN 2.6's kernels (16 blocks of 32, or
// of 64 from 1024 on), followed by the others so that a row has the same bits however many rows are computed with it.
inline constexpr int32_t SumDepth(int32_t depth) { return depth >= 1024 ? 1024 : 512; }

// Rows are brought to one of few sizes so that few kernels are compiled: kRowTile and what is below.
inline constexpr int32_t kRowTile = 64;
// The size in which a tail of `rows` < kRowTile is computed.
inline constexpr int32_t TailRows(int32_t rows) { return rows <= 8 ? rows : (rows + 7) / 8 * 8; }

// True where oneDNN multiplies the packed layout of `type` on this processor.
bool HasFastProduct(RunType type);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_PRODUCT_HOST_H_
