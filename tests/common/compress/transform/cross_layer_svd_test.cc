#include "common/compress/transform/cross_layer_svd.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/base/half.h"
#include "common/base/random.h"

namespace decant {
namespace {

using Floats = std::vector<float>;

// `count` orthonormal vectors of `size` by Gram-Schmidt, done twice.
std::vector<std::vector<double>> Orthonormal(uint64_t seed, size_t count, size_t size) {
  std::vector<std::vector<double>> vectors;
  for (size_t v = 0; v < count; ++v) {
    std::vector<double> x(size);
    for (size_t i = 0; i < size; ++i) x[i] = UniformFloat(seed + v, i) - 0.5;
    for (int pass = 0; pass < 2; ++pass) {
      for (const auto& other : vectors) {
        double dot = 0;
        for (size_t i = 0; i < size; ++i) dot += x[i] * other[i];
        for (size_t i = 0; i < size; ++i) x[i] -= dot * other[i];
      }
    }
    double norm = 0;
    for (const double value : x) norm += value * value;
    for (double& value : x) value /= std::sqrt(norm);
    vectors.push_back(x);
  }
  return vectors;
}

// [tokens, width] with these singular values.
Floats WithSpectrum(const std::vector<double>& singular, size_t tokens, size_t width) {
  const auto left = Orthonormal(1, singular.size(), tokens);
  const auto right = Orthonormal(1000, singular.size(), width);
  std::vector<double> x(tokens * width);
  for (size_t s = 0; s < singular.size(); ++s) {
    for (size_t t = 0; t < tokens; ++t) {
      for (size_t c = 0; c < width; ++c) x[t * width + c] += singular[s] * left[s][t] * right[s][c];
    }
  }
  return Floats(x.begin(), x.end());
}

double SquaredError(const Floats& x, const SharedBasis& basis) {
  Floats back(x.size());
  ExpandSharedBasis(basis, 0, basis.width, absl::MakeSpan(back));
  double error = 0;
  for (size_t i = 0; i < x.size(); ++i) error += (double{x[i]} - back[i]) * (double{x[i]} - back[i]);
  return error;
}

double Energy(const Floats& x) {
  double energy = 0;
  for (const float value : x) energy += double{value} * value;
  return energy;
}

// Test (j) of the methods' reference: more tokens than columns, fewer, as many.
TEST(CrossLayerSvdTest, ErrorIsTheEnergyOfTheSingularValuesLeftOut) {
  const std::vector<double> singular = {40, 20, 9, 8.5, 3, 1, 0.5, 0.25, 0.1, 0.05};
  for (const auto& [tokens, width] : std::vector<std::pair<int32_t, int32_t>>{{50, 24}, {12, 60}, {10, 10}, {33, 32}}) {
    const Floats x = WithSpectrum(singular, static_cast<size_t>(tokens), static_cast<size_t>(width));
    for (int32_t rank = 1; rank <= 10; ++rank) {
      const auto basis = FitSharedBasis(x, tokens, width, rank);
      ASSERT_TRUE(basis.ok()) << basis.status();
      EXPECT_EQ(basis->rank, rank);
      double tail = 0;
      for (size_t s = static_cast<size_t>(rank); s < singular.size(); ++s) tail += singular[s] * singular[s];
      EXPECT_NEAR(basis->tail_energy, tail, 1e-6 * tail + 1e-7) << tokens << "x" << width << " rank " << rank;
      EXPECT_NEAR(SquaredError(x, *basis), tail, 1e-4 * tail + 1e-8 * basis->energy);
      EXPECT_NEAR(basis->energy, Energy(x), 1e-6 * basis->energy);
      // Column r of A is as long as singular value r, row r of B is a unit vector.
      for (int32_t r = 0; r < rank; ++r) {
        double column = 0;
        double row = 0;
        for (int32_t t = 0; t < tokens; ++t)
          column += std::pow(basis->coordinates[static_cast<size_t>(t * rank + r)], 2);
        for (int32_t c = 0; c < width; ++c) row += std::pow(basis->basis[static_cast<size_t>(r * width + c)], 2);
        EXPECT_NEAR(std::sqrt(column), singular[static_cast<size_t>(r)],
                    1e-4 * singular[static_cast<size_t>(r)] + 1e-5);
        EXPECT_NEAR(row, 1, 1e-4);
      }
    }
  }
}

TEST(CrossLayerSvdTest, RankAboveTheMatrixGivesItBackAndRankBelowItsOwnIsSpared) {
  for (const auto& [tokens, width] : std::vector<std::pair<int32_t, int32_t>>{{1, 8}, {5, 8}, {9, 4}, {3, 1}}) {
    Floats x(static_cast<size_t>(tokens * width));
    for (size_t i = 0; i < x.size(); ++i) x[i] = UniformFloat(3, i) - 0.5f;
    const auto basis = FitSharedBasis(x, tokens, width, 1000);
    ASSERT_TRUE(basis.ok());
    EXPECT_EQ(basis->rank, std::min(tokens, width));
    EXPECT_LT(SquaredError(x, *basis), 1e-10 * basis->energy);
  }
  // Two equal tokens, a token of zeros, and nothing but zeros: no direction is made up, nothing is NaN.
  for (const Floats& x : {Floats{1, 2, 3, 1, 2, 3, 0, 0, 0}, Floats(9, 0.0f)}) {
    const auto basis = FitSharedBasis(x, 3, 3, 3);
    ASSERT_TRUE(basis.ok());
    EXPECT_LT(SquaredError(x, *basis), 1e-9);
    const auto wide = FitSharedBasis(x, 1, 9, 1);
    ASSERT_TRUE(wide.ok());
    EXPECT_LT(SquaredError(x, *wide), 1e-9);
  }
  const auto none = FitSharedBasis({}, 0, 64, 8);
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(none->rank, 0);
  EXPECT_EQ(SharedBasisBytes(0, 64, none->rank), 0);
}

// Layers that share their directions, as xKV finds them: one basis for the group serves each with its own columns.
TEST(CrossLayerSvdTest, EveryLayerReadsItsOwnColumns) {
  constexpr int32_t kTokens = 40;
  constexpr int32_t kLayerWidth = 3 * 8;
  const int32_t layers = 10;
  for (const int32_t layer : {0, 3, 5, 8, 9}) {
    const LayerRange group = SharedLayers(layer, layers, 4);
    const int32_t width = group.count * kLayerWidth;
    const Floats x = WithSpectrum({5, 4, 3, 2, 1}, kTokens, static_cast<size_t>(width));
    const auto basis = FitSharedBasis(x, kTokens, width, 5);
    ASSERT_TRUE(basis.ok());
    Floats own(static_cast<size_t>(kTokens * kLayerWidth));
    const int32_t first = (layer - group.first) * kLayerWidth;
    ExpandSharedBasis(*basis, first, kLayerWidth, absl::MakeSpan(own));
    for (int32_t t = 0; t < kTokens; ++t) {
      for (int32_t c = 0; c < kLayerWidth; ++c) {
        EXPECT_NEAR(own[static_cast<size_t>(t * kLayerWidth + c)], x[static_cast<size_t>(t * width + first + c)], 1e-5);
      }
    }
  }
}

TEST(CrossLayerSvdTest, GroupsEndWhereTheLayersEnd) {
  EXPECT_EQ(SharedLayers(0, 10, 4).count, 4);
  EXPECT_EQ(SharedLayers(7, 10, 4).first, 4);
  EXPECT_EQ(SharedLayers(8, 10, 4).first, 8);
  EXPECT_EQ(SharedLayers(9, 10, 4).count, 2);
  EXPECT_EQ(SharedLayers(2, 3, 4).count, 3);
  EXPECT_EQ(SharedLayers(5, 6, 1).first, 5);
}

// Latent attention (DeepSeek): one latent per token and layer, no heads. Groups of 4 latents of 64, rank 32.
TEST(CrossLayerSvdTest, LatentsOfOneVectorPerLayer) {
  constexpr int32_t kTokens = 300;
  constexpr int32_t kLatent = 64;
  constexpr int32_t kWidth = 4 * kLatent;
  std::vector<double> singular(48);
  for (size_t s = 0; s < singular.size(); ++s) singular[s] = 100 * std::pow(0.8, static_cast<double>(s));
  const Floats x = WithSpectrum(singular, kTokens, kWidth);
  const auto basis = FitSharedBasis(x, kTokens, kWidth, 32);
  ASSERT_TRUE(basis.ok());
  EXPECT_NEAR(SquaredError(x, *basis), basis->tail_energy, 1e-2 * basis->tail_energy);
  EXPECT_LT(basis->tail_energy / basis->energy, 1e-5);
  EXPECT_GT(SharedBasisRatio(kTokens, kWidth, 32), 4.3);
}

double RoundedError(const Floats& x, SharedBasis basis, bool bf16) {
  for (std::vector<float>* part : {&basis.coordinates, &basis.basis}) {
    for (float& value : *part) value = bf16 ? ToFloat(ToBf16(value)) : ToFloat(ToFp16(value));
  }
  return std::sqrt(SquaredError(x, basis) / Energy(x));
}

TEST(CrossLayerSvdTest, StoredFormComesBackAndFp16RoundsLessThanBf16) {
  const Floats x = WithSpectrum({4000, 900, 100, 30, 10, 3, 1}, 100, 48);
  const auto basis = FitSharedBasis(x, 100, 48, 7);
  ASSERT_TRUE(basis.ok());
  std::vector<uint8_t> stored(static_cast<size_t>(SharedBasisBytes(100, 48, 7)));
  StoreSharedBasis(*basis, absl::MakeSpan(stored));
  const auto loaded = LoadSharedBasis(stored, 100, 48, 7);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const double error = std::sqrt(SquaredError(x, *loaded) / Energy(x));
  EXPECT_EQ(error, RoundedError(x, *basis, false));
  EXPECT_LT(error, 6e-4);
  EXPECT_GT(RoundedError(x, *basis, true), 4 * error);
  stored.pop_back();
  EXPECT_EQ(LoadSharedBasis(stored, 100, 48, 7).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(LoadSharedBasis(stored, -100, 48, 7).status().code(), absl::StatusCode::kDataLoss);
}

TEST(CrossLayerSvdTest, BytesAndBreakEvenAreThoseOfThePaper) {
  // Llama-3.1-8B, G = 4: width 4096, rank 512 for keys and 768 for values, 64k tokens.
  EXPECT_NEAR(SharedBasisRatio(65536, 4096, 512), 7.5, 0.05);
  EXPECT_NEAR(SharedBasisRatio(65536, 4096, 768), 5.0, 0.05);
  const double both = 2.0 * 2 * 65536 * 4096 /
                      static_cast<double>(SharedBasisBytes(65536, 4096, 512) + SharedBasisBytes(65536, 4096, 768));
  EXPECT_NEAR(both, 6.0, 0.05);
  EXPECT_EQ(BreakEvenTokens(4096, 512), 586);
  EXPECT_EQ(BreakEvenTokens(4096, 768), 946);
  for (const int64_t rank : {512, 768}) {
    const int64_t tokens = BreakEvenTokens(4096, rank);
    EXPECT_GT(SharedBasisRatio(tokens, 4096, rank), 1);
    EXPECT_LE(SharedBasisRatio(tokens - 1, 4096, rank), 1);
  }
  EXPECT_EQ(BreakEvenTokens(64, 64), -1);
  EXPECT_EQ(BreakEvenTokens(64, 65), -1);
}

TEST(CrossLayerSvdTest, WrongInputIsNamed) {
  Floats x(12, 1.0f);
  EXPECT_EQ(FitSharedBasis(x, 3, 5, 2).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FitSharedBasis(x, -3, -4, 2).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FitSharedBasis(x, 3, 4, 0).status().code(), absl::StatusCode::kInvalidArgument);
  x[6] = std::numeric_limits<float>::quiet_NaN();
  const auto status = FitSharedBasis(x, 3, 4, 2).status();
  EXPECT_NE(status.message().find("token 1, column 2"), absl::string_view::npos) << status;
}

}  // namespace
}  // namespace decant
