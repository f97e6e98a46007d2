// xKV (abdelfattah-lab/xKV, arXiv 2503.18893): the keys (or values) of G consecutive layers side by side, X [N, G*H*d],
// share one low-rank basis: X ~ A B with A [N, r] per token and B [r, G*H*d], of which layer l reads its own columns.
// Keys are taken before RoPE; for latent attention the columns are the latents without their RoPE part.
//
// A = U S and B = V^T of the truncated singular value decomposition, from the eigenvectors of the smaller of X X^T and
// X^T X in double precision: the squared error is the sum of the squared singular values left out. Columns run layer by
// layer, within a layer as the caller has them (head by head).
#ifndef DECANT_COMMON_COMPRESS_TRANSFORM_CROSS_LAYER_SVD_H_
#define DECANT_COMMON_COMPRESS_TRANSFORM_CROSS_LAYER_SVD_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace decant {

struct SharedBasis {
  int32_t tokens = 0;
  int32_t rank = 0;  // at most tokens and width
  int32_t width = 0;
  std::vector<float> coordinates;  // A [tokens, rank]
  std::vector<float> basis;        // B [rank, width]
  double energy = 0;               // |X|^2
  double tail_energy = 0;          // |X - A B|^2 before anything is rounded
};

// x: [tokens, width], row-major. A rank above tokens or width is lowered to it. INVALID_ARGUMENT for sizes that do not
// fit, a rank below 1, or a value that is not finite (its place is named). Time grows with the cube of the smaller of
// tokens and width (about a second at 1024), memory with tokens * width doubles.
absl::StatusOr<SharedBasis> FitSharedBasis(absl::Span<const float> x, int32_t tokens, int32_t width, int32_t rank);

// Columns [first, first + columns) of A B into out [tokens, columns]: one layer's keys or values. REQUIRES: they exist.
void ExpandSharedBasis(const SharedBasis& basis, int32_t first, int32_t columns, absl::Span<float> out);

// Stored form: A, then B, row-major in fp16, whose rounding costs a relative error of about 3e-4 where bf16 costs 2e-3;
// what lies beyond its range is cut to its ends.
int64_t SharedBasisBytes(int64_t tokens, int64_t width, int64_t rank);
// REQUIRES: out.size() == SharedBasisBytes().
void StoreSharedBasis(const SharedBasis& basis, absl::Span<uint8_t> out);
// DATA_LOSS when `in` has another size. Energies are not stored and read as 0.
absl::StatusOr<SharedBasis> LoadSharedBasis(absl::Span<const uint8_t> in, int32_t tokens, int32_t width, int32_t rank);

// The smallest number of tokens from which a stored basis is smaller than [tokens, width] in 16 bits, rank * width /
// (width - rank) rounded up past equality; -1 when the rank is too high for any.
int64_t BreakEvenTokens(int64_t width, int64_t rank);
// Full bytes over stored bytes, the basis counted. REQUIRES: something is stored.
double SharedBasisRatio(int64_t tokens, int64_t width, int64_t rank);

// Layers that share a basis with `layer` when groups of `group` are formed from layer 0 on; the last one holds what is
// left.
struct LayerRange {
  int32_t first = 0;
  int32_t count = 0;
};
LayerRange SharedLayers(int32_t layer, int32_t layers, int32_t group);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_TRANSFORM_CROSS_LAYER_SVD_H_
