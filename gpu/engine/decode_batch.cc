#include "gpu/engine/decode_batch.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/compress/arith/key_shape.h"
#include "gpu/engine/decode_sequence.h"
#include "gpu/engine/sequence_checks.h"
#include "gpu/engine/step_graphs.h"
#include "gpu/engine/step_memory.h"
#include "gpu/engine/transformer.h"
#include "gpu/engine/wire_form.h"
#include "gpu/kernels/attention/decode_attention.h"
#include "gpu/kernels/codec/append_token.h"
#include "gpu/kernels/codec/settle_rows.h"
#include "gpu/kernels/nn/convert_rows.h"
#include "gpu/kernels/nn/sample.h"
#include "gpu/kernels/pages/page_ops.h"

namespace decant {
namespace {

// Rows of a head are of about this many tokens: what the page size is chosen for.
constexpr int32_t kTypicalRowTokens = 1024;
constexpr int64_t kStagingAlignment = 64;

int64_t AlignStaging(int64_t offset) {
  return (offset + kStagingAlignment - 1) / kStagingAlignment * kStagingAlignment;
}

std::vector<FormatId> FormatsInUse(const DecodeOptions& options, RunType run_type) {
  if (!options.formats.empty()) return options.formats;
  const bool wide = run_type == RunType::kF32;
  return {wide ? FormatId::kFullF32 : FormatId::kFullBf16,
          wide ? FormatId::kTrackedF32 : FormatId::kTrackedBf16,
          wide ? FormatId::kIndexedF32 : FormatId::kIndexedBf16,
          FormatId::kK8V4,
          FormatId::kK4V2,
          FormatId::kK4V4,
          FormatId::kTrackedK4V4};
}

PageArena ArenaFor(const Weights& weights, const DecodeOptions& options) {
  const std::vector<FormatId> formats = FormatsInUse(options, weights.run_type());
  PageArena arena;
  arena.geometry = weights.config().geometry();
  arena.page_bytes =
      ChoosePageBytes(arena.geometry.head_dim, formats.data(), static_cast<int32_t>(formats.size()), kTypicalRowTokens);
  arena.page_count = static_cast<int32_t>(std::min<int64_t>(options.kv_budget_bytes / arena.page_bytes, INT32_MAX));
  for (int f = 1; f < kFormatCount; ++f) {
    arena.layouts[f] = FitLayout(static_cast<FormatId>(f), arena.geometry.head_dim, arena.page_bytes);
  }
  return arena;
}

class DecodeBatchOnPages final : public DecodeBatch {
 public:
  DecodeBatchOnPages(const Weights& weights, Stream& stream, const DecodeOptions& options, StepMemory memory,
                     std::unique_ptr<Transformer> transformer)
      : config_(weights.config()),
        stream_(stream),
        options_(options),
        memory_(std::move(memory)),
        transformer_(std::move(transformer)),
        arena_(ArenaFor(weights, options)),
        graphs_(stream, options.max_sequences) {
    const auto places = static_cast<size_t>(options.max_sequences);
    running_.reserve(places);
    host_rows_.resize(places);
    host_sampling_.resize(places);
    host_inputs_.resize(3 * places);
    host_record_.resize(static_cast<size_t>(memory_.record_size()));
    step_tokens_.reserve(places);
  }

  absl::Status TakePages() {
    DECANT_ASSIGN_OR_RETURN(pages_, stream_.device().Allocate(arena_.page_bytes * arena_.page_count));
    DECANT_ASSIGN_OR_RETURN(ring_memory_, stream_.device().Allocate(int64_t{4} * arena_.page_count + 16));
    arena_.pages = pages_.As<uint8_t>();
    ring_.page_count = arena_.page_count;
    ring_.head_tail = ring_memory_.As<uint64_t>();
    ring_.ids = ring_memory_.As<int32_t>(16);
    ResetRing(stream_, ring_);
    return stream_.Synchronize();
  }

