#ifndef DECANT_COMMON_KV_RECEIPT_H_
#define DECANT_COMMON_KV_RECEIPT_H_

#include <cstdint>

namespace decant {

// From best to worst; everything below kQuantised is tainted and never satisfies an exact lookup.
enum class Provenance : uint8_t {
  kUnspecified = 0,
  kExact = 1,
  kQuantised = 2,
  kPruned = 3,
  kBlended = 4,
  kOffsetEstimated = 5,
  kPredicted = 6,
};

inline bool IsTainted(Provenance provenance) {
  return provenance > Provenance::kQuantised || provenance == Provenance::kUnspecified;
}

// The relative error sqrt(sum (x - x')^2 / sum x^2) of what was stored, as two sums that add up over frames.
struct StoredError {
  double squared_difference = 0;
  double squared_norm = 0;

  void Add(const StoredError& other) {
    squared_difference += other.squared_difference;
    squared_norm += other.squared_norm;
  }
  double Relative() const;
};

// Tokens per tier, summed over layers and heads.
struct TokenCounts {
  int64_t high = 0;
  int64_t low = 0;
  int64_t pruned = 0;
  int64_t demoted = 0;
  int64_t dropped = 0;
};

}  // namespace decant

#endif  // DECANT_COMMON_KV_RECEIPT_H_
