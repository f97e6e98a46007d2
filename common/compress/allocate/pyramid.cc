#include "common/compress/allocate/pyramid.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "common/base/check.h"

namespace decant {
namespace {

struct Ends {
  int64_t bottom = 0;
  int64_t top = 0;
};

// The ends of the line, or nothing with the same number for every layer in `flat`.
std::optional<Ends> PyramidEnds(const PyramidBudget& budget, int32_t layers, int32_t tokens, int32_t& flat) {
  DECANT_CHECK_MSG(layers > 0 && budget.beta > 0 && tokens >= 0 && budget.cap >= 0 && budget.window >= 0,
                   "%d layers, beta %d, %d tokens, cap %d, window %d", layers, budget.beta, tokens, budget.cap,
                   budget.window);
  const int32_t past = std::max(tokens - budget.window, 0);
  const int32_t average = std::max(budget.cap - budget.window, 0);
  flat = std::min(average, past);
  if (tokens < budget.cap) flat = past;
  if (tokens < budget.cap || tokens < int64_t{2} * average || layers == 1) return std::nullopt;
  Ends ends;
  ends.top = average / budget.beta;
  ends.bottom = int64_t{2} * average - ends.top;
  if (ends.bottom >= past) {
    ends.bottom = past;
    ends.top = std::max<int64_t>(int64_t{2} * average - ends.bottom, 0);
  }
  return ends;
}

}  // namespace

std::vector<int32_t> PyramidLayers(const PyramidBudget& budget, int32_t layers, int32_t tokens) {
  int32_t flat = 0;
  const std::optional<Ends> ends = PyramidEnds(budget, layers, tokens, flat);
  std::vector<int32_t> past(static_cast<size_t>(layers), flat);
  if (!ends.has_value()) return past;
  const int64_t step = (ends->bottom - ends->top) / (layers - 1);
  for (int32_t l = 0; l < layers; ++l) past[static_cast<size_t>(l)] = static_cast<int32_t>(ends->bottom - l * step);
  return past;
}

std::vector<int32_t> PyramidLayersExact(const PyramidBudget& budget, int32_t layers, int32_t tokens) {
  int32_t flat = 0;
  const std::optional<Ends> ends = PyramidEnds(budget, layers, tokens, flat);
  std::vector<int32_t> past(static_cast<size_t>(layers), flat);
  if (!ends.has_value()) return past;
  // The line in units of 1 / (layers - 1); whole tokens first, then one each where most of a token was cut off.
  const int64_t parts = layers - 1;
  std::vector<int64_t> cut(past.size());
  for (int32_t l = 0; l < layers; ++l) {
    const int64_t line = ends->bottom * parts - l * (ends->bottom - ends->top);
    past[static_cast<size_t>(l)] = static_cast<int32_t>(line / parts);
    cut[static_cast<size_t>(l)] = line % parts;
  }
  std::vector<size_t> order(past.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return cut[a] > cut[b]; });
  const int64_t missing = std::accumulate(cut.begin(), cut.end(), int64_t{0}) / parts;
  for (int64_t i = 0; i < missing; ++i) ++past[order[static_cast<size_t>(i)]];
  return past;
}

}  // namespace decant
