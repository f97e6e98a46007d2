#include <cstring>
#include <functional>

#include "common/base/check.h"
#include "common/compress/arith/key_shape.h"
#include "gpu/kernels/codec/append_split_token.h"
#include "gpu/kernels/codec/codec_host.h"
#include "gpu/kernels/codec/token_codec.h"
#include "gpu/kernels/codec/vector_codec.h"
#include "gpu/kernels/pages/key_statistics.h"
#include "gpu/kernels/pages/slot.h"

namespace decant {
namespace {

void DemoteToken(const PageArena& arena, const SequenceRows& rows, const HeadRow& row, const StepAction& action) {
  const TokenSlot from = SlotAt(arena, row, rows.formats[kHigh], kHigh, action.high_slot);
  const TokenSlot to = SlotAt(arena, row, rows.formats[kLow], kLow, action.demote_to);
  const TokenLevels levels{rows.key_levels[kLow], rows.value_levels[kLow]};
  ReencodeToken(from, rows.formats[kHigh], to, rows.formats[kLow], levels, arena.geometry.head_dim);
  if (action.demote_to == row.state->tokens[kLow]) ++row.state->tokens[kLow];
}

void WriteToken(const PageArena& arena, const SequenceRows& rows, const HeadRow& row, int32_t slot, const float* k,
                const float* v) {
  const FormatId id = rows.formats[kHigh];
  const Format format = FormatOf(id);
  const int32_t head_dim = arena.geometry.head_dim;
  const TokenSlot to = SlotAt(arena, row, id, kHigh, slot);
  EncodeVector(RunType::kF32, k, head_dim, format.k, rows.key_levels[kHigh], to.keys, to.key_meta, nullptr);
  EncodeVector(RunType::kF32, v, head_dim, format.v, rows.value_levels[kHigh], to.values, to.value_meta, nullptr);
  if (format.tracked) {
    *to.score = 0;
    *to.position = *rows.length;
  }
  if (format.statistics) {
    AddKeyToStatistics(to.keys, slot % kStatisticsBlock, head_dim, format.k, StatisticsAt(arena, row, id, kHigh, slot));
  }
  if (slot == row.state->tokens[kHigh]) ++row.state->tokens[kHigh];
}

// The new token's key in the form of the high tier; `shaped` is room for one.
const float* NewKey(const AppendTokenArgs& args, int32_t sequence, int32_t head, float* shaped) {
  const Geometry& geometry = args.arena.geometry;
  const SequenceRows& rows = args.rows[sequence];
  const KeyForm& form = rows.key_forms[kHigh];
  const bool rotated = form.rope != 0;
  DECANT_CHECK_MSG(rotated || args.pre_rope_k != nullptr, "sequence %d keeps keys before rope, there are none",
                   sequence);
  const float* k = rotated ? args.k + sequence * args.kv_stride : args.pre_rope_k + sequence * args.pre_rope_stride;
  k += int64_t{head} * geometry.head_dim;
  if (!IsShaped(form)) return k;
  std::memcpy(shaped, k, static_cast<size_t>(geometry.head_dim) * sizeof(float));
  ShapeKey(form, BalanceOf(rows, geometry, args.layer, head), geometry.head_dim, shaped);
  return shaped;
}

}  // namespace

void AppendTokenHost(Stream& stream, const AppendTokenArgs& args) {
  const HostAccess access(stream);
  const auto append = [&args](int64_t index, int) {
    const Geometry& geometry = args.arena.geometry;
    const auto sequence = static_cast<int32_t>(index / geometry.kv_heads);
    const auto head = static_cast<int32_t>(index % geometry.kv_heads);
    const int64_t action_index = (int64_t{sequence} * geometry.layers + args.layer) * geometry.kv_heads + head;
    const StepAction action = args.actions[action_index];
    if (action.high_slot < 0) return;
    const SequenceRows& rows = args.rows[sequence];
    const HeadRow row = RowOf(rows, geometry, args.layer, head);
    const int64_t offset = sequence * args.kv_stride + int64_t{head} * geometry.head_dim;
    if (rows.split()) return AppendSplitToken(args.arena, rows, row, args.k + offset, args.v + offset);
    if (action.demote_to >= 0) DemoteToken(args.arena, rows, row, action);
    float shaped[kMaxHeadDim];
    WriteToken(args.arena, rows, row, action.high_slot, NewKey(args, sequence, head, shaped), args.v + offset);
  };
  stream.device().ParallelFor(int64_t{args.sequences} * args.arena.geometry.kv_heads, std::cref(append));
}

}  // namespace decant