  int64_t WorstCasePages(const SequenceOptions& options) const override {
    return DecodeSequence::WorstCaseHeadPages(options, arena_) * config_.layers * config_.kv_heads;
  }
  int64_t total_pages() const override { return arena_.page_count; }
  int64_t page_bytes() const override { return arena_.page_bytes; }
  int64_t unreserved_pages() const override {
    int64_t promised = 0;
    for (const auto& [id, sequence] : sequences_) promised += sequence->promised_pages();
    return arena_.page_count - promised;
  }

  absl::StatusOr<SequenceId> Reserve(const SequenceOptions& options) override {
    DECANT_RETURN_IF_ERROR(CheckSequenceOptions(options, config_, arena_));
    const int64_t pages = WorstCasePages(options);
    if (pages > total_pages()) {
      return absl::InvalidArgumentError(absl::StrCat(
          options.prompt_tokens, " prompt and ", options.max_tokens, " new tokens need up to ", pages, " pages of ",
          page_bytes(), " bytes, all there are is ", total_pages(), "; ask for fewer tokens or raise the KV budget"));
    }
    if (static_cast<int32_t>(sequences_.size()) >= options_.max_sequences) {
      return absl::ResourceExhaustedError(
          absl::StrCat("all ", options_.max_sequences, " places for sequences are taken; try again later"));
    }
    if (pages > unreserved_pages()) {
      return absl::ResourceExhaustedError(absl::StrCat("needs ", pages, " pages, ", unreserved_pages(), " of ",
                                                       total_pages(),
                                                       " are promised to nobody; try again when sequences have ended"));
    }
    DECANT_RETURN_IF_ERROR(GrowAttentionScratch(options.prompt_tokens + options.max_tokens));
    if (options.recipe.key_form.rope == 0) {
      DECANT_RETURN_IF_ERROR(GrowAngles(options.prompt_tokens + options.max_tokens));
    }
    ImportPlan::Expectation expectation;
    expectation.geometry = arena_.geometry;
    expectation.k_norm = config_.qk_norm;
    expectation.model_fingerprint = options_.model.Prefix64();
    DecodeSequence::Expect(options, expectation);
    const SequenceId id = next_id_;
    DECANT_ASSIGN_OR_RETURN(sequences_[id], CreateSequence(id, options, expectation));
    ++next_id_;
    return id;
  }

  absl::Status Import(SequenceId id, absl::Span<const uint8_t> batch) override {
    DECANT_ASSIGN_OR_RETURN(DecodeSequence* const sequence, Find(id));
    if (sequence->joined()) {
      return absl::FailedPreconditionError(absl::StrCat("sequence ", id, " already runs; frames come before Join"));
    }
    const absl::string_view landed(reinterpret_cast<const char*>(batch.data()), batch.size());
    DECANT_ASSIGN_OR_RETURN(const std::optional<std::string> restored, PlainBatch(landed, ContextOf(*sequence)));
    const absl::string_view plain = restored.has_value() ? absl::string_view(*restored) : landed;
    DECANT_ASSIGN_OR_RETURN(const std::vector<LayerImport> layers, sequence->plan().Take(plain));
    DECANT_RETURN_IF_ERROR(Copy(*sequence, {reinterpret_cast<const uint8_t*>(plain.data()), plain.size()}, layers));
    for (const LayerImport& layer : layers) {
      if (sequence->plan().LayerIsComplete(layer.layer)) sequence->ShrinkPromise(layer.layer);
    }
    return absl::OkStatus();
  }

  absl::Status Join(SequenceId id, int32_t first_token) override {
    DECANT_ASSIGN_OR_RETURN(DecodeSequence* const sequence, Find(id));
    if (sequence->joined()) return absl::FailedPreconditionError(absl::StrCat("sequence ", id, " already runs"));
    if (!sequence->plan().IsComplete()) {
      return absl::FailedPreconditionError(absl::StrCat("sequence ", id, " cannot join: ", sequence->plan().Missing()));
    }
    if (first_token < 0 || first_token >= config_.vocabulary) {
      return absl::InvalidArgumentError(
          absl::StrCat("first token ", first_token, " of a vocabulary of ", config_.vocabulary));
    }
    Buffer scratch;
    if (sequence->Settles()) {
      DECANT_ASSIGN_OR_RETURN(
          scratch, stream_.device().Allocate(SettleRowsScratchBytes(
                       stream_.device(), arena_.geometry, sequence->options().recipe.low, sequence->MostHighTokens())));
    }
    sequence->Join(stream_, first_token);
    if (!sequence->finished()) {
      if (sequence->Settles()) DECANT_RETURN_IF_ERROR(Settle(*sequence, scratch));
      running_.push_back(sequence);
    }
    changed_ = true;
    return stream_.Synchronize();
  }

