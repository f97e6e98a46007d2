// Nothing is sent before every stored frame has been checked: a frame that turns out wrong at a late layer shortens the
// prefix, and the layers so far are computed again. So decode never sees KV that mixes two prefixes.
#include "services/prefill/pass.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/index/variant.h"

namespace decant {
namespace {

// Adds the time until the end of the scope to `total`.
auto Timed(absl::Duration& total, const std::function<absl::Time()>& now) {
  return absl::MakeCleanup([&total, &now, start = now()] { total += now() - start; });
}

// A layer of `frames` alone, without what stands between and behind them.
Publication::Layer CopyOf(uint32_t layer, absl::Span<const ConstMemoryRef> frames) {
  auto bytes = std::make_shared<std::vector<uint8_t>>();
  for (const ConstMemoryRef& frame : frames) {
    const auto* from = static_cast<const uint8_t*>(frame.address);
    bytes->insert(bytes->end(), from, from + frame.bytes);
  }
  Publication::Layer copy{layer, {}, bytes};
  int64_t offset = 0;
  for (const ConstMemoryRef& frame : frames) {
    copy.frames.push_back(ConstMemoryRef{MemorySpace::kHost, bytes->data() + offset, frame.bytes});
    offset += frame.bytes;
  }
  return copy;
}

}  // namespace

Pass::Pass(const PassWorld& world, const PrefillJob& job, const std::atomic<bool>& cancelled)
    : world_(world), job_(job), cancelled_(cancelled) {}

Pass::~Pass() = default;

absl::Status Pass::Prepare() {
  const ModelConfig& config = world_.weights.config();
  const Geometry geometry = config.geometry();
  const RunType run_type = world_.weights.run_type();
  if (job_.chunk_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat("chunks of ", job_.chunk_tokens, " tokens cannot be"));
  }
  DECANT_ASSIGN_OR_RETURN(const Profile profile,
                          world_.catalogue.FindSame(job_.profile, world_.model, job_.profile_digest));
  DECANT_ASSIGN_OR_RETURN(recipe_, Compile(profile, geometry, run_type));
  plan_ = PlanPrefix(job_, recipe_, world_.catalogue, geometry);
  usable_ = plan_.chunks();
  if (job_.publish && !job_.pool_address.empty()) {
    DECANT_ASSIGN_OR_RETURN(const Profile form, world_.catalogue.FindFor(recipe_.shareable, world_.model));
    DECANT_ASSIGN_OR_RETURN(shareable_, Compile(form, geometry, run_type));
  }
  if (usable_ == 0) return absl::OkStatus();
  PrefixLoaderOptions loading;
  loading.geometry = geometry;
  loading.run_type = run_type;
  loading.chunk_tokens = job_.chunk_tokens;
  loading.model = job_.model;
  loading.k_norm = config.qk_norm;
  DECANT_ASSIGN_OR_RETURN(loader_, PrefixLoader::Create(world_.weights.device(), loading));
  FetchOrder order;
  order.pool_address = job_.pool_address;
  order.tenant = job_.tenant;
  order.lease = job_.lease;
  order.chunks.assign(job_.prefix.begin(), job_.prefix.begin() + usable_);
  const absl::Time deadline = std::min(job_.deadline, world_.now() + world_.fetch_limit);
  PrefixFetch::Options fetching;
  fetching.layers = geometry.layers;
  fetching.chunk_tokens = job_.chunk_tokens;
  fetching.formats = plan_.formats;
  fetching.limit = deadline - world_.now();
  fetching.now = world_.now;
  fetch_ = std::make_unique<PrefixFetch>(world_.source.Fetch(order, deadline), *loader_, std::move(fetching));
  return absl::OkStatus();
}

