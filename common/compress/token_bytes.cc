#include "common/compress/token_bytes.h"

#include "common/kv/format.h"

namespace decant {
namespace {

// Of one head; groups and blocks are counted as full.
double BytesOf(FormatId format, int32_t head_dim) {
  return static_cast<double>(TokensBytes(format, head_dim, kTokenGroup)) / kTokenGroup;
}

BytesPerToken OfOneHead(const Recipe& recipe, int32_t head_dim) {
  const double high = BytesOf(recipe.high, head_dim);
  const double low = BytesOf(recipe.low, head_dim);
  const double budget = double{recipe.budget};
  const double high_share = double{recipe.high_share};
  switch (recipe.allocation) {
    case Allocation::kAllHigh:
      return {high, high};
    case Allocation::kWindowSplit:
      return {high + low, high + low};
    case Allocation::kThresholdByPosition:
    case Allocation::kThresholdByLength:
      return {recipe.alpha_low > 0 ? 0 : low, high};
    case Allocation::kGlobalTiers:
    case Allocation::kTopTiers: {
      const double kept = budget * (high_share * high + (1 - high_share) * low);
      return {kept, kept};
    }
    case Allocation::kTop:
    case Allocation::kPyramid:
    case Allocation::kLayerShares:
    case Allocation::kGlobal:
    case Allocation::kSinksAndRecent:
      break;
  }
  const double kept = budget * high + (1 - budget) * low;
  return {kept, kept};
}

}  // namespace

BytesPerToken BytesPerTokenOf(const Recipe& recipe, const Geometry& geometry) {
  const double heads = double{1} * geometry.layers * geometry.kv_heads;
  BytesPerToken bytes = OfOneHead(recipe, geometry.head_dim);
  bytes.least *= heads;
  bytes.most *= heads;
  return bytes;
}

}  // namespace decant