  absl::StatusOr<absl::Span<const StepToken>> Step() override {
    step_tokens_.clear();
    const auto rows = static_cast<int32_t>(running_.size());
    stepped_rows_ = rows;
    if (rows == 0) return absl::Span<const StepToken>();
    Upload(rows);
    graphs_.Run(rows, forward_);
    stream_.Copy(host_record_.data(), memory_.record_bytes(), memory_.record_size());
    DECANT_RETURN_IF_ERROR(stream_.Synchronize());
    const StepRecord record = memory_.RecordIn(host_record_.data());
    if (*record.error != 0) return OutOfPages();
    for (int32_t row = 0; row < rows; ++row) {
      DecodeSequence& sequence = *running_[static_cast<size_t>(row)];
      sequence.Advance();
      sequence.CountMoved(record.moved + 2 * row);
      sequence.CountRead(record.read[row]);
      step_tokens_.push_back(sequence.Accept(record.tokens[row]));
    }
    const auto ended = std::remove_if(running_.begin(), running_.end(),
                                      [](const DecodeSequence* sequence) { return sequence->finished(); });
    changed_ = changed_ || ended != running_.end();
    running_.erase(ended, running_.end());
    return absl::Span<const StepToken>(step_tokens_);
  }

  int32_t running() const override { return static_cast<int32_t>(running_.size()); }

  absl::StatusOr<SequenceUse> Use(SequenceId id) override {
    DECANT_ASSIGN_OR_RETURN(DecodeSequence* const sequence, Find(id));
    int64_t counts[2 * kTierCount] = {};
    CountRows(stream_, arena_, sequence->device_rows(), count_memory_.As<int64_t>());
    stream_.Copy(counts, count_memory_.As<void>(), sizeof(counts));
    DECANT_RETURN_IF_ERROR(stream_.Synchronize());
    SequenceUse use;
    use.tokens = sequence->counts();
    // Of split rows, whose tiers hold halves of tokens, the values tell: a frozen one makes its token low.
    use.tokens.high = sequence->rows().split() ? counts[kTail] : counts[kHigh] + counts[kFixed];
    use.tokens.low = counts[kLow];
    use.pages = counts[kTierCount + kHigh] + counts[kTierCount + kLow] + counts[kTierCount + kFixed] +
                counts[kTierCount + kTail];
    use.resident_bytes = use.pages * arena_.page_bytes;
    use.bytes_read = sequence->bytes_read();
    return use;
  }

  void Remove(SequenceId id) override {
    const auto found = sequences_.find(id);
    if (found == sequences_.end()) return;
    const auto place = std::find(running_.begin(), running_.end(), found->second.get());
    if (place != running_.end()) {
      running_.erase(place);
      changed_ = true;
    }
    ReleaseRows(stream_, arena_, ring_, found->second->device_rows(), 1);
    // The tables must not be freed under the operation. A stream that fails here fails the next step too.
    stream_.Synchronize().IgnoreError();
    sequences_.erase(found);
  }

  absl::Status CopyLogits(absl::Span<float> out) override {
    const int64_t floats = int64_t{stepped_rows_} * config_.vocabulary;
    if (static_cast<int64_t>(out.size()) != floats) {
      return absl::InvalidArgumentError(absl::StrCat("room for ", out.size(), " logits, the last step made ", floats));
    }
    stream_.Copy(out.data(), memory_.logits(), floats * static_cast<int64_t>(sizeof(float)));
    return stream_.Synchronize();
  }

