#include "gpu/engine/decode_batch.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "gpu/engine/decode_sequence.h"
#include "gpu/engine/step_memory.h"
#include "gpu/engine/transformer.h"
#include "gpu/kernels/attention/decode_attention.h"
#include "gpu/kernels/codec/append_token.h"
#include "gpu/kernels/nn/sample.h"
#include "gpu/kernels/pages/page_ops.h"

namespace decant {
namespace {

// Rows of a head are of about this many tokens: what the page size is chosen for.
constexpr int32_t kTypicalRowTokens = 1024;
constexpr int64_t kStagingAlignment = 64;

int64_t AlignStaging(int64_t offset) { return (offset + kStagingAlignment - 1) / kStagingAlignment * kStagingAlignment; }

PageArena ArenaFor(const Weights& weights, int64_t budget_bytes) {
  const FormatId full = weights.run_type() == RunType::kF32 ? FormatId::kFullF32 : FormatId::kFullBf16;
  const FormatId formats[] = {full, FormatId::kK8V4, FormatId::kK4V2};
  PageArena arena;
  arena.geometry = weights.config().geometry();
  arena.page_bytes = ChoosePageBytes(arena.geometry.head_dim, formats, 3, kTypicalRowTokens);
  arena.page_count = static_cast<int32_t>(std::min<int64_t>(budget_bytes / arena.page_bytes, INT32_MAX));
  for (int f = 1; f < kFormatCount; ++f) {
    arena.layouts[f] = FitLayout(static_cast<FormatId>(f), arena.geometry.head_dim, arena.page_bytes);
  }
  return arena;
}

class DecodeBatchOnPages final : public DecodeBatch {
 public:
  DecodeBatchOnPages(const Weights& weights, Stream& stream, const DecodeOptions& options, StepMemory memory,
                     std::unique_ptr<Transformer> transformer)
      : weights_(weights),
        config_(weights.config()),
        stream_(stream),
        options_(options),
        memory_(std::move(memory)),
        transformer_(std::move(transformer)),
        arena_(ArenaFor(weights, options.kv_budget_bytes)) {
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
    DECANT_RETURN_IF_ERROR(CheckOptions(options));
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
      return absl::ResourceExhaustedError(
          absl::StrCat("needs ", pages, " pages, ", unreserved_pages(), " of ", total_pages(),
                       " are promised to nobody; try again when sequences have ended"));
    }
    DECANT_RETURN_IF_ERROR(GrowAttentionScratch(options.prompt_tokens + options.max_tokens));
    ImportPlan::Expectation expectation;
    expectation.geometry = arena_.geometry;
    expectation.k_norm = config_.qk_norm;
    expectation.model_fingerprint = options_.model.Prefix64();
    expectation.prompt_tokens = options.prompt_tokens;
    DecodeSequence::Formats(options, expectation.formats);
    expectation.needs_scores = options.recipe.online != OnlinePolicy::kNone;
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
    DECANT_ASSIGN_OR_RETURN(
        const std::vector<LayerImport> layers,
        sequence->plan().Take({reinterpret_cast<const char*>(batch.data()), batch.size()}));
    DECANT_RETURN_IF_ERROR(Copy(*sequence, batch, layers));
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
    sequence->Join(stream_, first_token);
    if (!sequence->finished()) running_.push_back(sequence);
    changed_ = true;
    return stream_.Synchronize();
  }

  absl::StatusOr<absl::Span<const StepToken>> Step() override {
    step_tokens_.clear();
    const auto rows = static_cast<int32_t>(running_.size());
    stepped_rows_ = rows;
    if (rows == 0) return absl::Span<const StepToken>();
    Upload(rows);
    Forward(rows);
    stream_.Copy(host_record_.data(), memory_.record_bytes(), memory_.record_size());
    DECANT_RETURN_IF_ERROR(stream_.Synchronize());
    const StepRecord record = memory_.RecordIn(host_record_.data());
    if (*record.error != 0) return OutOfPages();
    for (int32_t row = 0; row < rows; ++row) {
      DecodeSequence& sequence = *running_[static_cast<size_t>(row)];
      sequence.Advance();
      sequence.CountMoved(record.moved + 2 * row);
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
