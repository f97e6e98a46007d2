#include "gpu/engine/decode_sequence.h"

#include <algorithm>

#include "common/base/status_macros.h"

namespace decant {
namespace {

// Places of the parts of a table; the page ids follow the heads.
constexpr int64_t kLengthOffset = 256;
constexpr int64_t kHeadsOffset = 320;
static_assert(sizeof(SequenceRows) <= kLengthOffset);

// Tokens whose K and V decode appends: the last token of an answer is never fed back.
int64_t Growth(const SequenceOptions& options) { return std::max(options.max_tokens - 1, 0); }

TierPages TierPagesOf(const SequenceOptions& options, const PageArena& arena) {
  FormatId formats[kTierCount];
  DecodeSequence::Formats(options, formats);
  TierPages pages;
  for (int tier = 0; tier < kTierCount; ++tier) {
    if (formats[tier] == FormatId::kNone) continue;
    pages.tokens[tier] = arena.layouts[static_cast<int>(formats[tier])].tokens;
  }
  return pages;
}

}  // namespace

void DecodeSequence::Formats(const SequenceOptions& options, FormatId (&formats)[kTierCount]) {
  formats[kHigh] = options.recipe.high;
  formats[kLow] = options.recipe.low;
  const bool known = options.fixed == options.recipe.high || options.fixed == options.recipe.low;
  formats[kFixed] = known ? FormatId::kNone : options.fixed;
  formats[kTail] = FormatId::kNone;
  if (options.recipe.split()) {
    formats[kFixed] = options.recipe.window_keys;
    formats[kTail] = options.recipe.window_values;
  }
}

int64_t DecodeSequence::WorstCaseHeadPages(const SequenceOptions& options, const PageArena& arena) {
  const TierPages pages = TierPagesOf(options, arena);
  const int64_t total = options.prompt_tokens + Growth(options);
  return options.recipe.split() ? SplitHeadPages(pages, total, options.recipe.window)
                                : decant::WorstCaseHeadPages(pages, total);
}

DecodeSequence::DecodeSequence(SequenceId id, const SequenceOptions& options, const PageArena& arena,
                               const ImportPlan::Expectation& expectation)
    : id_(id), options_(options), geometry_(arena.geometry), plan_(expectation), pages_(TierPagesOf(options, arena)) {
  const int64_t head_pages = WorstCaseHeadPages(options, arena);
  layer_promises_.assign(static_cast<size_t>(geometry_.layers), head_pages * geometry_.kv_heads);
  promised_pages_ = head_pages * geometry_.kv_heads * geometry_.layers;
  rows_.capacity = static_cast<int32_t>(head_pages);
  Formats(options, rows_.formats);
  rows_.policy = options.recipe.online;
  rows_.alpha_high = options.recipe.alpha_high;
  rows_.alpha_low = options.recipe.alpha_low;
  rows_.window = options.recipe.window;
  rows_.read = options.recipe.read;
  for (const int32_t tier : {kHigh, kLow}) {
    rows_.key_levels[tier] = static_cast<uint16_t>(options.recipe.key_levels);
    rows_.value_levels[tier] = static_cast<uint16_t>(options.recipe.value_levels);
  }
}

absl::StatusOr<std::unique_ptr<DecodeSequence>> DecodeSequence::Create(SequenceId id, const SequenceOptions& options,
                                                                       const PageArena& arena,
                                                                       const ImportPlan::Expectation& expectation,
                                                                       Stream& stream) {
  std::unique_ptr<DecodeSequence> sequence(new DecodeSequence(id, options, arena, expectation));
  const int64_t heads = int64_t{arena.geometry.layers} * arena.geometry.kv_heads;
  const int64_t ids_offset = kHeadsOffset + heads * static_cast<int64_t>(sizeof(HeadState));
  const int64_t bytes = ids_offset + heads * sequence->rows_.capacity * static_cast<int64_t>(sizeof(int32_t));
  DECANT_ASSIGN_OR_RETURN(sequence->table_, stream.device().Allocate(bytes));
  SequenceRows& rows = sequence->rows_;
  rows.length = sequence->table_.As<int32_t>(kLengthOffset);
  rows.heads = sequence->table_.As<HeadState>(kHeadsOffset);
  rows.page_ids = sequence->table_.As<int32_t>(ids_offset);
  stream.Fill(sequence->table_.As<void>(), 0, ids_offset);
  stream.Copy(sequence->table_.As<void>(), &rows, sizeof(SequenceRows));
  DECANT_RETURN_IF_ERROR(stream.Synchronize());
  return sequence;
}

void DecodeSequence::ShrinkPromise(int32_t layer) {
  if (options_.recipe.split()) return;  // the promise was exact
  int64_t pages = 0;
  for (int32_t head = 0; head < geometry_.kv_heads; ++head) {
    const std::array<int32_t, kTierCount>& held = plan_.tokens(layer, head);
    const int32_t movable = Settles() ? held[kHigh] : 0;
    pages += GrownHeadPages(pages_, {held[kHigh], held[kLow], held[kFixed], held[kTail]}, movable, Growth(options_));
  }
  LowerPromise(layer, pages);
}

void DecodeSequence::ShrinkPromises(const std::vector<HeadState>& heads) {
  for (int32_t layer = 0; layer < geometry_.layers; ++layer) {
    int64_t pages = 0;
    for (int32_t head = 0; head < geometry_.kv_heads; ++head) {
      const HeadState& state = heads[static_cast<size_t>(layer * geometry_.kv_heads + head)];
      pages += GrownHeadPages(pages_, state.tokens, 0, Growth(options_));
    }
    LowerPromise(layer, pages);
  }
}

bool DecodeSequence::Settles() const {
  const Recipe& recipe = options_.recipe;
  return recipe.online != OnlinePolicy::kNone && recipe.low != FormatId::kNone && recipe.forwards_prefix() &&
         recipe.allocation != Allocation::kAllHigh;
}

int32_t DecodeSequence::MostHighTokens() const {
  int32_t most = 0;
  for (int32_t layer = 0; layer < geometry_.layers; ++layer) {
    for (int32_t head = 0; head < geometry_.kv_heads; ++head) most = std::max(most, plan_.tokens(layer, head)[kHigh]);
  }
  return most;
}

void DecodeSequence::LowerPromise(int32_t layer, int64_t pages) {
  int64_t& promise = layer_promises_[static_cast<size_t>(layer)];
  promised_pages_ += std::min(pages, promise) - promise;
  promise = std::min(pages, promise);
}

void DecodeSequence::Join(Stream& stream, int32_t first_token) {
  joined_ = true;
  length_ = options_.prompt_tokens;
  counts_.pruned = plan_.pruned();
  rows_.first_query = plan_.first_query();
  stream.Copy(table_.As<void>(), &rows_, sizeof(SequenceRows));
  stream.Copy(rows_.length, &length_, sizeof(length_));
  Accept(first_token);
}

StepToken DecodeSequence::Accept(int32_t token) {
  // The first token comes from Join and is what the caller says.
  const auto after_first = static_cast<size_t>(generated_) - 1;
  const bool forced = generated_ > 0 && after_first < options_.forced.size();
  ++generated_;
  last_token_ = forced ? options_.forced[after_first] : token;
  const std::vector<int32_t>& ends = options_.end_tokens;
  StepToken step;
  step.sequence = id_;
  step.token = last_token_;
  step.stopped = !forced && std::find(ends.begin(), ends.end(), token) != ends.end();
  step.finished = step.stopped || generated_ >= options_.max_tokens;
  finished_ = step.finished;
  return step;
}

void DecodeSequence::CountMoved(const int64_t* moved) {
  counts_.demoted += moved[0];
  counts_.dropped += moved[1];
}

}  // namespace decant
