// One Hint call at the router's edge, from its envelope to its receipts.
//
// The envelope's prompts are tokenised on the caller's thread, their keys are made where the model's run type is known,
// and the shards of the pool that keep the chunks execute. What cannot be understood, or has no keys, is refused here.
#ifndef DECANT_SERVICES_ROUTER_HINT_CALL_RPC_H_
#define DECANT_SERVICES_ROUTER_HINT_CALL_RPC_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "decant/v1/generation.pb.h"
#include "decant/v1/pool.pb.h"
#include "services/router/kv_hints.h"
#include "services/router/pool_shards.h"
#include "services/router/router.h"

namespace decant {

class HintCall {
 public:
  // What one shard is asked, and about which actions.
  struct Question {
    v1::PoolHintRequest request;
    std::vector<size_t> actions;
  };

  HintCall(std::string tenant, HintEnvelope envelope);

  // ---- one after another.
  void Tokenise(const RouterModel& model, absl::Time now);
  // Of each shard that is to be asked, by its address. Prompts have one shard; whoever names keys does not say of which
  // prompt, so all are asked.
  const std::map<std::string, Question>& Ask(const Router& router, const PoolShards& shards, int32_t chunk_tokens);

  // ---- from any thread, once for each question. True when it was the last.
  bool TakeAnswer(const Question& question, const absl::StatusOr<v1::PoolHintReply>& reply);
  // One receipt for every action, in their order; the error of a shard when an action was answered by none.
  absl::StatusOr<v1::HintReply> Reply();

 private:
  void AskOne(size_t index, const std::string& shard, const std::vector<Digest>& keys);

  const std::string tenant_;
  HintEnvelope envelope_;
  std::vector<std::vector<int32_t>> prompts_;  // of each action; empty where it names keys
  std::map<std::string, Question> questions_;
  absl::Mutex mutex_;
  size_t answers_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::optional<v1::HintReceipt>> receipts_ ABSL_GUARDED_BY(mutex_);  // of each action
  absl::Status lost_ ABSL_GUARDED_BY(mutex_);                                     // of a shard that did not answer
};

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_HINT_CALL_RPC_H_