  absl::StatusOr<RowsCopy> CopyRows(SequenceId id) override {
    DECANT_ASSIGN_OR_RETURN(DecodeSequence* const sequence, Find(id));
    const auto heads = static_cast<size_t>(config_.layers) * static_cast<size_t>(config_.kv_heads);
    RowsCopy copy;
    copy.rows = sequence->rows();
    copy.arena = arena_;
    copy.heads.resize(heads);
    copy.page_ids.resize(heads * static_cast<size_t>(copy.rows.capacity));
    stream_.Copy(copy.heads.data(), copy.rows.heads, static_cast<int64_t>(heads * sizeof(HeadState)));
    stream_.Copy(copy.page_ids.data(), copy.rows.page_ids,
                 static_cast<int64_t>(copy.page_ids.size() * sizeof(int32_t)));
    DECANT_RETURN_IF_ERROR(stream_.Synchronize());
    return copy;
  }

  MemoryRef pages() override { return pages_.ref(); }

  absl::Status TakeCountMemory() {
    DECANT_ASSIGN_OR_RETURN(count_memory_, stream_.device().Allocate(2 * kTierCount * 8));
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<DecodeSequence*> Find(SequenceId id) {
    const auto found = sequences_.find(id);
    if (found == sequences_.end()) return absl::NotFoundError(absl::StrCat("no sequence ", id));
    return found->second.get();
  }

  WireContext ContextOf(const DecodeSequence& sequence) const {
    return {arena_.geometry,
            sequence.options().prompt_tokens,
            sequence.options().recipe.high,
            {config_.inverse_frequencies, config_.rope_magnitude}};
  }

  static absl::Status OutOfPages() {
    return absl::InternalError("the page ring ran empty in spite of the reservations: a promise was too small");
  }

  absl::StatusOr<std::unique_ptr<DecodeSequence>> CreateSequence(SequenceId id, const SequenceOptions& options,
                                                                 const ImportPlan::Expectation& expectation) {
    return DecodeSequence::Create(id, options, arena_, expectation, stream_);
  }

  absl::Status GrowAttentionScratch(int64_t tokens) {
    if (tokens <= scratch_tokens_) return absl::OkStatus();
    DECANT_RETURN_IF_ERROR(stream_.Synchronize());
    // Half more, so that a run of ever longer prompts does not pay each time.
    const int64_t grown = std::min<int64_t>(tokens + tokens / 2, int64_t{config_.max_positions} + 1);
    DECANT_ASSIGN_OR_RETURN(attention_scratch_, stream_.device().Allocate(DecodeAttentionScratchBytes(
                                                    stream_.device(), arena_.geometry, options_.max_sequences, grown)));
    scratch_tokens_ = grown;
    graphs_.Forget();
    return absl::OkStatus();
  }

  // The rotations of positions 0 to `positions` - 1 and room for keys before rope, for rows that rotate keys as they
  // read them.
  absl::Status GrowAngles(int32_t positions) {
    if (positions <= angle_positions_) return absl::OkStatus();
    DECANT_RETURN_IF_ERROR(stream_.Synchronize());
    const int32_t grown = std::min(positions + positions / 2, config_.max_positions + 1);
    std::vector<int32_t> all(static_cast<size_t>(grown));
    std::iota(all.begin(), all.end(), 0);
    const int64_t id_bytes = int64_t{4} * grown;
    DECANT_ASSIGN_OR_RETURN(const Buffer ids, stream_.device().Allocate(id_bytes));
    DECANT_ASSIGN_OR_RETURN(Buffer angles, stream_.device().Allocate(id_bytes * config_.head_dim));
    if (pre_rope_k_.bytes() == 0) {
      DECANT_ASSIGN_OR_RETURN(pre_rope_k_, stream_.device().Allocate(options_.max_sequences * pre_rope_stride() * 4));
    }
    stream_.Copy(ids.As<void>(), all.data(), id_bytes);
    transformer_->Angles(stream_, ids.As<int32_t>(), grown, angles.As<float>());
    DECANT_RETURN_IF_ERROR(stream_.Synchronize());
    angle_table_ = std::move(angles);
    graphs_.Forget();
    angle_positions_ = grown;
    return absl::OkStatus();
  }

  int64_t pre_rope_stride() const { return int64_t{config_.kv_heads} * config_.head_dim; }

  // Lands a verified batch in pages. Staging: the batch, then the runs and growths of each layer.
  absl::Status Copy(const DecodeSequence& sequence, absl::Span<const uint8_t> batch,
                    const std::vector<LayerImport>& layers) {
    std::vector<uint8_t> tables;
    std::vector<std::pair<int64_t, int64_t>> places;  // runs, growth
    const int64_t tables_offset = AlignStaging(static_cast<int64_t>(batch.size()));
    const auto append = [&](const void* data, size_t bytes) {
      const int64_t offset = static_cast<int64_t>(tables.size());
      tables.resize(static_cast<size_t>(AlignStaging(offset + static_cast<int64_t>(bytes))));
      if (bytes > 0) std::memcpy(tables.data() + offset, data, bytes);
      return tables_offset + offset;
    };
    for (const LayerImport& layer : layers) {
      const int64_t runs = append(layer.runs.data(), layer.runs.size() * sizeof(ImportRun));
      places.emplace_back(runs, append(layer.growth.data(), layer.growth.size() * sizeof(int32_t)));
    }
    const int64_t bytes = tables_offset + static_cast<int64_t>(tables.size());
    if (bytes > staging_.bytes()) {
      DECANT_ASSIGN_OR_RETURN(staging_, stream_.device().Allocate(bytes));
    }
    const StepRecord record = memory_.record();
    stream_.Copy(staging_.As<void>(), batch.data(), static_cast<int64_t>(batch.size()));
    stream_.Copy(staging_.As<void>(tables_offset), tables.data(), static_cast<int64_t>(tables.size()));
    stream_.Fill(record.error, 0, sizeof(int32_t));
    for (size_t i = 0; i < layers.size(); ++i) {
      GrowRowsArgs grow;
      grow.arena = arena_;
      grow.ring = ring_;
      grow.rows = sequence.device_rows();
      grow.layer = layers[i].layer;
      grow.growth = staging_.As<int32_t>(places[i].second);
      grow.scratch = memory_.grow_scratch();
      grow.error = record.error;
      GrowRows(stream_, grow);
      ImportFramesArgs import;
      import.arena = arena_;
      import.rows = sequence.device_rows();
      import.layer = layers[i].layer;
      import.frames = staging_.As<uint8_t>();
      import.runs = staging_.As<ImportRun>(places[i].first);
      import.run_count = static_cast<int32_t>(layers[i].runs.size());
      ImportFrames(stream_, import);
      if (layers[i].balance >= 0) {
        stream_.Copy(sequence.BalanceOf(layers[i].layer), staging_.As<float>(layers[i].balance), pre_rope_stride() * 4);
      }
    }
    int32_t error = 0;
    stream_.Copy(&error, record.error, sizeof(error));
    DECANT_RETURN_IF_ERROR(stream_.Synchronize());
    return error == 0 ? absl::OkStatus() : OutOfPages();
  }

  // A prefix that came in the high format gets the tiers of its prompt.
  absl::Status Settle(DecodeSequence& sequence, const Buffer& scratch) {
    const Recipe& recipe = sequence.options().recipe;
    const StepRecord record = memory_.record();
    stream_.Fill(memory_.record_bytes(), 0, memory_.record_size());
    SettleRowsArgs settle;
    settle.arena = arena_;
    settle.ring = ring_;
    settle.rows = sequence.device_rows();
    settle.allocation = recipe.allocation;
    settle.source = recipe.score;
    settle.high = recipe.high;
    settle.low = recipe.low;
    settle.most_high_tokens = sequence.MostHighTokens();
    settle.scratch = scratch.As<void>();
    settle.moved = record.moved;
    settle.error = record.error;
    SettleRows(stream_, settle);
    std::vector<HeadState> heads(static_cast<size_t>(config_.layers) * static_cast<size_t>(config_.kv_heads));
    stream_.Copy(heads.data(), sequence.rows().heads, static_cast<int64_t>(heads.size() * sizeof(HeadState)));
    stream_.Copy(host_record_.data(), memory_.record_bytes(), memory_.record_size());
    DECANT_RETURN_IF_ERROR(stream_.Synchronize());
    const StepRecord settled = memory_.RecordIn(host_record_.data());
    if (*settled.error != 0) return OutOfPages();
    sequence.CountMoved(settled.moved);
    sequence.ShrinkPromises(heads);
    return absl::OkStatus();
  }

  // What varies from step to step.
  void Upload(int32_t rows) {
    const auto places = static_cast<size_t>(options_.max_sequences);
    for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
      const DecodeSequence& sequence = *running_[row];
      host_inputs_[row] = sequence.last_token();
      host_inputs_[places + row] = sequence.length();
      host_inputs_[2 * places + row] = sequence.length() + 1;
      if (!changed_) continue;
      host_rows_[row] = sequence.rows();
      host_sampling_[row] = sequence.options().sampling;
    }
    stream_.Copy(memory_.inputs(), host_inputs_.data(), static_cast<int64_t>(host_inputs_.size() * sizeof(int32_t)));
    if (!changed_) return;
    const auto any = [this](const auto& wants) {
      return std::any_of(running_.begin(), running_.end(),
                         [&wants](const DecodeSequence* sequence) { return wants(sequence->options().recipe); });
    };
    const bool keeps = any([](const Recipe& recipe) { return recipe.key_form.rope == 0; });
    const bool chooses = any([](const Recipe& recipe) { return recipe.read.tokens > 0; });
    if (keeps != keeps_pre_rope_ || chooses != chooses_blocks_) graphs_.Forget();
    keeps_pre_rope_ = keeps;
    chooses_blocks_ = chooses;
    stream_.Copy(memory_.rows(), host_rows_.data(), rows * static_cast<int64_t>(sizeof(SequenceRows)));
    stream_.Copy(memory_.sampling(), host_sampling_.data(), rows * static_cast<int64_t>(sizeof(Sampling)));
    changed_ = false;
  }

