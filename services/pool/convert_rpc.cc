#include "services/pool/convert_rpc.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "services/rpc/worker_rpc.h"

namespace decant {
namespace {

absl::StatusOr<Digest> DigestOf(const std::string& bytes, const char* field, bool may_be_empty = false) {
  Digest digest;
  if (bytes.empty() && may_be_empty) return digest;
  if (bytes.size() != digest.bytes.size()) {
    return absl::InvalidArgumentError(absl::StrCat(field, " has ", bytes.size(), " bytes instead of 32"));
  }
  std::memcpy(digest.bytes.data(), bytes.data(), bytes.size());
  return digest;
}

std::string BytesOf(const Digest& digest) {
  return std::string(reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size());
}

WorkerLoad LoadOf(const v1::Load& proto) {
  WorkerLoad load;
  load.running = proto.running();
  load.waiting = proto.waiting();
  load.free_pages = proto.free_pages();
  load.total_pages = proto.total_pages();
  load.prefill_tokens_per_s = proto.prefill_tokens_per_s();
  load.decode_steps_per_s = proto.decode_steps_per_s();
  load.encode_bytes_per_s = proto.encode_bytes_per_s();
  load.draining = proto.draining();
  return load;
}

LinkKind KindOf(v1::LinkKind kind) {
  switch (kind) {
    case v1::LINK_KIND_LOOPBACK:
      return LinkKind::kLoopback;
    case v1::LINK_KIND_GRPC:
      return LinkKind::kGrpc;
    case v1::LINK_KIND_NCCL:
      return LinkKind::kNccl;
    case v1::LINK_KIND_CUDA_IPC:
      return LinkKind::kCudaIpc;
    default:
      return LinkKind::kUnspecified;
  }
}

PairCandidate CandidateOf(const v1::Candidate& proto) {
  PairCandidate pair;
  pair.prefill = proto.prefill();
  pair.decode = proto.decode();
  pair.link = KindOf(proto.link());
  pair.link_bits_per_s = proto.link_bits_per_s();
  pair.prefill_load = LoadOf(proto.prefill_load());
  pair.decode_load = LoadOf(proto.decode_load());
  pair.prefill_queued_tokens = proto.prefill_queued_tokens();
  pair.decode_page_bytes = proto.decode_page_bytes();
  return pair;
}

}  // namespace

absl::StatusOr<PoolModel> PoolModelFrom(const v1::ModelIdentity& proto) {
  DECANT_ASSIGN_OR_RETURN(const ServedModel model, ServedModelFrom(proto));
  return PoolModel{model.fingerprint, model.geometry, model.run_type, model.name};
}

absl::StatusOr<PlanDemand> FromProto(const v1::PlanRequest& proto) {
  PlanDemand demand;
  demand.tenant = proto.tenant();
  DECANT_ASSIGN_OR_RETURN(demand.model, PoolModelFrom(proto.model()));
  for (const std::string& key : proto.chunk_keys()) {
    DECANT_ASSIGN_OR_RETURN(const Digest digest, DigestOf(key, "a chunk key"));
    demand.chunk_keys.push_back(digest);
  }
  demand.chunk_tokens = proto.chunk_tokens();
  demand.prompt_tokens = proto.prompt_tokens();
  demand.max_tokens = proto.max_tokens();
  demand.ttft_ms = proto.slo().ttft_ms();
  demand.tpot_ms = proto.slo().tpot_ms();
  demand.floor = proto.fidelity_floor();
  demand.profile = proto.profile();
  for (const v1::Candidate& candidate : proto.candidates()) demand.candidates.push_back(CandidateOf(candidate));
  return demand;
}

absl::StatusOr<PublishStart> FromProto(const v1::PublishOpen& proto) {
  PublishStart start;
  start.tenant = proto.tenant();
  DECANT_ASSIGN_OR_RETURN(start.model, PoolModelFrom(proto.model()));
  start.profile = proto.profile();
  for (const v1::PublishOpen::Chunk& chunk : proto.chunks()) {
    OfferedChunk offered;
    DECANT_ASSIGN_OR_RETURN(offered.key, DigestOf(chunk.key(), "chunk.key"));
    DECANT_ASSIGN_OR_RETURN(offered.parent, DigestOf(chunk.parent(), "chunk.parent", true));
    DECANT_ASSIGN_OR_RETURN(offered.context, DigestOf(chunk.context(), "chunk.context", true));
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
    DECANT_ASSIGN_OR_RETURN(want.key, DigestOf(chunk.key(), "chunk.key"));
    DECANT_ASSIGN_OR_RETURN(want.variant, DigestOf(chunk.variant(), "chunk.variant"));
    wanted.push_back(want);
  }
  return wanted;
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
    chunk.set_key(BytesOf(variant.key));
    chunk.set_first_token(variant.first_token);
    chunk.set_tokens(variant.tokens);
    chunk.set_profile(variant.profile_name);
    chunk.set_variant(BytesOf(VariantDigest(variant.profile, variant.context)));
    chunk.set_bytes(variant.bytes);
    chunk.set_quality(variant.quality);
    chunk.set_provenance(static_cast<v1::Provenance>(variant.provenance));
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
