#include "common/policy/latency_model.h"

#include <algorithm>

namespace decant {

double ContextFactor(double reused, double computed, double doubling) {
  return (1 + (reused + computed / 2) / doubling) / (1 + (reused + computed) / 2 / doubling);
}

double PredictTtft(const LatencyTerms& terms) {
  const double layers = terms.layers;
  const double fetch = terms.fetch_bytes / terms.fetch_rate / layers;
  const double compute = (terms.expand_s + terms.compute_s) / layers;
  const double all_fetched = terms.load_s + terms.fetch_bytes / terms.fetch_rate;
  const double encode = terms.encode_bytes / terms.encode_rate / layers;
  const double wire = terms.link_fixed_s + terms.wire_bytes / terms.link_rate / layers;
  const double copy = terms.wire_bytes / terms.import_rate / layers;
  double fetched = terms.load_s, encoded = terms.queue_s, sent = 0, imported = 0;
  for (int32_t layer = 0; layer < terms.layers; ++layer) {
    fetched += fetch;
    encoded = std::max(encoded, fetched) + compute + encode;
    sent = std::max({sent, encoded, all_fetched}) + wire;
    imported = std::max(imported, sent) + copy;
  }
  return imported + terms.settle_s;
}

}  // namespace decant