  void Plan(int32_t rows) {
    stream_.Fill(memory_.record_bytes(), 0, memory_.record_size());
    PlanStepArgs plan;
    plan.arena = arena_;
    plan.ring = ring_;
    plan.rows = memory_.rows();
    plan.sequences = rows;
    plan.actions = memory_.actions();
    plan.scratch = memory_.plan_scratch();
    plan.moved = memory_.record().moved;
    plan.error = memory_.record().error;
    PlanStep(stream_, plan);
  }

  void KeepPreRopeKeys(int32_t rows) {
    ConvertRowsArgs keep;
    keep.in = transformer_->k();
    keep.in_stride = transformer_->qkv_stride();
    keep.rows = rows;
    keep.width = static_cast<int32_t>(pre_rope_stride());
    keep.out_type = RunType::kF32;
    keep.out = pre_rope_k_.As<void>();
    keep.out_row_stride = pre_rope_stride();
    ConvertRows(stream_, keep);
  }

  void Attend(int32_t layer, int32_t rows) {
    AppendTokenArgs append;
    append.arena = arena_;
    append.rows = memory_.rows();
    append.sequences = rows;
    append.layer = layer;
    append.actions = memory_.actions();
    append.k = transformer_->k();
    append.v = transformer_->v();
    append.kv_stride = transformer_->qkv_stride();
    append.pre_rope_k = pre_rope_k_.As<float>();
    append.pre_rope_stride = pre_rope_stride();
    AppendToken(stream_, append);
    DecodeAttentionArgs attention;
    attention.arena = arena_;
    attention.rows = memory_.rows();
    attention.sequences = rows;
    attention.layer = layer;
    attention.q = transformer_->q();
    attention.q_stride = transformer_->qkv_stride();
    attention.angles = angle_table_.As<float>();
    attention.scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim));
    attention.out = transformer_->attention();
    attention.out_stride = transformer_->attention_stride();
    attention.scratch = attention_scratch_.As<float>();
    attention.scratch_tokens = scratch_tokens_;
    attention.may_choose_blocks = chooses_blocks_;
    attention.bytes_read = memory_.record().read;
    DecodeAttention(stream_, attention);
  }

