#include "services/pool/convert_rpc.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/store/tier.h"
#include "services/rpc/candidate_rpc.h"
#include "services/rpc/worker_rpc.h"

namespace decant {
namespace {

// A chunk's parent and context may be none.
absl::StatusOr<Digest> OptionalDigest(const std::string& bytes, absl::string_view what) {
  if (bytes.empty()) return Digest();
  return DigestFromBytes(bytes, what);
}

}  // namespace

absl::StatusOr<PoolModel> PoolModelFrom(const v1::ModelIdentity& proto) {
  DECANT_ASSIGN_OR_RETURN(const ServedModel model, FromProto(proto));
  return PoolModel{model.fingerprint, model.geometry, model.run_type, model.name};
}

absl::StatusOr<PlanDemand> FromProto(const v1::PlanRequest& proto) {
  PlanDemand demand;
  demand.request_id = proto.request_id();
  demand.tenant = proto.tenant();
  DECANT_ASSIGN_OR_RETURN(demand.model, PoolModelFrom(proto.model()));
  for (const std::string& key : proto.chunk_keys()) {
    DECANT_ASSIGN_OR_RETURN(const Digest digest, DigestFromBytes(key, "a chunk key"));
    demand.chunk_keys.push_back(digest);
  }
  demand.chunk_tokens = proto.chunk_tokens();
  demand.prompt_tokens = proto.prompt_tokens();
  demand.max_tokens = proto.max_tokens();
  demand.ttft_ms = proto.slo().ttft_ms();
  demand.tpot_ms = proto.slo().tpot_ms();
  demand.floor = proto.fidelity_floor();
  demand.profile = proto.profile();
  for (const v1::Candidate& candidate : proto.candidates()) demand.candidates.push_back(FromProto(candidate));
  return demand;
}

absl::StatusOr<PublishStart> FromProto(const v1::PublishOpen& proto) {
  PublishStart start;
  start.tenant = proto.tenant();
  DECANT_ASSIGN_OR_RETURN(start.model, PoolModelFrom(proto.model()));
  start.profile = proto.profile();
  start.floor = proto.fidelity_floor();
  start.ends = proto.ends();
  for (const v1::PublishOpen::Chunk& chunk : proto.chunks()) {
    OfferedChunk offered;
    DECANT_ASSIGN_OR_RETURN(offered.key, DigestFromBytes(chunk.key(), "chunk.key"));
    DECANT_ASSIGN_OR_RETURN(offered.parent, OptionalDigest(chunk.parent(), "chunk.parent"));
    DECANT_ASSIGN_OR_RETURN(offered.context, OptionalDigest(chunk.context(), "chunk.context"));
    offered.first_token = chunk.first_token();
    offered.tokens = chunk.tokens();
    offered.quality = chunk.quality();
    start.chunks.push_back(offered);
  }
  return start;
}

absl::StatusOr<std::vector<WantedChunk>> FromProto(const google::protobuf::RepeatedPtrField<v1::PlannedChunk>& chunks) {
  std::vector<WantedChunk> wanted;
  for (const v1::PlannedChunk& chunk : chunks) {
    WantedChunk want;
    DECANT_ASSIGN_OR_RETURN(want.key, DigestFromBytes(chunk.key(), "chunk.key"));
    DECANT_ASSIGN_OR_RETURN(want.variant, DigestFromBytes(chunk.variant(), "chunk.variant"));
    wanted.push_back(want);
  }
  return wanted;
}

absl::StatusOr<WorkflowUpdate> FromProto(const v1::WorkflowUpdate& proto) {
  WorkflowUpdate update;
  update.tenant = proto.tenant();
  update.client = proto.client();
  update.version = proto.version();
  update.life = absl::Milliseconds(proto.life_ms());
  switch (proto.what_case()) {
    case v1::WorkflowUpdate::kForget:
      update.what = WorkflowUpdate::What::kForget;
      return update;
    case v1::WorkflowUpdate::kRunning:
      update.what = WorkflowUpdate::What::kRunning;
      update.running.assign(proto.running().agents().begin(), proto.running().agents().end());
      return update;
    case v1::WorkflowUpdate::kSteps:
      update.what = WorkflowUpdate::What::kSteps;
      for (const auto& agent : proto.steps().agents()) update.steps.emplace_back(agent.name(), agent.steps());
      return update;
    case v1::WorkflowUpdate::kGraph:
      break;
    case v1::WorkflowUpdate::WHAT_NOT_SET:
      return absl::InvalidArgumentError("a workflow update says nothing: name graph, running, steps or forget");
  }
  update.what = WorkflowUpdate::What::kGraph;
  for (const v1::WorkflowUpdate::Agent& from : proto.graph().agents()) {
    if (from.join() != v1::WorkflowUpdate::JOIN_ANY && from.join() != v1::WorkflowUpdate::JOIN_ALL) {
      return absl::InvalidArgumentError(absl::StrCat("agent '", from.name(), "' has join ", from.join()));
    }
    WorkflowAgent& agent = update.agents.emplace_back();
    agent.name = from.name();
    agent.join = from.join() == v1::WorkflowUpdate::JOIN_ALL ? Join::kAll : Join::kAny;
    agent.after.assign(from.after().begin(), from.after().end());
    std::vector<Digest>& keys = update.prefixes.emplace_back(from.name(), std::vector<Digest>()).second;
    for (const std::string& key : from.prefix_keys()) {
      DECANT_ASSIGN_OR_RETURN(const Digest digest, DigestFromBytes(key, "a prefix key"));
      keys.push_back(digest);
    }
  }
  return update;
}

Observation FromProto(const v1::ReportRequest& proto) {
  Observation seen;
  seen.profile = proto.profile();
  seen.prefill = proto.prefill();
  seen.decode = proto.decode();
  seen.prompt_tokens = proto.prompt_tokens();
  seen.tokens_computed = proto.tokens_computed();
  seen.compute_ms = proto.compute_ms();
  seen.encode_ms = proto.encode_ms();
  seen.wire_ms = proto.wire_ms();
  seen.ttft_ms = proto.ttft_ms();
  seen.wire_bytes = proto.wire_bytes();
  seen.full_bytes = proto.full_bytes();
  return seen;
}

v1::PlanReply ToProto(const PlanOffer& offer) {
  v1::PlanReply reply;
  for (const PairOffer& pair : offer.pairs) {
    v1::CandidatePlan& plan = *reply.add_plans();
    plan.set_candidate(pair.candidate);
    plan.set_profile(pair.choice.profile);
    plan.set_profile_digest(DigestBytes(pair.choice.digest));
    plan.set_reason(pair.choice.reason);
    plan.set_predicted_ttft_ms(pair.choice.predicted_ttft_ms);
    plan.set_quality(pair.choice.quality);
    plan.set_reused_tokens(static_cast<int32_t>(pair.choice.reused_tokens));
    for (const PricedAlternative& priced : pair.choice.alternatives) {
      v1::PlanAlternative& alternative = *plan.add_alternatives();
      alternative.set_profile(priced.profile);
      alternative.set_predicted_ttft_ms(priced.predicted_ttft_ms);
      alternative.set_quality(priced.quality);
      alternative.set_reuse(priced.reuse);
      alternative.set_verdict(priced.verdict);
    }
  }
  for (const Variant& variant : offer.prefix) {
    v1::PlannedChunk& chunk = *reply.add_prefix();
    chunk.set_key(DigestBytes(variant.key));
    chunk.set_first_token(variant.first_token);
    chunk.set_tokens(variant.tokens);
    chunk.set_profile(variant.profile_name);
    chunk.set_variant(DigestBytes(VariantDigest(variant.profile, variant.context)));
    chunk.set_bytes(variant.bytes);
    chunk.set_quality(variant.quality);
    chunk.set_provenance(static_cast<v1::Provenance>(variant.provenance));
    chunk.set_tier(std::string(TierName(variant.tier)));
    for (const absl::string_view form : absl::StrSplit(variant.encoded_from, ',', absl::SkipEmpty())) {
      chunk.add_encoded_from(std::string(form));
    }
  }
  reply.set_lease(offer.lease);
  reply.set_lease_ms(static_cast<int32_t>(absl::ToInt64Milliseconds(offer.lease_time)));
  reply.set_miss_reason(offer.miss_reason);
  return reply;
}

v1::PublishReply ToProto(const PublishTally& tally) {
  v1::PublishReply reply;
  reply.set_stored(tally.stored);
  reply.set_known(tally.known);
  reply.set_refused(tally.refused);
  return reply;
}

}  // namespace decant
