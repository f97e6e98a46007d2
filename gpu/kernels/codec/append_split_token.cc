#include "gpu/kernels/codec/append_split_token.h"

#include "gpu/kernels/codec/channel_codec.h"
#include "gpu/kernels/codec/vector_codec.h"

namespace decant {
namespace {

RunType RunTypeOf(Element element) { return element == Element::kF32 ? RunType::kF32 : RunType::kBf16; }

void FreezeKeys(const PageArena& arena, const SequenceRows& rows, const HeadRow& row) {
  HeadState& state = *row.state;
  const Element element = FormatOf(rows.formats[kHigh]).k;
  const RunType stored = RunTypeOf(FormatOf(rows.formats[kFixed]).k);
  // Groups never cross pages: a page of the high tier holds whole ones.
  for (int32_t first = 0; first < rows.window; first += kTokenGroup) {
    const void* group[kTokenGroup];
    for (int32_t t = 0; t < kTokenGroup; ++t) {
      group[t] = SlotAt(arena, row, rows.formats[kFixed], kFixed, first + t).keys;
    }
    const TokenSlot to = SlotAt(arena, row, rows.formats[kHigh], kHigh, state.tokens[kHigh]);
    uint8_t* const pairs = ChannelPairsAt(arena, row, rows.formats[kHigh], kHigh, state.tokens[kHigh]);
    EncodeChannels(stored, group, kTokenGroup, arena.geometry.head_dim, element, rows.key_levels[kHigh], to.keys, pairs,
                   nullptr);
    state.tokens[kHigh] += kTokenGroup;
  }
  state.tokens[kFixed] = 0;
}

void FreezeValue(const PageArena& arena, const SequenceRows& rows, const HeadRow& row, int32_t slot) {
  const TokenSlot from = SlotAt(arena, row, rows.formats[kTail], kTail, slot);
  const TokenSlot to = SlotAt(arena, row, rows.formats[kLow], kLow, row.state->tokens[kLow]);
  EncodeVector(RunTypeOf(FormatOf(rows.formats[kTail]).v), from.values, arena.geometry.head_dim,
               FormatOf(rows.formats[kLow]).v, rows.value_levels[kLow], to.values, to.value_meta, nullptr);
  ++row.state->tokens[kLow];
  --row.state->tokens[kTail];
}

}  // namespace

void AppendSplitToken(const PageArena& arena, const SequenceRows& rows, const HeadRow& row, const float* k,
                      const float* v) {
  HeadState& state = *row.state;
  const int32_t head_dim = arena.geometry.head_dim;
  const int32_t slot = *rows.length % rows.window;
  if (state.tokens[kFixed] == rows.window) FreezeKeys(arena, rows, row);
  if (state.tokens[kTail] == rows.window) FreezeValue(arena, rows, row, slot);
  const TokenSlot key = SlotAt(arena, row, rows.formats[kFixed], kFixed, slot);
  const TokenSlot value = SlotAt(arena, row, rows.formats[kTail], kTail, slot);
  EncodeVector(RunType::kF32, k, head_dim, FormatOf(rows.formats[kFixed]).k, 0, key.keys, key.key_meta, nullptr);
  EncodeVector(RunType::kF32, v, head_dim, FormatOf(rows.formats[kTail]).v, 0, value.values, value.value_meta, nullptr);
  ++state.tokens[kFixed];
  ++state.tokens[kTail];
}

}  // namespace decant
