// What a finished layer of a prompt shows to the score and encode stages.
#ifndef DECANT_GPU_ENGINE_LAYER_TAP_H_
#define DECANT_GPU_ENGINE_LAYER_TAP_H_

#include <cstdint>
#include <vector>

#include "common/compress/recipe.h"

namespace decant {

// Sums of normalised attention per query head and key over the queries of rows >= first_query, [q_heads, sum_stride].
// With kAllLaterQueries first_query is the number of reused tokens and a key's own query does not count (the paper's t
// >= i + 1), so key i has tokens - max(i + 1, first_query) observations; with kLastWindow first_query is max(reused,
// tokens - window) and the own query counts (the release).
struct LayerSums {
  const float* sums = nullptr;
  int32_t first_query = 0;
};

// Device addresses, valid while the run keeps the layer: by default until the next one begins.
struct LayerTap {
  int32_t layer = 0;
  int32_t tokens = 0;  // N, reused ones included; fewer after a selection
  void* k = nullptr;   // [kv_heads, capacity, head_dim] of the run type, after rope (and k-norm)
  void* v = nullptr;
  int64_t capacity = 0;
  // LayerSums of PrefillOptions::score; null without one.
  const float* sums = nullptr;
  int64_t sum_stride = 0;
  int32_t first_query = 0;
  // Of PrefillOptions::more_scores, in their order.
  std::vector<LayerSums> more_sums;

  // Position in the prompt of every row of k and v, ascending, [tokens] i32; null: row i is position i.
  const int32_t* positions = nullptr;
  // k before rope, after k-norm; null unless asked for. That of reused tokens is made from their k.
  void* pre_rope_k = nullptr;
  // Largest |q| and |k| after rope of every channel, q over the group's heads, [kv_heads, head_dim] f32; null unless
  // asked for. Reused tokens have no q.
  const float* query_peaks = nullptr;
  const float* key_peaks = nullptr;
  // [kv_heads, tokens] f32, once the layer has been replayed: the largest attention that each position received while
  // the chunk that it lies in was repeated; 0 for positions of no chunk (sinks, what comes after the context).
  const float* replay_scores = nullptr;

  // The same with the sums of more_sums[index] as its own, for a stage that reads one kind of sums.
  LayerTap WithSums(size_t index) const {
    LayerTap tap = *this;
    tap.sums = more_sums[index].sums;
    tap.first_query = more_sums[index].first_query;
    return tap;
  }
};

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_LAYER_TAP_H_
