// Protos to the core's plain structs and back.
#ifndef DECANT_SERVICES_ROUTER_CONVERT_RPC_H_
#define DECANT_SERVICES_ROUTER_CONVERT_RPC_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "decant/v1/decode.pb.h"
#include "decant/v1/generation.pb.h"
#include "decant/v1/pool.pb.h"
#include "decant/v1/prefill.pb.h"
#include "decant/v1/worker.pb.h"
#include "services/router/explain_ledger.h"
#include "services/router/messages.h"
#include "services/router/request_check.h"

namespace decant {

// From clients and workers. INVALID_ARGUMENT for what no struct can hold: no prompt, a digest that is not 32 bytes, an
// enum without a value.
absl::StatusOr<GenerateInput> FromProto(const v1::GenerateRequest& request, const std::string& tenant);
absl::StatusOr<WorkerFacts> FromProto(const std::string& address, const v1::DescribeReply& reply);
absl::StatusOr<PlanAnswer> FromProto(const v1::PlanReply& reply);
PrefillAnswer FromProto(const v1::PrefillReply& reply);
TokenBatch FromProto(const v1::TokenEvent& event);

// To pool and workers.
v1::ModelIdentity IdentityOf(const RouterModel& model, RunType run_type);
v1::PlanRequest ToProto(const RouterModel& model, const PlanQuery& query);
v1::ReserveRequest ToProto(const RouterModel& model, const ReserveQuery& query);
v1::PrefillRequest ToProto(const RouterModel& model, const PrefillOrder& order, const std::string& pool);
v1::ReportRequest ToProto(const ReportFacts& facts);

// To clients.
v1::GenerateEvent ToProto(const StartedNotice& notice);
v1::GenerateEvent ToProto(const PieceNotice& notice);
v1::GenerateEvent ToProto(const FinishedNotice& notice);
v1::ExplainReply ToProto(const Explanation& explanation);

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_CONVERT_RPC_H_
