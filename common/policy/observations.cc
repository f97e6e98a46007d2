#include "common/policy/observations.h"

#include <algorithm>
#include <cmath>

namespace decant {
namespace {

constexpr double kWeight = 0.3;
constexpr int64_t kLeastRatioTokens = 512;

double Corrected(double stated, double seen) {
  if (seen <= 0) return stated;
  if (stated <= 0) return seen;
  return std::clamp(seen, stated / Observations::kMostCorrection, stated * Observations::kMostCorrection);
}

template <typename Map, typename Key>
double Seen(const Map& map, const Key& key) {
  const auto found = map.find(key);
  return found == map.end() ? 0 : found->second.value;
}

template <typename Map, typename Key>
void Learn(Map& map, size_t limit, const Key& key, double seen) {
  if (!std::isfinite(seen) || seen <= 0) return;
  if (map.size() >= limit && map.find(key) == map.end()) return;
  map[key].Add(seen);
}

}  // namespace

void Observations::Average::Add(double seen) { value = value == 0 ? seen : value + kWeight * (seen - value); }

void Observations::Add(const Observation& o) {
  const auto per_s = [](double amount, double ms) { return ms > 0 ? 1000 * amount / ms : 0.0; };
  // A short prompt's rate is that of starting up.
  if (o.tokens_computed >= kLeastRatioTokens) {
    Learn(prefill_tokens_per_s_, kMostLinks, o.prefill, per_s(o.tokens_computed, o.compute_ms));
  }
  Learn(link_bits_per_s_, kMostLinks, std::make_pair(o.profile, Link(o.prefill, o.decode)),
        per_s(8.0 * static_cast<double>(o.wire_bytes), o.wire_ms));
  // Behind a reused prefix, bytes on the wire and bytes encoded are not those of the whole prompt.
  // Of a short prompt most tokens are in the window, which no profile compresses much.
  if (o.tokens_computed != o.prompt_tokens || o.wire_bytes <= 0 || o.prompt_tokens < kLeastRatioTokens) return;
  Learn(encode_bytes_per_s_, kMostProfiles, o.profile, per_s(static_cast<double>(o.full_bytes), o.encode_ms));
  Learn(wire_ratio_, kMostProfiles, o.profile, static_cast<double>(o.full_bytes) / static_cast<double>(o.wire_bytes));
}

double Observations::PrefillTokensPerS(const std::string& prefill, double stated) const {
  return Corrected(stated, Seen(prefill_tokens_per_s_, prefill));
}

double Observations::EncodeBytesPerS(const std::string& profile, double stated) const {
  return Corrected(stated, Seen(encode_bytes_per_s_, profile));
}

double Observations::WireRatio(const std::string& profile, double stated) const {
  return Corrected(stated, Seen(wire_ratio_, profile));
}

double Observations::LinkBitsPerS(const std::string& profile, const std::string& prefill, const std::string& decode,
                                  double stated) const {
  if (std::isfinite(stated) && stated > 0) return stated;
  return Seen(link_bits_per_s_, std::make_pair(profile, Link(prefill, decode)));
}

}  // namespace decant