absl::Status Pass::Run() {
  DECANT_RETURN_IF_ERROR(Prepare());
  TransferOpen open;
  open.ticket = job_.ticket;
  open.sender = world_.sender;
  open.model_fingerprint = job_.model;
  open.frame_version = world_.frame_version;
  // Every other prompt of this worker waits meanwhile.
  const absl::Time deadline = std::min(job_.deadline, world_.now() + world_.open_limit);
  DECANT_ASSIGN_OR_RETURN(auto sender, world_.link.Open(job_.decode_address, open, deadline));
  outbox_ = std::make_unique<Outbox>(std::move(sender), world_.outbox);

  Layers layers = Layers::kPrefixShrank;
  while (layers == Layers::kPrefixShrank) {
    outbox_->Restart();
    DECANT_ASSIGN_OR_RETURN(layers, ComputeLayers());
  }
  outbox_->Release();
  DECANT_ASSIGN_OR_RETURN(outcome_.first_token, run_->SampleFirst(job_.sampling, job_.position_of_first_token));
  const auto& ends = job_.end_tokens;
  outcome_.finished = std::find(ends.begin(), ends.end(), outcome_.first_token) != ends.end();
  outcome_.tokens_reused = reused_tokens();
  outcome_.tokens_computed = prompt_tokens() - reused_tokens();
  outcome_.full_bytes = prompt_tokens() * world_.weights.config().geometry().full_bytes_per_token();
  const bool fell_away = fetch_ != nullptr && usable_ < plan_.chunks();
  outcome_.miss_reason = fell_away ? fetch_->miss_reason() : plan_.miss_reason;
  if (!outcome_.miss_reason.empty()) {
    outcome_.miss_label = fell_away ? fetch_->miss_label() : "plan";
    outcome_.chunks_missed = static_cast<int32_t>(job_.prefix.size()) - usable_;
  }
  outcome_.chunks_to_publish = static_cast<int32_t>(publication_.chunks.size());
  std::vector<LoadedChunk> loaded;
  for (int32_t chunk = 0; chunk < usable_; ++chunk) {
    const StoredChunk& stored = job_.prefix[static_cast<size_t>(chunk)];
    loaded.push_back({stored.key, stored.variant, fetch_->provenance(chunk) == Provenance::kExact});
  }
  publication_.context = ContextOf(loaded);
  commit_.ticket = job_.ticket;
  commit_.prompt_tokens = prompt_tokens();
  commit_.first_token = outcome_.first_token;
  commit_.prefix_tokens_reused = outcome_.tokens_reused;
  commit_.tokens_computed = outcome_.tokens_computed;
  commit_.finished = outcome_.finished;
  // The working memory is free for the next prompt while this one's last frames are on their way.
  run_.reset();
  encoder_.reset();
  share_encoder_.reset();
  return absl::OkStatus();
}

absl::StatusOr<Pass::Layers> Pass::ComputeLayers() {
  outcome_.counts = TokenCounts();
  outcome_.key_error = StoredError();
  outcome_.value_error = StoredError();
  run_.reset();  // before the next one takes its memory
  encoder_.reset();
  share_encoder_.reset();
  planned_usable_ = usable_;
  DECANT_ASSIGN_OR_RETURN(const RecipeSchedule made, ScheduleFor(recipe_, world_.weights.config(), world_.tokenizer,
                                                                 job_.tokens, reused_tokens()));
  DECANT_ASSIGN_OR_RETURN(run_, PrefillRun::Create(world_.weights, world_.stream, job_.tokens, made.options));
  PlanPublication();
  absl::Time began;
  PromptVisitor visitor;
  visitor.before_layer = [this, &began](int32_t layer) {
    const absl::Status status = BeforeLayer(layer);
    began = world_.now();
    return status;
  };
  visitor.after_layer = [this, &began](const LayerTap& /*tap*/) {
    outcome_.compute += world_.now() - began;
    return absl::OkStatus();
  };
  visitor.on_layers = [this](absl::Span<const LayerTap> layers) { return OnLayers(layers); };
  const absl::Status computed = ComputePrompt(*run_, made.schedule, visitor);
  if (prefix_shrank()) return Layers::kPrefixShrank;
  DECANT_RETURN_IF_ERROR(computed);
  if (usable_ > 0) usable_ = fetch_->WaitAll();
  return prefix_shrank() ? Layers::kPrefixShrank : Layers::kDone;
}

absl::Status Pass::BeforeLayer(int32_t layer) {
  if (world_.gate != nullptr) world_.gate->BeforeLayer(job_.request_id, layer);
  if (cancelled_) return absl::CancelledError("the request was cancelled");
  if (world_.now() > job_.deadline) {
    return absl::DeadlineExceededError(
        absl::StrCat("prefill reached layer ", layer, " of ", world_.weights.config().layers, " in time"));
  }
  return usable_ > 0 ? LoadPrefix(layer) : absl::OkStatus();
}