  void Forward(int32_t rows) {
    const int32_t* ids = memory_.inputs();
    const int32_t* positions = ids + options_.max_sequences;
    transformer_->Embed(stream_, ids, rows, memory_.residual());
    transformer_->Angles(stream_, positions, rows, memory_.angles());
    Plan(rows);
    for (int32_t layer = 0; layer < config_.layers; ++layer) {
      transformer_->Project(stream_, layer, memory_.residual(), rows);
      if (keeps_pre_rope_) KeepPreRopeKeys(rows);
      transformer_->Rotate(stream_, memory_.angles(), rows);
      Attend(layer, rows);
      transformer_->EndLayer(stream_, layer, memory_.residual(), rows);
    }
    transformer_->Logits(stream_, memory_.residual(), rows, memory_.logits());
    SampleArgs sample;
    sample.logits = memory_.logits();
    sample.stride = config_.vocabulary;
    sample.rows = rows;
    sample.vocabulary = config_.vocabulary;
    sample.sampling = memory_.sampling();
    sample.positions = positions + options_.max_sequences;
    sample.tokens = memory_.record().tokens;
    sample.scratch = memory_.sample_scratch();
    Sample(stream_, sample);
    AdvanceLengths(stream_, memory_.rows(), rows);
  }

  const ModelConfig& config_;
  Stream& stream_;
  const DecodeOptions options_;
  StepMemory memory_;
  std::unique_ptr<Transformer> transformer_;
  PageArena arena_;
  PageRing ring_;
  Buffer pages_;
  Buffer ring_memory_;
  Buffer count_memory_;
  Buffer staging_;  // of Import; grows
  Buffer attention_scratch_;
  int64_t scratch_tokens_ = 0;
  Buffer angle_table_;  // [angle_positions_, head_dim]
  int32_t angle_positions_ = 0;
  Buffer pre_rope_k_;  // [max_sequences, kv_heads, head_dim] f32, of one layer of a step
  bool keeps_pre_rope_ = false;
  bool chooses_blocks_ = false;
  StepGraphs graphs_;
  const std::function<void(int32_t rows)> forward_ = [this](int32_t rows) { Forward(rows); };

