#include "services/router/convert_rpc.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "services/rpc/candidate_rpc.h"
#include "services/rpc/worker_rpc.h"

namespace decant {
namespace {

TokenCounts FromProto(const v1::TierCounts& tiers) {
  return TokenCounts{tiers.high(), tiers.low(), tiers.pruned(), tiers.demoted(), tiers.dropped()};
}

KvByteCounts FromProto(const v1::KvBytes& kv) { return KvByteCounts{kv.full(), kv.wire(), kv.resident()}; }

void Fill(const TokenCounts& tiers, v1::TierCounts& out) {
  out.set_high(tiers.high);
  out.set_low(tiers.low);
  out.set_pruned(tiers.pruned);
  out.set_demoted(tiers.demoted);
  out.set_dropped(tiers.dropped);
}

void Fill(const KvByteCounts& kv, v1::KvBytes& out) {
  out.set_full(kv.full);
  out.set_wire(kv.wire);
  out.set_resident(kv.resident);
}

void Fill(const SloWish& slo, v1::Slo& out) {
  out.set_ttft_ms(slo.ttft_ms);
  out.set_tpot_ms(slo.tpot_ms);
}

void Fill(const SamplingChoice& sampling, v1::Sampling& out) {
  out.set_temperature(sampling.temperature);
  out.set_top_k(sampling.top_k);
  out.set_top_p(sampling.top_p);
  out.set_seed(sampling.seed);
}

void Fill(const PlannedPart& part, v1::PlannedChunk& out) {
  out.set_key(DigestBytes(part.key));
  out.set_first_token(part.first_token);
  out.set_tokens(part.tokens);
  out.set_profile(part.profile);
  out.set_variant(DigestBytes(part.variant));
  out.set_bytes(part.bytes);
}

}  // namespace

absl::StatusOr<GenerateInput> FromProto(const v1::GenerateRequest& request, const std::string& tenant) {
  GenerateInput input;
  switch (request.prompt_case()) {
    case v1::GenerateRequest::kText:
      input.text = request.text();
      break;
    case v1::GenerateRequest::kTokenIds:
      input.token_ids.assign(request.token_ids().ids().begin(), request.token_ids().ids().end());
      break;
    case v1::GenerateRequest::PROMPT_NOT_SET:
      return absl::InvalidArgumentError("the request has no prompt: set text or token_ids");
  }
  RequestTerms& terms = input.terms;
  terms.request_id = request.request_id();
  terms.tenant = tenant;
  terms.sampling = {request.sampling().temperature(), request.sampling().top_k(), request.sampling().top_p(),
                    request.sampling().seed()};
  terms.max_tokens = request.max_tokens();
  terms.stop.assign(request.stop().begin(), request.stop().end());
  terms.slo = {request.slo().ttft_ms(), request.slo().tpot_ms()};
  terms.fidelity_floor = request.fidelity_floor();
  terms.profile = request.profile();
  terms.link_bits_per_s = request.link_bits_per_s();
  terms.publish = !request.no_publish();
  return input;
}

absl::StatusOr<WorkerFacts> FromProto(const std::string& address, const v1::DescribeReply& reply) {
  WorkerFacts facts;
  facts.address = address;
  if (reply.kind() == v1::WORKER_KIND_PREFILL) {
    facts.kind = WorkerFacts::Kind::kPrefill;
  } else if (reply.kind() == v1::WORKER_KIND_DECODE) {
    facts.kind = WorkerFacts::Kind::kDecode;
  } else {
    return absl::InvalidArgumentError(absl::StrCat("worker ", address, " does not say what kind it is"));
  }
  absl::StatusOr<ServedModel> model = FromProto(reply.model());
  if (!model.ok()) {
    return absl::Status(model.status().code(), absl::StrCat("worker ", address, ": ", model.status().message()));
  }
  facts.model_name = std::move(model->name);
  facts.fingerprint = model->fingerprint;
  facts.geometry = model->geometry;
  facts.run_type = model->run_type;
  facts.max_positions = model->max_positions;
  for (const int link : reply.links()) {
    if (v1::LinkKind_IsValid(link)) facts.links.push_back(static_cast<LinkKind>(link));
  }
  facts.host = reply.host();
  facts.link_bits_per_s = reply.link_bits_per_s();
  facts.page_bytes = reply.page_bytes();
  facts.frame_version = reply.frame_version();
  return facts;
}

absl::StatusOr<PlanAnswer> FromProto(const v1::PlanReply& reply) {
  PlanAnswer answer;
  answer.lease = reply.lease();
  answer.miss_reason = reply.miss_reason();
  for (const v1::CandidatePlan& from : reply.plans()) {
    PairPlan& plan = answer.plans.emplace_back();
    plan.candidate = from.candidate();
    plan.profile = from.profile();
    DECANT_ASSIGN_OR_RETURN(plan.profile_digest,
                            DigestOrZero(from.profile_digest(), "the digest of a planned profile"));
    plan.reason = from.reason();
    plan.predicted_ttft_ms = from.predicted_ttft_ms();
    plan.quality = from.quality();
    plan.reused_tokens = from.reused_tokens();
    for (const v1::PlanAlternative& other : from.alternatives()) {
      plan.alternatives.push_back(
          {other.profile(), other.predicted_ttft_ms(), other.quality(), other.reuse(), other.verdict()});
    }
  }
  for (const v1::PlannedChunk& from : reply.prefix()) {
    PlannedPart& part = answer.prefix.emplace_back();
    DECANT_ASSIGN_OR_RETURN(part.key, DigestFromBytes(from.key(), "the key of a planned chunk"));
    DECANT_ASSIGN_OR_RETURN(part.variant, DigestFromBytes(from.variant(), "the variant of a planned chunk"));
    part.first_token = from.first_token();
    part.tokens = from.tokens();
    part.profile = from.profile();
    part.bytes = from.bytes();
    part.quality = from.quality();
    part.provenance = static_cast<Provenance>(from.provenance());
    part.tier = from.tier();
    part.encoded_from.assign(from.encoded_from().begin(), from.encoded_from().end());
  }
  return answer;
}

PrefillAnswer FromProto(const v1::PrefillReply& reply) {
  PrefillAnswer answer;
  answer.tokens_computed = reply.tokens_computed();
  answer.prefix_tokens_reused = reply.prefix_tokens_reused();
  answer.prefix_miss_reason = reply.prefix_miss_reason();
  answer.kv = FromProto(reply.kv());
  answer.tiers = FromProto(reply.tiers());
  answer.key_error = reply.key_error();
  answer.value_error = reply.value_error();
  answer.load_ms = reply.load_ms();
  answer.compute_ms = reply.compute_ms();
  answer.encode_ms = reply.encode_ms();
  answer.wire_ms = reply.wire_ms();
  return answer;
}

TokenBatch FromProto(const v1::TokenEvent& event) {
  TokenBatch batch;
  batch.index = event.index();
  batch.tokens.assign(event.tokens().begin(), event.tokens().end());
  batch.last = event.last();
  batch.finish_reason = event.finish_reason();
  batch.kv = FromProto(event.kv());
  batch.tiers = FromProto(event.tiers());
  return batch;
}

v1::ModelIdentity IdentityOf(const RouterModel& model, RunType run_type) {
  return ToProto(ServedModel{model.fingerprint, model.geometry, run_type, model.max_positions, model.name});
}

v1::PlanRequest ToProto(const RouterModel& model, const PlanQuery& query) {
  v1::PlanRequest request;
  request.set_request_id(query.request_id);
  request.set_tenant(query.tenant);
  *request.mutable_model() = IdentityOf(model, query.run_type);
  for (const Digest& key : query.chunk_keys) request.add_chunk_keys(DigestBytes(key));
  request.set_chunk_tokens(query.chunk_tokens);
  request.set_prompt_tokens(query.prompt_tokens);
  request.set_max_tokens(query.max_tokens);
  Fill(query.slo, *request.mutable_slo());
  request.set_fidelity_floor(query.fidelity_floor);
  request.set_profile(query.profile);
  for (const PairCandidate& pair : query.candidates) *request.add_candidates() = ToProto(pair);
  return request;
}

v1::ReserveRequest ToProto(const RouterModel& model, const ReserveQuery& query) {
  v1::ReserveRequest request;
  request.set_request_id(query.request_id);
  request.set_prompt_tokens(query.prompt_tokens);
  request.set_max_tokens(query.max_tokens);
  request.set_profile(query.profile);
  if (!query.profile_digest.IsZero()) request.set_profile_digest(DigestBytes(query.profile_digest));
  Fill(query.sampling, *request.mutable_sampling());
  for (const int32_t token : model.end_tokens) request.add_end_tokens(token);
  *request.mutable_model() = IdentityOf(model, query.run_type);
  request.set_first_token_index(query.first_token_index);
  request.set_wait_ms(static_cast<int32_t>(absl::ToInt64Milliseconds(query.wait)));
  return request;
}

v1::PrefillRequest ToProto(const RouterModel& model, const PrefillOrder& order, const std::string& pool) {
  v1::PrefillRequest request;
  request.set_request_id(order.request_id);
  request.mutable_token_ids()->Assign(order.tokens.begin(), order.tokens.end());
  Fill(order.sampling, *request.mutable_sampling());
  request.set_position_of_first_token(order.position_of_first_token);
  request.set_profile(order.profile);
  if (!order.profile_digest.IsZero()) request.set_profile_digest(DigestBytes(order.profile_digest));
  request.set_decode_address(order.decode);
  request.set_ticket(order.ticket);
  *request.mutable_model() = IdentityOf(model, order.run_type);
  if (order.use_pool) request.set_pool_address(pool);
  request.set_lease(order.lease);
  request.set_fidelity_floor(order.floor);
  for (const PlannedPart& part : order.prefix) Fill(part, *request.add_prefix());
  request.set_publish(order.publish);
  for (const Digest& key : order.chunk_keys) request.add_publish_keys(DigestBytes(key));
  request.set_chunk_tokens(order.chunk_tokens);
  for (const int32_t token : model.end_tokens) request.add_end_tokens(token);
  request.set_tenant(order.tenant);
  return request;
}

v1::ReportRequest ToProto(const ReportFacts& facts) {
  v1::ReportRequest request;
  request.set_request_id(facts.request_id);
  request.set_profile(facts.profile);
  request.set_prefill(facts.prefill);
  request.set_decode(facts.decode);
  request.set_prompt_tokens(facts.prompt_tokens);
  request.set_tokens_computed(facts.tokens_computed);
  request.set_compute_ms(facts.compute_ms);
  request.set_encode_ms(facts.encode_ms);
  request.set_wire_ms(facts.wire_ms);
  request.set_ttft_ms(facts.ttft_ms);
  request.set_wire_bytes(facts.kv.wire);
  request.set_full_bytes(facts.kv.full);
  return request;
}

v1::GenerateEvent ToProto(const StartedNotice& notice) {
  v1::GenerateEvent event;
  v1::Started& started = *event.mutable_started();
  started.set_request_id(notice.request_id);
  started.set_prompt_tokens(notice.prompt_tokens);
  started.set_profile(notice.profile);
  started.set_reason(notice.reason);
  return event;
}

v1::GenerateEvent ToProto(const PieceNotice& notice) {
  v1::GenerateEvent event;
  v1::Piece& piece = *event.mutable_piece();
  piece.set_index(notice.index);
  piece.mutable_tokens()->Assign(notice.tokens.begin(), notice.tokens.end());
  piece.set_text(notice.text);
  return event;
}

v1::GenerateEvent ToProto(const FinishedNotice& notice) {
  v1::GenerateEvent event;
  v1::Finished& finished = *event.mutable_finished();
  finished.set_finish_reason(notice.finish_reason);
  finished.set_prompt_tokens(notice.prompt_tokens);
  finished.set_output_tokens(notice.output_tokens);
  finished.set_ttft_ms(notice.ttft_ms);
  finished.set_total_ms(notice.total_ms);
  Fill(notice.kv, *finished.mutable_kv());
  Fill(notice.tiers, *finished.mutable_tiers());
  finished.set_prefix_tokens_reused(notice.prefix_tokens_reused);
  finished.set_profile(notice.profile);
  finished.set_reason(notice.reason);
  return event;
}

v1::ExplainReply ToProto(const Explanation& explanation) {
  v1::ExplainReply reply;
  reply.set_request_id(explanation.request_id);
  reply.set_profile(explanation.profile);
  reply.set_reason(explanation.reason);
  reply.set_fidelity_floor(explanation.fidelity_floor);
  Fill(explanation.slo, *reply.mutable_slo());
  for (const PlanAlternative& other : explanation.alternatives) {
    v1::ExplainReply::Alternative& alternative = *reply.add_alternatives();
    alternative.set_profile(other.profile);
    alternative.set_predicted_ttft_ms(other.predicted_ttft_ms);
    alternative.set_quality(other.quality);
    alternative.set_verdict(other.verdict);
    alternative.set_reuse(other.reuse);
  }
  reply.set_prompt_tokens(explanation.prompt_tokens);
  reply.set_prefix_tokens_reused(explanation.prefix_tokens_reused);
  reply.set_tokens_computed(explanation.tokens_computed);
  reply.set_prefix_miss_reason(explanation.prefix_miss_reason);
  reply.set_prefill_worker(explanation.prefill);
  reply.set_decode_worker(explanation.decode);
  Fill(explanation.kv, *reply.mutable_kv());
  Fill(explanation.tiers, *reply.mutable_tiers());
  for (const Hop& from : explanation.hops) {
    v1::ExplainReply::Hop& hop = *reply.add_hops();
    hop.set_name(from.name);
    hop.set_start_ms(from.start_ms);
    hop.set_duration_ms(from.duration_ms);
  }
  reply.set_predicted_ttft_ms(explanation.predicted_ttft_ms);
  reply.set_measured_ttft_ms(explanation.measured_ttft_ms);
  reply.set_replans(explanation.replans);
  reply.set_state(explanation.state);
  reply.set_key_error(explanation.key_error);
  reply.set_value_error(explanation.value_error);
  for (const ReusedPart& from : explanation.parts) {
    v1::ExplainReply::Part& part = *reply.add_parts();
    part.set_first_token(from.first_token);
    part.set_tokens(from.tokens);
    part.set_chunks(from.chunks);
    part.set_tier(from.tier);
    part.set_profile(from.profile);
    for (const std::string& form : from.encoded_from) part.add_encoded_from(form);
    part.set_provenance(static_cast<v1::Provenance>(from.provenance));
    part.set_quality(from.quality);
    part.set_bytes(from.bytes);
  }
  return reply;
}

}  // namespace decant
