#include "services/rpc/sampling_rpc.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace decant {

absl::StatusOr<Sampling> SamplingFrom(const v1::Sampling& proto) {
  if (!std::isfinite(proto.temperature()) || proto.temperature() < 0) {
    return absl::InvalidArgumentError(absl::StrCat("temperature ", proto.temperature(), " is not 0 or more"));
  }
  if (proto.top_k() < 0) return absl::InvalidArgumentError(absl::StrCat("top_k ", proto.top_k(), " is negative"));
  if (!(proto.top_p() >= 0 && proto.top_p() <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("top_p ", proto.top_p(), " is not between 0 and 1"));
  }
  Sampling sampling;
  sampling.temperature = static_cast<float>(proto.temperature());
  sampling.top_k = proto.top_k();
  sampling.top_p = proto.top_p() == 0 ? 1.0f : static_cast<float>(proto.top_p());
  sampling.seed = proto.seed();
  return sampling;
}

}  // namespace decant