  std::map<SequenceId, std::unique_ptr<DecodeSequence>> sequences_;
  SequenceId next_id_ = 1;
  std::vector<DecodeSequence*> running_;  // in the order of rows
  bool changed_ = true;                   // the running set, since the last step
  int32_t stepped_rows_ = 0;
  // Host copies that a step fills or reads; sized once.
  std::vector<SequenceRows> host_rows_;
  std::vector<Sampling> host_sampling_;
  std::vector<int32_t> host_inputs_;  // [3, max_sequences]
  std::vector<uint8_t> host_record_;
  std::vector<StepToken> step_tokens_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DecodeBatch>> DecodeBatch::Create(const Weights& weights, Stream& stream,
                                                                 const DecodeOptions& options) {
  const PageArena arena = ArenaFor(weights, options);
  if (options.max_sequences < 1 || arena.page_count < 1) {
    return absl::InvalidArgumentError(absl::StrCat(options.max_sequences, " sequences and ", options.kv_budget_bytes,
                                                   " bytes for KV; at least 1 and one page of ", arena.page_bytes));
  }
  DECANT_ASSIGN_OR_RETURN(StepMemory memory,
                          StepMemory::Create(stream.device(), weights.config(), options.max_sequences));
  DECANT_ASSIGN_OR_RETURN(std::unique_ptr<Transformer> transformer,
                          Transformer::Create(weights, options.max_sequences));
  auto batch =
      std::make_unique<DecodeBatchOnPages>(weights, stream, options, std::move(memory), std::move(transformer));
  DECANT_RETURN_IF_ERROR(batch->TakePages());
  DECANT_RETURN_IF_ERROR(batch->TakeCountMemory());
  return batch;
}

}  // namespace decant
