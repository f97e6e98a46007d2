// What the policies know of workers, to and from protos: router and pool both speak of it.
#ifndef DECANT_SERVICES_RPC_CANDIDATE_RPC_H_
#define DECANT_SERVICES_RPC_CANDIDATE_RPC_H_

#include "common/policy/candidate.h"
#include "decant/v1/pool.pb.h"
#include "decant/v1/worker.pb.h"

namespace decant {

WorkerLoad FromProto(const v1::Load& load);
// A kind of link that this build does not know is kUnspecified.
PairCandidate FromProto(const v1::Candidate& candidate);
v1::Candidate ToProto(const PairCandidate& pair);

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_CANDIDATE_RPC_H_
