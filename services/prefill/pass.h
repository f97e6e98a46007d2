// One prompt's way through a prefill worker: stored prefix in, layers computed, encoded and sent one by one, first
// token sampled.
#ifndef DECANT_SERVICES_PREFILL_PASS_H_
#define DECANT_SERVICES_PREFILL_PASS_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "common/compress/profile.h"
#include "common/link/frame_link.h"
#include "gpu/engine/layer_encoder.h"
#include "gpu/engine/prefill_run.h"
#include "gpu/engine/prefix_loader.h"
#include "gpu/engine/recipe_schedule.h"
#include "services/prefill/job.h"
#include "services/prefill/outbox.h"
#include "services/prefill/prefix_fetch.h"
#include "services/prefill/prefix_plan.h"

namespace decant {

// Lets a test stop the computation between layers. Called on the engine thread.
class LayerGate {
 public:
  virtual ~LayerGate() = default;
  virtual void BeforeLayer(const std::string& request_id, int32_t layer) = 0;
};

// What a pass borrows; all of it must outlive the pass.
struct PassWorld {
  const Weights& weights;
  Stream& stream;
  FrameLink& link;
  ChunkSource& source;
  const Catalogue& catalogue;
  const Tokenizer* tokenizer = nullptr;  // of replay instructions; null: profiles with a replay are refused
  Digest model;                          // fingerprint
  std::string sender;                    // how this worker names itself to decode
  uint32_t frame_version = 0;
  absl::Duration fetch_limit;
  absl::Duration open_limit;       // for decode to take the transfer
  int64_t publish_room_bytes = 0;  // what a publication may hold at most
  OutboxOptions outbox;
  LayerGate* gate = nullptr;  // may be null
  std::function<absl::Time()> now = absl::Now;
};

class Pass {
 public:
  Pass(const PassWorld& world, const PrefillJob& job, const std::atomic<bool>& cancelled);
  ~Pass();

  // Opens the transfer, computes every layer and samples. After OK the transfer is to be committed with `commit`; after
  // an error it is aborted. CANCELLED at the first layer border after `cancelled` was set.
  absl::Status Run();

  const TransferCommit& commit() const { return commit_; }
  PrefillOutcome& outcome() { return outcome_; }
  // Null when the transfer was never opened. It borrows frames of this pass until it has ended.
  Outbox* outbox() { return outbox_.get(); }
  // Nothing when there is nothing to publish.
  std::optional<Publication> TakePublication();

 private:
  enum class Layers { kDone, kPrefixShrank };

  absl::Status Prepare();
  absl::StatusOr<Layers> ComputeLayers();
  absl::Status BeforeLayer(int32_t layer);
  absl::Status LoadPrefix(int32_t layer);
  absl::Status OnLayers(absl::Span<const LayerTap> layers);
  absl::Status MakeEncoders();
  absl::Status EncodeAndQueue(const LayerTap& tap);
  std::vector<OutboxPiece> PiecesOf(const EncodedLayer& layer) const;
  absl::Status KeepForPublication(const LayerTap& tap, const std::shared_ptr<const EncodedLayer>& sent);
  void PlanPublication();
  void CutPublication(std::vector<ConstMemoryRef>& frames, int64_t room);

  int32_t reused_tokens() const { return usable_ * job_.chunk_tokens; }
  // Whether the stored frame of a usable chunk goes to decode.
  bool forwards(int32_t chunk) const { return chunk < usable_ && plan_.forwards[static_cast<size_t>(chunk)]; }
  bool prefix_shrank() const { return planned_usable_ > usable_; }
  int32_t prompt_tokens() const { return static_cast<int32_t>(job_.tokens.size()); }

  const PassWorld world_;
  const PrefillJob& job_;
  const std::atomic<bool>& cancelled_;
  Recipe recipe_;
  Recipe shareable_;
  PrefixPlan plan_;
  int32_t usable_ = 0;          // chunks of the prefix
  int32_t planned_usable_ = 0;  // the same when the layers began to be computed
  std::unique_ptr<PrefixLoader> loader_;
  std::unique_ptr<PrefixFetch> fetch_;
  std::unique_ptr<PrefillRun> run_;
  std::unique_ptr<LayerEncoder> encoder_;
  std::unique_ptr<LayerEncoder> share_encoder_;  // null when the recipe's own frames may be stored
  Publication publication_;
  TransferCommit commit_;
  PrefillOutcome outcome_;
  // Last, so that it goes first: its thread sends memory of the members above, and its `done` reads outcome_ and
  // publication_.
  std::unique_ptr<Outbox> outbox_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_PREFILL_PASS_H_
