#include "services/rpc/candidate_rpc.h"

namespace decant {
namespace {

void Fill(const WorkerLoad& load, v1::Load& out) {
  out.set_running(load.running);
  out.set_waiting(load.waiting);
  out.set_free_pages(load.free_pages);
  out.set_total_pages(load.total_pages);
  out.set_prefill_tokens_per_s(load.prefill_tokens_per_s);
  out.set_decode_steps_per_s(load.decode_steps_per_s);
  out.set_encode_bytes_per_s(load.encode_bytes_per_s);
  out.set_draining(load.draining);
}

}  // namespace

WorkerLoad FromProto(const v1::Load& load) {
  WorkerLoad out;
  out.running = load.running();
  out.waiting = load.waiting();
  out.free_pages = load.free_pages();
  out.total_pages = load.total_pages();
  out.prefill_tokens_per_s = load.prefill_tokens_per_s();
  out.decode_steps_per_s = load.decode_steps_per_s();
  out.encode_bytes_per_s = load.encode_bytes_per_s();
  out.draining = load.draining();
  return out;
}

PairCandidate FromProto(const v1::Candidate& candidate) {
  PairCandidate pair;
  pair.prefill = candidate.prefill();
  pair.decode = candidate.decode();
  if (v1::LinkKind_IsValid(candidate.link())) pair.link = static_cast<LinkKind>(candidate.link());
  pair.link_bits_per_s = candidate.link_bits_per_s();
  pair.prefill_load = FromProto(candidate.prefill_load());
  pair.decode_load = FromProto(candidate.decode_load());
  pair.prefill_queued_tokens = candidate.prefill_queued_tokens();
  pair.decode_page_bytes = candidate.decode_page_bytes();
  return pair;
}

v1::Candidate ToProto(const PairCandidate& pair) {
  v1::Candidate candidate;
  candidate.set_prefill(pair.prefill);
  candidate.set_decode(pair.decode);
  candidate.set_link(static_cast<v1::LinkKind>(pair.link));
  candidate.set_link_bits_per_s(pair.link_bits_per_s);
  Fill(pair.prefill_load, *candidate.mutable_prefill_load());
  Fill(pair.decode_load, *candidate.mutable_decode_load());
  candidate.set_prefill_queued_tokens(pair.prefill_queued_tokens);
  candidate.set_decode_page_bytes(pair.decode_page_bytes);
  return candidate;
}

}  // namespace decant
