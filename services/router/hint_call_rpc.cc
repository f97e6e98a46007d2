#include "services/router/hint_call_rpc.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/rpc/status_edge.h"
#include "services/rpc/worker_rpc.h"

namespace decant {
namespace {

bool IsRefusal(const v1::HintReceipt& receipt) { return receipt.outcome() == v1::HINT_OUTCOME_REFUSED; }

// What two shards made of one action: who did something counts, and what was done adds up.
void Merge(const v1::HintReceipt& receipt, std::optional<v1::HintReceipt>& merged) {
  if (!merged.has_value() || (IsRefusal(*merged) && !IsRefusal(receipt))) {
    merged = receipt;
  } else if (!IsRefusal(receipt)) {
    merged->set_chunks(merged->chunks() + receipt.chunks());
    merged->set_bytes(merged->bytes() + receipt.bytes());
    merged->set_clamped(merged->clamped() || receipt.clamped());
    if (receipt.outcome() == v1::HINT_OUTCOME_ACCEPTED) merged->set_outcome(receipt.outcome());
  }
}

}  // namespace

HintCall::HintCall(std::string tenant, HintEnvelope envelope)
    : tenant_(std::move(tenant)),
      envelope_(std::move(envelope)),
      prompts_(envelope_.actions.size()),
      receipts_(envelope_.actions.size()) {}

void HintCall::Tokenise(const RouterModel& model, absl::Time now) {
  for (size_t i = 0; i < envelope_.actions.size(); ++i) {
    HintAction& action = envelope_.actions[i];
    if (!action.refusal.empty()) continue;
    if (action.expires.has_value() && *action.expires <= now) {
      action.refusal = "it came after it had expired";
      continue;
    }
    if (!action.keys.empty()) continue;
    GenerateInput input;
    input.terms.max_tokens = 1;
    input.text = std::move(action.text);
    input.token_ids = std::move(action.token_ids);
    absl::StatusOr<PreparedRequest> prepared = PrepareRequest(model, std::move(input));
    if (prepared.ok()) {
      prompts_[i] = std::move(prepared->prompt);
    } else {
      action.refusal = std::string(prepared.status().message());
    }
  }
}

const std::map<std::string, HintCall::Question>& HintCall::Ask(const Router& router, const PoolShards& shards,
                                                               int32_t chunk_tokens) {
  for (size_t i = 0; i < envelope_.actions.size(); ++i) {
    HintAction& action = envelope_.actions[i];
    if (!action.refusal.empty()) continue;
    if (shards.addresses().empty()) {
      action.refusal = "this router has no pool";
      continue;
    }
    if (!action.keys.empty()) {
      for (const std::string& shard : shards.addresses()) AskOne(i, shard, action.keys);
      continue;
    }
    const absl::StatusOr<std::vector<Digest>> keys = router.KeysOf(tenant_, prompts_[i]);
    if (!keys.ok()) {
      action.refusal = std::string(keys.status().message());
    } else if (keys->empty()) {
      action.refusal = absl::StrCat("it is shorter than one chunk of ", chunk_tokens, " tokens");
    } else {
      AskOne(i, shards.Of(*keys), *keys);
    }
  }
  return questions_;
}

void HintCall::AskOne(size_t index, const std::string& shard, const std::vector<Digest>& keys) {
  const HintAction& action = envelope_.actions[index];
  Question& question = questions_[shard];
  question.request.set_tenant(tenant_);
  question.actions.push_back(index);
  v1::PoolHint& hint = *question.request.add_hints();
  hint.set_action_id(action.action_id);
  hint.set_kind(static_cast<v1::HintKind>(action.verb));
  for (const Digest& key : keys) hint.add_keys(DigestBytes(key));
  hint.set_priority(action.priority);
  hint.set_duration_ms(absl::ToInt64Milliseconds(action.duration));
  hint.set_profile(action.profile);
  hint.set_deadline_ms(absl::ToInt64Milliseconds(action.deadline));
  hint.set_drop(action.drop);
}

bool HintCall::TakeAnswer(const Question& question, const absl::StatusOr<v1::PoolHintReply>& reply) {
  absl::MutexLock lock(&mutex_);
  if (!reply.ok()) {
    lost_ = reply.status();
  } else if (reply->receipts_size() != static_cast<int>(question.actions.size())) {
    lost_ = absl::DataLossError("the pool gave another number of receipts than there are actions");
  } else {
    for (size_t i = 0; i < question.actions.size(); ++i) {
      Merge(reply->receipts(static_cast<int>(i)), receipts_[question.actions[i]]);
    }
  }
  return ++answers_ == questions_.size();
}

absl::StatusOr<v1::HintReply> HintCall::Reply() {
  absl::MutexLock lock(&mutex_);
  v1::HintReply reply;
  reply.set_message_id(envelope_.message_id);
  for (size_t i = 0; i < envelope_.actions.size(); ++i) {
    const HintAction& action = envelope_.actions[i];
    v1::HintReceipt& receipt = *reply.add_receipts();
    if (receipts_[i].has_value()) {
      receipt = *receipts_[i];
    } else if (action.refusal.empty()) {
      return AsError(lost_);
    } else {
      receipt.set_outcome(v1::HINT_OUTCOME_REFUSED);
      receipt.set_reason(action.refusal);
    }
    receipt.set_action_id(action.action_id);
    receipt.set_action_type(action.action_type);
  }
  return reply;
}

}  // namespace decant
