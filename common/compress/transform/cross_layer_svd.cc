#include "common/compress/transform/cross_layer_svd.h"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/half.h"
#include "common/compress/arith/affine.h"

namespace decant {
namespace {

using Matrix = Eigen::MatrixXd;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

void CopyTo(const Matrix& from, std::vector<float>& to) {
  to.resize(static_cast<size_t>(from.size()));
  Eigen::Map<RowMajor>(to.data(), from.rows(), from.cols()) = from.cast<float>();
}

}  // namespace

absl::StatusOr<SharedBasis> FitSharedBasis(absl::Span<const float> x, int32_t tokens, int32_t width, int32_t rank) {
  if (tokens < 0 || width < 1 || x.size() != static_cast<size_t>(tokens) * static_cast<size_t>(width)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a shared basis of ", tokens, " tokens by ", width, " columns from ", x.size(), " values"));
  }
  if (rank < 1) return absl::InvalidArgumentError(absl::StrCat("a shared basis of rank ", rank, "; it is at least 1"));
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isfinite(x[i])) continue;
    return absl::InvalidArgumentError(absl::StrCat("token ", i / static_cast<size_t>(width), ", column ",
                                                   i % static_cast<size_t>(width), " is ", x[i], ", not finite"));
  }
  SharedBasis result;
  result.tokens = tokens;
  result.width = width;
  result.rank = std::min({rank, tokens, width});
  if (tokens == 0) return result;

  const Matrix values = Eigen::Map<const RowMajor>(x.data(), tokens, width).cast<double>();
  const bool by_tokens = tokens <= width;
  const int32_t order = std::min(tokens, width);
  Matrix gram = Matrix::Zero(order, order);
  if (by_tokens) {
    gram.selfadjointView<Eigen::Lower>().rankUpdate(values);
  } else {
    gram.selfadjointView<Eigen::Lower>().rankUpdate(values.transpose());
  }
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(gram);
  if (solver.info() != Eigen::Success) {
    return absl::InternalError(absl::StrCat("no eigenvectors found for ", tokens, " tokens by ", width, " columns"));
  }
  // Eigenvalues ascend; the last `rank` are the ones to keep, the largest first.
  const Matrix top = solver.eigenvectors().rightCols(result.rank).rowwise().reverse();
  const Eigen::VectorXd squares = solver.eigenvalues().reverse().cwiseMax(0.0);
  result.energy = squares.sum();
  result.tail_energy = squares.tail(order - result.rank).sum();
  if (!by_tokens) {
    CopyTo(values * top, result.coordinates);
    CopyTo(top.transpose(), result.basis);
    return result;
  }
  // U^T X is S V^T. A singular value that is zero in double precision has no direction, and needs none.
  Matrix rows = top.transpose() * values;
  Matrix coordinates = top;
  for (int32_t r = 0; r < result.rank; ++r) {
    const double singular = rows.row(r).norm();
    const bool zero = singular <= 1e-12 * std::sqrt(result.energy);
    rows.row(r) *= zero ? 0 : 1 / singular;
    coordinates.col(r) *= zero ? 0 : singular;
  }
  CopyTo(coordinates, result.coordinates);
  CopyTo(rows, result.basis);
  return result;
}

void ExpandSharedBasis(const SharedBasis& basis, int32_t first, int32_t columns, absl::Span<float> out) {
  DECANT_CHECK_MSG(first >= 0 && columns >= 0 && first + columns <= basis.width &&
                       out.size() == static_cast<size_t>(basis.tokens) * static_cast<size_t>(columns),
                   "columns %d to %d of %d into %zu values", first, first + columns, basis.width, out.size());
  std::fill(out.begin(), out.end(), 0.0f);
  for (int64_t t = 0; t < basis.tokens; ++t) {
    float* row = out.data() + t * columns;
    for (int64_t r = 0; r < basis.rank; ++r) {
      const float coordinate = basis.coordinates[static_cast<size_t>(t * basis.rank + r)];
      const float* from = basis.basis.data() + r * basis.width + first;
      for (int32_t c = 0; c < columns; ++c) row[c] += coordinate * from[c];
    }
  }
}

int64_t SharedBasisBytes(int64_t tokens, int64_t width, int64_t rank) { return 2 * rank * (tokens + width); }

void StoreSharedBasis(const SharedBasis& basis, absl::Span<uint8_t> out) {
  DECANT_CHECK_MSG(static_cast<int64_t>(out.size()) == SharedBasisBytes(basis.tokens, basis.width, basis.rank),
                   "%zu bytes for %d tokens, width %d, rank %d", out.size(), basis.tokens, basis.width, basis.rank);
  uint8_t* next = out.data();
  for (const std::vector<float>* part : {&basis.coordinates, &basis.basis}) {
    for (const float value : *part) {
      const Fp16 half = ToFp16(TameValue(value));
      std::memcpy(next, &half, sizeof(half));
      next += sizeof(half);
    }
  }
}

absl::StatusOr<SharedBasis> LoadSharedBasis(absl::Span<const uint8_t> in, int32_t tokens, int32_t width, int32_t rank) {
  const int64_t bytes = tokens < 0 || width < 0 || rank < 0 ? -1 : SharedBasisBytes(tokens, width, rank);
  if (static_cast<int64_t>(in.size()) != bytes) {
    return absl::DataLossError(absl::StrCat("a shared basis of rank ", rank, " for ", tokens, " tokens by ", width,
                                            " columns takes ", bytes, " bytes, not ", in.size()));
  }
  SharedBasis basis;
  basis.tokens = tokens;
  basis.width = width;
  basis.rank = rank;
  basis.coordinates.resize(static_cast<size_t>(tokens) * static_cast<size_t>(rank));
  basis.basis.resize(static_cast<size_t>(rank) * static_cast<size_t>(width));
  const uint8_t* next = in.data();
  for (std::vector<float>* part : {&basis.coordinates, &basis.basis}) {
    for (float& value : *part) {
      Fp16 half;
      std::memcpy(&half, next, sizeof(half));
      value = ToFloat(half);
      next += sizeof(half);
    }
  }
  return basis;
}

int64_t BreakEvenTokens(int64_t width, int64_t rank) { return rank >= width ? -1 : rank * width / (width - rank) + 1; }

double SharedBasisRatio(int64_t tokens, int64_t width, int64_t rank) {
  return static_cast<double>(2 * tokens * width) / static_cast<double>(SharedBasisBytes(tokens, width, rank));
}

LayerRange SharedLayers(int32_t layer, int32_t layers, int32_t group) {
  DECANT_CHECK_MSG(group > 0 && layer >= 0 && layer < layers, "layer %d of %d in groups of %d", layer, layers, group);
  const int32_t first = layer / group * group;
  return {first, std::min(group, layers - first)};
}

}  // namespace decant
