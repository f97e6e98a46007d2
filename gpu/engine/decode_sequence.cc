#include "gpu/engine/decode_sequence.h"

#include <algorithm>

#include "common/base/status_macros.h"

namespace decant {
namespace {

// Places of the parts of a table.
struct TablePlaces {
  TablePlaces(const Geometry& geometry, const SequenceOptions& options, int64_t capacity) {
    const int64_t layer_heads = int64_t{geometry.layers} * geometry.kv_heads;
    const auto place = [this](int64_t bytes) {
      const int64_t at = end;
      end = (end + bytes + 63) / 64 * 64;
      return at;
    };
    place(sizeof(SequenceRows));
    length = place(sizeof(int32_t));
    limits = place(geometry.layers * int64_t{sizeof(int32_t)});
    shares = place(geometry.layers * int64_t{sizeof(float)});
    const bool balanced = options.recipe.key_form.balanced != 0;
    balance = place(balanced ? layer_heads * geometry.head_dim * int64_t{sizeof(float)} : 0);
    heads = place(layer_heads * int64_t{sizeof(HeadState)});
    page_ids = place(layer_heads * capacity * int64_t{sizeof(int32_t)});
  }
  int64_t length, limits, shares, balance, heads, page_ids;
  int64_t end = 0;
};

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

void DecodeSequence::KeyForms(const SequenceOptions& options, KeyForm (&forms)[kTierCount]) {
  for (KeyForm& form : forms) form = options.recipe.key_form;
  if (!options.recipe.split()) forms[kFixed] = KeyForm();
}

void DecodeSequence::Expect(const SequenceOptions& options, ImportPlan::Expectation& expectation) {
  expectation.prompt_tokens = options.prompt_tokens;
  Formats(options, expectation.formats);
  KeyForms(options, expectation.key_forms);
  expectation.split_window = options.recipe.split() ? options.recipe.window : 0;
  expectation.needs_scores = options.recipe.needs_overlays();
  const TokenLimits limits = TokenLimitsOf(options.recipe, expectation.geometry.layers, options.prompt_tokens);
  if (limits.drops) expectation.most_high = limits.kept;
}

int64_t DecodeSequence::WorstCaseHeadPages(const SequenceOptions& options, const PageArena& arena) {
  const int64_t total = options.prompt_tokens + Growth(options);
  if (options.recipe.split()) return SplitHeadPages(TierPagesOf(options, arena), total, options.recipe.window);
  const TokenLimits limits = TokenLimitsOf(options.recipe, arena.geometry.layers, options.prompt_tokens);
  int64_t most = 0;
  for (int32_t layer = 0; layer < arena.geometry.layers; ++layer) most = std::max(most, limits.Most(layer, total));
  return decant::WorstCaseHeadPages(TierPagesOf(options, arena), most);
}

DecodeSequence::DecodeSequence(SequenceId id, const SequenceOptions& options, const PageArena& arena,
                               const ImportPlan::Expectation& expectation)
    : id_(id),
      options_(options),
      geometry_(arena.geometry),
      plan_(expectation),
      pages_(TierPagesOf(options, arena)),
      limits_(TokenLimitsOf(options.recipe, arena.geometry.layers, options.prompt_tokens)) {
  const int64_t head_pages = WorstCaseHeadPages(options, arena);
  layer_promises_.assign(static_cast<size_t>(geometry_.layers), head_pages * geometry_.kv_heads);
  promised_pages_ = head_pages * geometry_.kv_heads * geometry_.layers;
  rows_.capacity = static_cast<int32_t>(head_pages);
  Formats(options, rows_.formats);
  KeyForms(options, rows_.key_forms);
  rows_.policy = options.recipe.online;
  rows_.alpha_high = options.recipe.alpha_high;
  rows_.alpha_low = options.recipe.alpha_low;
  rows_.window = options.recipe.window;
  rows_.read = options.recipe.read;
  for (const int32_t tier : {kHigh, kLow}) {
    rows_.key_levels[tier] = static_cast<uint16_t>(options.recipe.key_levels);
    rows_.value_levels[tier] = static_cast<uint16_t>(options.recipe.value_levels);
  }
  rows_.sinks = options.recipe.sinks;
}

absl::StatusOr<std::unique_ptr<DecodeSequence>> DecodeSequence::Create(SequenceId id, const SequenceOptions& options,
                                                                       const PageArena& arena,
                                                                       const ImportPlan::Expectation& expectation,
                                                                       Stream& stream) {
  std::unique_ptr<DecodeSequence> sequence(new DecodeSequence(id, options, arena, expectation));
  SequenceRows& rows = sequence->rows_;
  const TablePlaces places(arena.geometry, options, rows.capacity);
  DECANT_ASSIGN_OR_RETURN(sequence->table_, stream.device().Allocate(places.end));
  const Buffer& table = sequence->table_;
  rows.length = table.As<int32_t>(places.length);
  rows.heads = table.As<HeadState>(places.heads);
  rows.page_ids = table.As<int32_t>(places.page_ids);
  if (options.recipe.key_form.balanced != 0) rows.balance = table.As<float>(places.balance);
  stream.Fill(table.As<void>(), 0, places.page_ids);
  const TokenLimits& limits = sequence->limits_;
  if (!limits.limits.empty()) {
    rows.layer_limits = table.As<int32_t>(places.limits);
    stream.Copy(table.As<void>(places.limits), limits.limits.data(), int64_t{arena.geometry.layers} * 4);
  }
  if (!limits.shares.empty()) {
    rows.keep_shares = table.As<float>(places.shares);
    stream.Copy(table.As<void>(places.shares), limits.shares.data(), int64_t{arena.geometry.layers} * 4);
  }
  stream.Copy(table.As<void>(), &rows, sizeof(SequenceRows));
  DECANT_RETURN_IF_ERROR(stream.Synchronize());
  return sequence;
}

void DecodeSequence::ShrinkPromise(int32_t layer) {
  if (options_.recipe.split()) return;  // the promise was exact
  int64_t pages = 0;
  for (int32_t head = 0; head < geometry_.kv_heads; ++head) {
    const std::array<int32_t, kTierCount>& held = plan_.tokens(layer, head);
    const int32_t movable = Settles() ? held[kHigh] : 0;
    pages += GrownPages(layer, {held[kHigh], held[kLow], held[kFixed], held[kTail]}, movable);
  }
  LowerPromise(layer, pages);
}

void DecodeSequence::ShrinkPromises(const std::vector<HeadState>& heads) {
  for (int32_t layer = 0; layer < geometry_.layers; ++layer) {
    int64_t pages = 0;
    for (int32_t head = 0; head < geometry_.kv_heads; ++head) {
      const HeadState& state = heads[static_cast<size_t>(layer * geometry_.kv_heads + head)];
      pages += GrownPages(layer, state.tokens, 0);
    }
    LowerPromise(layer, pages);
  }
}

int64_t DecodeSequence::GrownPages(int32_t layer, const int32_t (&held)[kTierCount], int32_t movable) const {
  int64_t growth = Growth(options_);
  if (limits_.drops) {
    const int64_t most = limits_.Most(layer, options_.prompt_tokens + growth);
    growth = std::clamp<int64_t>(most - held[kHigh] - held[kLow] - held[kFixed], 0, growth);
  }
  return GrownHeadPages(pages_, held, movable, growth);
}

float* DecodeSequence::BalanceOf(int32_t layer) const {
  const TablePlaces places(geometry_, options_, rows_.capacity);
  return table_.As<float>(places.balance) + int64_t{layer} * geometry_.kv_heads * geometry_.head_dim;
}

bool DecodeSequence::Settles() const {
  const Recipe& recipe = options_.recipe;
  return recipe.online != OnlinePolicy::kNone && recipe.low != FormatId::kNone &&
         (recipe.allocation == Allocation::kThresholdByPosition || recipe.allocation == Allocation::kThresholdByLength);
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
