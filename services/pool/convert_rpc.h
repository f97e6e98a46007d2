// Protos of the pool to and from its plain structs. Everything that comes from outside is checked here for shape.
#ifndef DECANT_SERVICES_POOL_CONVERT_RPC_H_
#define DECANT_SERVICES_POOL_CONVERT_RPC_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/policy/observations.h"
#include "decant/v1/pool.pb.h"
#include "services/pool/pool_messages.h"

namespace decant {

// INVALID_ARGUMENT with the field for digests that are not 32 bytes and unknown enumerators.
absl::StatusOr<PoolModel> PoolModelFrom(const v1::ModelIdentity& proto);
absl::StatusOr<PlanDemand> FromProto(const v1::PlanRequest& proto);
absl::StatusOr<WorkflowUpdate> FromProto(const v1::WorkflowUpdate& proto);
absl::StatusOr<PublishStart> FromProto(const v1::PublishOpen& proto);
absl::StatusOr<std::vector<WantedChunk>> FromProto(const google::protobuf::RepeatedPtrField<v1::PlannedChunk>& chunks);
Observation FromProto(const v1::ReportRequest& proto);

v1::PlanReply ToProto(const PlanOffer& offer);
v1::PublishReply ToProto(const PublishTally& tally);

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_CONVERT_RPC_H_