// ABORTED when the prefix turns out shorter: the layers are then computed anew.
absl::Status Pass::LoadPrefix(int32_t layer) {
  auto loading = Timed(outcome_.load, world_.now);
  // A full outbox can only drain once all stored frames have been checked.
  usable_ = outbox_->full() ? fetch_->WaitAll() : fetch_->WaitLayer(layer);
  if (prefix_shrank()) return absl::AbortedError("the stored prefix ends sooner than planned");
  return loader_->Load(world_.stream, layer, fetch_->Frames(layer, usable_), run_->PrefixTarget(layer));
}

absl::Status Pass::OnLayers(absl::Span<const LayerTap> layers) {
  auto encoding = Timed(outcome_.encode, world_.now);
  if (encoder_ == nullptr) DECANT_RETURN_IF_ERROR(MakeEncoders());
  if (recipe_.needs_all_layers()) DECANT_RETURN_IF_ERROR(encoder_->SelectAll(world_.stream, layers));
  for (const LayerTap& tap : layers) {
    DECANT_RETURN_IF_ERROR(EncodeAndQueue(tap));
    if (usable_ == 0 || (fetch_->complete() && fetch_->WaitAll() == usable_)) outbox_->Release();
  }
  return absl::OkStatus();
}

absl::Status Pass::MakeEncoders() {
  LayerEncoderOptions options;
  options.recipe = recipe_;
  options.geometry = world_.weights.config().geometry();
  options.run_type = world_.weights.run_type();
  options.chunk_tokens = job_.chunk_tokens;
  options.prompt_tokens = prompt_tokens();
  options.model = job_.model;
  options.k_norm = world_.weights.config().qk_norm;
  options.inverse_frequencies = world_.weights.config().inverse_frequencies;
  options.rope_magnitude = world_.weights.config().rope_magnitude;
  for (int32_t chunk = 0; chunk < usable_; ++chunk) {
    options.prefix_provenance = std::max(options.prefix_provenance, fetch_->provenance(chunk));
  }
  DECANT_ASSIGN_OR_RETURN(encoder_, LayerEncoder::Create(world_.weights.device(), options));
  // The pool stores frames, not what travels instead of them.
  const bool sends_frames = recipe_.code == WireCode::kRaw;
  if (publication_.chunks.empty() || (shareable_.digest == recipe_.digest && sends_frames)) return absl::OkStatus();
  options.recipe = shareable_;
  options.recipe.code = WireCode::kRaw;
  DECANT_ASSIGN_OR_RETURN(share_encoder_, LayerEncoder::Create(world_.weights.device(), options));
  return absl::OkStatus();
}

absl::Status Pass::EncodeAndQueue(const LayerTap& tap) {
  DECANT_ASSIGN_OR_RETURN(EncodedLayer encoded, encoder_->Encode(world_.stream, tap, std::min(usable_, plan_.leading)));
  const auto layer = std::make_shared<const EncodedLayer>(std::move(encoded));
  outcome_.counts.high += layer->counts.high;
  outcome_.counts.low += layer->counts.low;
  outcome_.counts.pruned += layer->counts.pruned;
  outcome_.key_error.Add(layer->key_error);
  outcome_.value_error.Add(layer->value_error);

  DECANT_RETURN_IF_ERROR(outbox_->Add(PiecesOf(*layer), layer, job_.deadline));
  return KeepForPublication(tap, layer);
}

std::vector<OutboxPiece> Pass::PiecesOf(const EncodedLayer& layer) const {
  std::vector<OutboxPiece> pieces(static_cast<size_t>((prompt_tokens() + job_.chunk_tokens - 1) / job_.chunk_tokens));
  const auto add = [](OutboxPiece& piece, const uint8_t* bytes, int64_t count) {
    if (count == 0) return;
    piece.parts.push_back(ConstMemoryRef{MemorySpace::kHost, bytes, count});
    piece.bytes += count;
  };
  for (OutboxPiece& piece : pieces) piece.layer = static_cast<uint32_t>(layer.layer);
  // A chunk's overlay comes right behind its frame, whoever made the frame.
  if (usable_ > 0) {
    const std::vector<StoredFrame> stored = fetch_->Frames(layer.layer, usable_);
    for (int32_t i = 0; i < usable_; ++i) {
      const StoredFrame& frame = stored[static_cast<size_t>(i)];
      if (forwards(i)) add(pieces[static_cast<size_t>(i)], frame.data(), static_cast<int64_t>(frame.size()));
    }
  }
  for (const EncodedChunk& chunk : layer.chunks) {
    const int32_t index = chunk.first_token / job_.chunk_tokens;
    OutboxPiece& piece = pieces[static_cast<size_t>(index)];
    if (!forwards(index)) add(piece, layer.batch.data() + chunk.frame_offset, chunk.frame_bytes);
    add(piece, layer.batch.data() + chunk.overlay_offset, chunk.overlay_bytes);
  }
  return pieces;
}

