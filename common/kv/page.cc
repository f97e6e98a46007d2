#include "common/kv/page.h"

#include "common/base/check.h"

namespace decant {
namespace {

// Bytes that a row of `row_tokens` tokens of one format wastes per byte of tokens: inside its pages, and on average
// half of its last page.
double Waste(FormatId id, int32_t head_dim, int64_t page_bytes, int32_t row_tokens) {
  const int32_t per_page = FitLayout(id, head_dim, page_bytes).tokens;
  if (per_page == 0) return 1e9;
  const double pages = static_cast<double>(row_tokens) / per_page + 0.5;
  const double used = static_cast<double>(row_tokens) * static_cast<double>(TokenBytes(id, head_dim));
  return pages * static_cast<double>(page_bytes) / used - 1;
}

}  // namespace

int64_t ChoosePageBytes(int32_t head_dim, const FormatId* formats, int32_t format_count, int32_t row_tokens) {
  DECANT_CHECK_MSG(head_dim >= 8 && head_dim <= 256 && head_dim % 8 == 0, "head_dim %d", head_dim);
  DECANT_CHECK_MSG(format_count > 0 && row_tokens > 0, "%d formats, %d tokens", format_count, row_tokens);
  // A page of fewer than 16 tokens costs attention more in its start than it saves at the tail.
  int64_t first = 0;
  for (int32_t i = 0; i < format_count; ++i) {
    const int64_t bytes = LayoutFor(formats[i], head_dim, 16).end;
    if (bytes > first) first = bytes;
  }
  first = (first + 63) / 64 * 64;
  int64_t best = first;
  double best_waste = 1e18;
  for (int64_t bytes = first; bytes <= first + 16384; bytes += 64) {
    // The worst format decides: a row can end up entirely in it.
    double worst = 0;
    for (int32_t i = 0; i < format_count; ++i) {
      const double waste = Waste(formats[i], head_dim, bytes, row_tokens);
      if (waste > worst) worst = waste;
    }
    if (worst < best_waste) {
      best_waste = worst;
      best = bytes;
    }
  }
  return best;
}

}  // namespace decant
