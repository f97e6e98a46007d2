#include "services/router/request.h"

#include <algorithm>
#include <utility>

#include "absl/types/span.h"

namespace decant {
namespace {

// Of the chunks before `end`, a token.
std::vector<ReusedPart> PartsBefore(int32_t end, absl::Span<const PlannedPart> chunks) {
  std::vector<ReusedPart> parts;
  for (const PlannedPart& chunk : chunks) {
    if (chunk.first_token >= end) break;
    if (parts.empty() || parts.back().tier != chunk.tier || parts.back().profile != chunk.profile ||
        parts.back().encoded_from != chunk.encoded_from) {
      ReusedPart part;
      part.first_token = chunk.first_token;
      part.tier = chunk.tier;
      part.profile = chunk.profile;
      part.encoded_from = chunk.encoded_from;
      parts.push_back(std::move(part));
    }
    ReusedPart& part = parts.back();
    part.tokens += chunk.tokens;
    part.chunks += 1;
    part.provenance = std::max(part.provenance, chunk.provenance);
    part.quality = std::min(part.quality, chunk.quality);
    part.bytes += chunk.bytes;
  }
  return parts;
}

}  // namespace

Request::Request(RequestNumber request_number, const Tokenizer& tokenizer, PreparedRequest prepared, absl::Time came)
    : number(request_number),
      terms(std::move(prepared.terms)),
      tokens(std::move(prepared.prompt)),
      prompt_tokens(static_cast<int32_t>(tokens.size())),
      text(tokenizer, terms.stop),
      arrived(came) {
  explanation.request_id = terms.request_id;
  explanation.tenant = terms.tenant;
  explanation.fidelity_floor = terms.fidelity_floor;
  explanation.slo = terms.slo;
  explanation.prompt_tokens = prompt_tokens;
  explanation.state = "running";
}

double Request::ttft_ms() const {
  if (first_token_at == absl::InfinitePast()) return 0;
  return absl::ToDoubleMilliseconds(first_token_at - arrived);
}

double Request::tpot_ms() const {
  if (answered() < 2) return 0;
  return absl::ToDoubleMilliseconds(last_token_at - first_token_at) / (answered() - 1);
}

void Request::AddHop(absl::string_view name, absl::Time start, absl::Time end) {
  explanation.hops.push_back(
      Hop{std::string(name), absl::ToDoubleMilliseconds(start - arrived), absl::ToDoubleMilliseconds(end - start)});
}

void Request::MarkFirstToken(absl::Time now) {
  first_token_at = now;
  explanation.measured_ttft_ms = ttft_ms();
}

void Request::ExplainAttempt() {
  const PairPlan& plan = attempt.chosen();
  explanation.profile = plan.profile;
  explanation.reason = plan.reason;
  explanation.prefill = attempt.prefill;
  explanation.decode = attempt.decode;
  if (first_token_at != absl::InfinitePast()) return;  // what was planned for the first token has been seen
  explanation.alternatives = plan.alternatives;
  explanation.predicted_ttft_ms = plan.predicted_ttft_ms;
  explanation.prefix_miss_reason = attempt.miss_reason;
}

void Request::TakeNumbers(const PrefillAnswer& answer) {
  explanation.kv.wire += answer.kv.wire;
  const double began = absl::ToDoubleMilliseconds(attempt.step_began - arrived);
  // The three run beside each other; what is known of each is how long it took in all.
  explanation.hops.push_back(Hop{"prefill.load", began, answer.load_ms});
  explanation.hops.push_back(Hop{"prefill.compute", began, answer.compute_ms});
  explanation.hops.push_back(Hop{"prefill.encode", began, answer.encode_ms});
  explanation.hops.push_back(Hop{"prefill.wire", began, answer.wire_ms});
  if (prefilled.has_value()) return;
  prefilled = answer;
  explanation.prefix_tokens_reused = answer.prefix_tokens_reused;
  explanation.tokens_computed = answer.tokens_computed;
  if (!answer.prefix_miss_reason.empty()) explanation.prefix_miss_reason = answer.prefix_miss_reason;
  explanation.parts = PartsBefore(answer.prefix_tokens_reused, attempt.prefix);
  explanation.key_error = answer.key_error;
  explanation.value_error = answer.value_error;
  // Decode's last word may have come before.
  TokenCounts& tiers = explanation.tiers;
  if (tiers.high == 0 && tiers.low == 0) {
    tiers = answer.tiers;
  } else {
    tiers.pruned = std::max(tiers.pruned, answer.tiers.pruned);
  }
}

void Request::TakeEnd(const TokenBatch& batch) {
  const int64_t pruned = explanation.tiers.pruned;
  explanation.tiers = batch.tiers;
  explanation.tiers.pruned = std::max(pruned, batch.tiers.pruned);
  explanation.kv.full = batch.kv.full;
  explanation.kv.resident = batch.kv.resident;
}

}  // namespace decant
