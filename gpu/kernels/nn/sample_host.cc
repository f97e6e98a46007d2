#include <algorithm>
#include <cmath>
#include <functional>

#include "common/base/random.h"
#include "gpu/kernels/nn/sample.h"

namespace decant {
namespace {

// One row's working memory: candidates in descending order of weight, and the weights by token.
struct Candidates {
  int32_t* order = nullptr;  // [vocabulary]
  float* weights = nullptr;  // [vocabulary]
  int32_t count = 0;
};

// Sorts only as far as the mass `share` of the total needs: nearly always a few hundred of some 100k tokens.
int32_t CutAtShare(const Candidates& candidates, double total, double share) {
  const auto likelier = [&](int32_t a, int32_t b) {
    return candidates.weights[a] > candidates.weights[b] || (candidates.weights[a] == candidates.weights[b] && a < b);
  };
  double mass = 0;
  int32_t sorted = 0;
  while (sorted < candidates.count) {
    const int32_t next = std::min(candidates.count, std::max(256, sorted * 4));
    std::partial_sort(candidates.order + sorted, candidates.order + next, candidates.order + candidates.count,
                      likelier);
    for (; sorted < next; ++sorted) {
      mass += candidates.weights[candidates.order[sorted]];
      if (mass >= share * total) return sorted + 1;
    }
  }
  return candidates.count;
}

double TotalWeight(const Candidates& candidates) {
  double total = 0;
  for (int32_t i = 0; i < candidates.count; ++i) total += candidates.weights[candidates.order[i]];
  return total;
}

int32_t Draw(const float* logits, int32_t vocabulary, const Sampling& sampling, int32_t position,
             Candidates candidates) {
  const auto best = static_cast<int32_t>(std::max_element(logits, logits + vocabulary) - logits);
  if (!(sampling.temperature > 0) || sampling.top_k == 1) return best;
  for (int32_t i = 0; i < vocabulary; ++i) {
    candidates.weights[i] = std::exp((logits[i] - logits[best]) / sampling.temperature);
    candidates.order[i] = i;
  }
  candidates.count = vocabulary;
  if (sampling.top_k > 0 && sampling.top_k < vocabulary) {
    const auto likelier = [&](int32_t a, int32_t b) {
      return candidates.weights[a] > candidates.weights[b] || (candidates.weights[a] == candidates.weights[b] && a < b);
    };
    std::partial_sort(candidates.order, candidates.order + sampling.top_k, candidates.order + vocabulary, likelier);
    candidates.count = sampling.top_k;
  }
  if (sampling.top_p < 1) candidates.count = CutAtShare(candidates, TotalWeight(candidates), sampling.top_p);
  const double goal =
      static_cast<double>(UniformFloat(sampling.seed, static_cast<uint64_t>(position))) * TotalWeight(candidates);
  double mass = 0;
  for (int32_t i = 0; i < candidates.count; ++i) {
    mass += candidates.weights[candidates.order[i]];
    if (mass > goal) return candidates.order[i];
  }
  return candidates.order[candidates.count - 1];
}

}  // namespace

int64_t SampleScratchBytes(int32_t rows, int32_t vocabulary) { return int64_t{rows} * vocabulary * 8; }

void SampleHost(Stream& stream, const SampleArgs& args) {
  const HostAccess access(stream);
  Device& device = stream.device();
  const auto draw = [&](int64_t row, int) {
    char* scratch = static_cast<char*>(args.scratch) + row * args.vocabulary * 8;
    Candidates candidates;
    candidates.order = reinterpret_cast<int32_t*>(scratch);
    candidates.weights = reinterpret_cast<float*>(scratch) + args.vocabulary;
    args.tokens[row] =
        Draw(args.logits + row * args.stride, args.vocabulary, args.sampling[row], args.positions[row], candidates);
  };
  device.ParallelFor(args.rows, std::cref(draw));
}

}  // namespace decant
