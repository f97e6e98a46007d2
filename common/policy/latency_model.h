// The time to first token of one request, from the sizes and rates of its parts.
//
// Layers i = 1..L are pipelined. With V bytes per layer of full precision to encode, S the encoder's speed, a the fixed
// time of a batch, R the bytes per layer on the link, B the link's rate, and I the import's speed:
//   f_i = f_{i-1} + prefix bytes per layer / fetch rate             pool to prefill, layer-major, from f_0 = load
//   p_i = max(e_{i-1}, f_i, queue) + expand + compute per layer     prefill; stored frames are expanded to full
//   precision e_i = p_i + V / S                                               encode; it shares prefill's cores or SMs
//   w_i = max(w_{i-1}, e_i, f_L) + a + R / B                        wire: nothing leaves before all stored frames are
//   good d_i = max(d_{i-1}, w_i) + R / I                                 decode copies frames into pages
// and the first token is there at d_L, with which the commit comes, plus the time in which decode settles a prefix that
// came in a better tier than its prompt has for it.
//
// A computed token attends to all tokens before it. With T the context that doubles the time of a token, M tokens
// behind a prefix of P take (1 + (P + M / 2) / T) / (1 + (P + M) / 2 / T) times what M tokens of a prompt of P + M take
// on the average: ContextFactor.
#ifndef DECANT_COMMON_POLICY_LATENCY_MODEL_H_
#define DECANT_COMMON_POLICY_LATENCY_MODEL_H_

#include <cstdint>

namespace decant {

// Times in seconds, rates in bytes or tokens per second; rates are above 0.
struct LatencyTerms {
  int32_t layers = 1;
  double queue_s = 0;      // until prefill takes this request up
  double compute_s = 0;    // of all layers
  double load_s = 0;       // until the pool has loaded the prefix from its lower tiers, from time 0
  double fetch_bytes = 0;  // from the pool
  double fetch_rate = 1;
  double expand_s = 0;      // of all layers of the prefix
  double encode_bytes = 0;  // full-precision bytes that are encoded
  double encode_rate = 1;
  double wire_bytes = 0;  // forwarded and encoded
  double link_rate = 1;
  double link_fixed_s = 0;
  double import_rate = 1;
  double settle_s = 0;
};

// How much longer a computed token takes behind `reused` tokens than one of the same prompt takes on the average when
// all are computed: 1 for reused = 0. `doubling` is T above.
double ContextFactor(double reused, double computed, double doubling);

// Seconds. Finite and not negative for finite terms; grows with every time and byte and falls with every rate.
double PredictTtft(const LatencyTerms& terms);

}  // namespace decant

#endif  // DECANT_COMMON_POLICY_LATENCY_MODEL_H_
