#include "common/policy/admission.h"

#include <algorithm>

namespace decant {
namespace {

constexpr double kRemembered = 15.0 / 16;

}  // namespace

void Admission::Served(int64_t tokens, double held_ms) {
  if (tokens <= 0 || !(held_ms >= 0)) return;
  tokens_ = kRemembered * tokens_ + static_cast<double>(tokens);
  ms_ = kRemembered * ms_ + held_ms;
}

double Admission::ServiceMs(int64_t tokens) const {
  return tokens_ > 0 ? ms_ / tokens_ * static_cast<double>(tokens) : 0;
}

double Admission::WaitMs(const QueueAhead& ahead) const {
  const double work = ServiceMs(ahead.queued_tokens) + ServiceMs(ahead.running_tokens) / 2;
  return work / std::max(ahead.places, 1);
}

}  // namespace decant
