#include "services/prefill/prefill_rpc.h"

#include <memory>
#include <utility>

#include "common/base/status_macros.h"
#include "services/rpc/reply.h"
#include "services/rpc/sampling_rpc.h"
#include "services/rpc/status_edge.h"
#include "services/rpc/worker_rpc.h"

namespace decant {
namespace {

absl::StatusOr<PrefillJob> JobOf(const v1::PrefillRequest& request) {
  PrefillJob job;
  DECANT_ASSIGN_OR_RETURN(const ServedModel model, FromProto(request.model()));
  DECANT_ASSIGN_OR_RETURN(job.sampling, SamplingFrom(request.sampling()));
  job.request_id = request.request_id();
  job.tenant = request.tenant();
  job.tokens.assign(request.token_ids().begin(), request.token_ids().end());
  job.position_of_first_token = request.position_of_first_token();
  job.end_tokens.assign(request.end_tokens().begin(), request.end_tokens().end());
  job.profile = request.profile();
  DECANT_ASSIGN_OR_RETURN(job.profile_digest, DigestOrZero(request.profile_digest(), "the profile's digest"));
  job.model = model.fingerprint;
  job.run_type = model.run_type;
  job.decode_address = request.decode_address();
  job.ticket = request.ticket();
  job.pool_address = request.pool_address();
  job.lease = request.lease();
  for (const v1::PlannedChunk& chunk : request.prefix()) {
    StoredChunk stored;
    DECANT_ASSIGN_OR_RETURN(stored.key, DigestFromBytes(chunk.key(), "the key of a planned chunk"));
    DECANT_ASSIGN_OR_RETURN(stored.variant, DigestFromBytes(chunk.variant(), "the variant of a planned chunk"));
    stored.first_token = chunk.first_token();
    stored.tokens = chunk.tokens();
    stored.profile = chunk.profile();
    stored.bytes = chunk.bytes();
    job.prefix.push_back(std::move(stored));
  }
  job.floor = request.fidelity_floor();
  job.publish = request.publish();
  for (const std::string& key : request.publish_keys()) {
    DECANT_ASSIGN_OR_RETURN(const Digest digest, DigestFromBytes(key, "a key to publish"));
    job.chunk_keys.push_back(digest);
  }
  // Without chunks the size only has to be one that can be.
  job.chunk_tokens = request.chunk_tokens() == 0 ? 64 : request.chunk_tokens();
  return job;
}

v1::PrefillReply ToProto(const PrefillOutcome& outcome) {
  v1::PrefillReply reply;
  reply.set_first_token(outcome.first_token);
  reply.set_finished(outcome.finished);
  reply.set_tokens_computed(outcome.tokens_computed);
  reply.set_prefix_tokens_reused(outcome.tokens_reused);
  reply.set_prefix_miss_reason(outcome.miss_reason);
  reply.mutable_kv()->set_full(outcome.full_bytes);
  reply.mutable_kv()->set_wire(outcome.wire_bytes);
  reply.mutable_tiers()->set_high(outcome.counts.high);
  reply.mutable_tiers()->set_low(outcome.counts.low);
  reply.mutable_tiers()->set_pruned(outcome.counts.pruned);
  reply.set_key_error(outcome.key_error.Relative());
  reply.set_value_error(outcome.value_error.Relative());
  reply.set_load_ms(absl::ToDoubleMilliseconds(outcome.load));
  reply.set_compute_ms(absl::ToDoubleMilliseconds(outcome.compute));
  reply.set_encode_ms(absl::ToDoubleMilliseconds(outcome.encode));
  reply.set_wire_ms(absl::ToDoubleMilliseconds(outcome.wire));
  reply.set_chunks_published(outcome.chunks_to_publish);
  return reply;
}

}  // namespace

grpc::ServerUnaryReactor* PrefillService::Prefill(grpc::CallbackServerContext* context,
                                                  const v1::PrefillRequest* request, v1::PrefillReply* reply) {
  auto answer = UnaryAnswer<v1::PrefillReply>::Create(reply);
  auto job = JobOf(*request);
  if (!job.ok()) {
    answer->Finish(job.status());
    return answer->reactor();
  }
  job->deadline = DeadlineOf(*context);
  const uint64_t id = core_.Submit(*std::move(job), [answer](absl::StatusOr<PrefillOutcome> outcome) {
    if (!outcome.ok()) return answer->Finish(outcome.status());
    answer->Finish(ToProto(*outcome));
  });
  answer->OnCancel([this, id] { core_.Cancel(id); });
  return answer->reactor();
}

}  // namespace decant
