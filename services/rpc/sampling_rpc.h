#ifndef DECANT_SERVICES_RPC_SAMPLING_RPC_H_
#define DECANT_SERVICES_RPC_SAMPLING_RPC_H_

#include "absl/status/statusor.h"
#include "decant/v1/common.pb.h"
#include "gpu/engine/sampling.h"

namespace decant {

// INVALID_ARGUMENT, with the value, for a temperature below 0, a negative top_k or a top_p outside [0, 1]; top_p 0 is
// the protocol's "all".
absl::StatusOr<Sampling> SamplingFrom(const v1::Sampling& proto);

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_SAMPLING_RPC_H_