void Pass::PlanPublication() {
  publication_ = Publication();
  // Beyond a propagation no layer has all tokens of a chunk.
  if (shareable_.profile.empty() || recipe_.propagation.layer >= 0) return;
  publication_.pool_address = job_.pool_address;
  publication_.tenant = job_.tenant;
  publication_.profile = shareable_.profile;
  publication_.floor = job_.floor;
  const auto whole = std::min(static_cast<int32_t>(job_.chunk_keys.size()), prompt_tokens() / job_.chunk_tokens);
  for (int32_t chunk = usable_; chunk < whole; ++chunk) {
    const auto index = static_cast<size_t>(chunk);
    publication_.chunks.push_back({job_.chunk_keys[index], chunk > 0 ? job_.chunk_keys[index - 1] : Digest(),
                                   chunk * job_.chunk_tokens, job_.chunk_tokens});
  }
}

absl::Status Pass::KeepForPublication(const LayerTap& tap, const std::shared_ptr<const EncodedLayer>& sent) {
  if (publication_.chunks.empty()) return absl::OkStatus();
  std::shared_ptr<const EncodedLayer> layer = sent;
  if (share_encoder_ != nullptr) {
    DECANT_ASSIGN_OR_RETURN(EncodedLayer encoded, share_encoder_->Encode(world_.stream, tap, usable_));
    layer = std::make_shared<const EncodedLayer>(std::move(encoded));
  }
  std::vector<ConstMemoryRef> frames;
  const int32_t first = publication_.chunks.front().first_token;
  const int32_t end = publication_.chunks.back().first_token + job_.chunk_tokens;
  for (const EncodedChunk& chunk : layer->chunks) {
    if (chunk.first_token < first || chunk.first_token >= end) continue;
    frames.push_back(ConstMemoryRef{MemorySpace::kHost, layer->batch.data() + chunk.frame_offset, chunk.frame_bytes});
  }
  // The layers to come are taken to be like this one; should one be larger, it cuts again.
  const int64_t room = (world_.publish_room_bytes - publication_.bytes) / (world_.weights.config().layers - tap.layer);
  const auto held = static_cast<int64_t>(layer->batch.size());
  if (held <= room) {
    publication_.bytes += held;
    publication_.layers.push_back({static_cast<uint32_t>(tap.layer), std::move(frames), layer});
    return absl::OkStatus();
  }
  CutPublication(frames, room);
  if (frames.empty()) return absl::OkStatus();
  publication_.layers.push_back(CopyOf(static_cast<uint32_t>(tap.layer), frames));
  for (const ConstMemoryRef& frame : frames) publication_.bytes += frame.bytes;
  return absl::OkStatus();
}

// Keeps as many leading chunks as have `room` bytes in this layer: a shorter prefix is of use, too.
void Pass::CutPublication(std::vector<ConstMemoryRef>& frames, int64_t room) {
  size_t fit = 0;
  for (int64_t bytes = 0; fit < frames.size() && bytes + frames[fit].bytes <= room; ++fit) bytes += frames[fit].bytes;
  outcome_.chunks_without_room += static_cast<int32_t>(publication_.chunks.size() - fit);
  frames.resize(fit);
  publication_.chunks.resize(fit);
  for (Publication::Layer& layer : publication_.layers) layer.frames.resize(fit);
  if (fit > 0) return;
  publication_.layers.clear();
  publication_.bytes = 0;
}

std::optional<Publication> Pass::TakePublication() {
  if (publication_.chunks.empty()) return std::nullopt;
  publication_.ends = publication_.chunks.back().key == job_.chunk_keys.back();
  return std::move(publication_);
}

}  // namespace decant
