#include <algorithm>
#include <cstring>
#include <functional>

#include "gpu/kernels/pages/import_run.h"
#include "gpu/kernels/pages/key_statistics.h"
#include "gpu/kernels/pages/page_ops_host.h"
#include "gpu/kernels/pages/slot.h"

namespace decant {
namespace {

void CopyTokens(uint8_t* to, const uint8_t* from, int64_t token_bytes, int32_t tokens) {
  std::memcpy(to, from, static_cast<size_t>(token_bytes * tokens));
}

// Pairs of whole groups: what came before the part was whole groups too, in the run and in the page.
void ImportMeta(const ImportFramesArgs& args, Element element, int64_t offset, const RunPart& part, uint8_t* to) {
  const int32_t head_dim = args.arena.geometry.head_dim;
  const uint8_t* from = args.frames + offset + MetaSegmentBytes(element, head_dim, part.first);
  CopyTokens(to, from, 1, static_cast<int32_t>(MetaSegmentBytes(element, head_dim, part.count)));
}

void ImportStatistics(const ImportFramesArgs& args, const ImportRun& run, FormatId id, const HeadRow& row,
                      const RunPart& part) {
  const int32_t head_dim = args.arena.geometry.head_dim;
  uint8_t* const entry = StatisticsAt(args.arena, row, id, run.tier, part.slot);
  if (CopiesStatistics(part)) {
    const uint8_t* from = args.frames + run.statistics + StatisticsBytes(id, head_dim, part.first);
    CopyTokens(entry, from, 1, static_cast<int32_t>(StatisticsBytes(id, head_dim, part.count)));
    return;
  }
  const int32_t first = part.slot / kStatisticsBlock * kStatisticsBlock;
  const TokenSlot slot = SlotAt(args.arena, row, id, run.tier, first);
  WriteKeyStatistics(slot.keys, part.slot + part.count - first, head_dim, FormatOf(id).k, entry);
}

void ImportPart(const ImportFramesArgs& args, const ImportRun& run, FormatId id, const HeadRow& row,
                const RunPart& part) {
  const Format format = FormatOf(id);
  const int32_t head_dim = args.arena.geometry.head_dim;
  const TokenSlot slot = SlotAt(args.arena, row, id, run.tier, part.slot);
  const auto copy = [&](uint8_t* to, int64_t offset, int64_t token_bytes) {
    CopyTokens(to, args.frames + offset + part.first * token_bytes, token_bytes, part.count);
  };
  copy(slot.keys, run.keys, VectorBytes(format.k, head_dim));
  copy(slot.values, run.values, VectorBytes(format.v, head_dim));
  ImportMeta(args, format.k, run.key_meta, part,
             IsChannel(format.k) ? ChannelPairsAt(args.arena, row, id, run.tier, part.slot) : slot.key_meta);
  ImportMeta(args, format.v, run.value_meta, part, slot.value_meta);
  if (format.statistics) ImportStatistics(args, run, id, row, part);
  if (!format.tracked) return;
  for (int32_t i = 0; i < part.count; ++i) {
    uint16_t offset = static_cast<uint16_t>(part.first + i);
    if (run.positions >= 0) std::memcpy(&offset, args.frames + run.positions + int64_t{2} * (part.first + i), 2);
    slot.position[i] = run.first_position + offset;
  }
  if (run.scores >= 0) {
    std::memcpy(slot.score, args.frames + run.scores + int64_t{4} * part.first, static_cast<size_t>(part.count) * 4);
  } else {
    std::memset(slot.score, 0, static_cast<size_t>(part.count) * 4);
  }
}

// Tokens that each tier gains.
struct Gains {
  int32_t tokens[kTierCount] = {0, 0, 0, 0};
};

void ImportOneRun(const ImportFramesArgs& args, const ImportRun& run, const HeadRow& row, Gains& gains) {
  const RunTarget target = TargetOf(args, run, *row.state);
  if (!target.fits) return;
  for (RunPart part = FirstPart(target, run.tokens); part.count > 0; part = NextPart(target, run.tokens, part)) {
    ImportPart(args, run, target.format, row, part);
  }
  gains.tokens[run.tier] = std::max(gains.tokens[run.tier], run.before + run.tokens);
}

}  // namespace

void ImportFramesHost(Stream& stream, const ImportFramesArgs& args) {
  const HostAccess access(stream);
  const auto import_head = [&args](int64_t head, int) {
    const HeadRow row = RowOf(*args.rows, args.arena.geometry, args.layer, static_cast<int32_t>(head));
    Gains gains;
    for (int32_t i = 0; i < args.run_count; ++i) {
      if (args.runs[i].head == head && args.runs[i].tokens > 0) ImportOneRun(args, args.runs[i], row, gains);
    }
    for (int32_t tier = 0; tier < kTierCount; ++tier) row.state->tokens[tier] += gains.tokens[tier];
  };
  stream.device().ParallelFor(args.arena.geometry.kv_heads, std::cref(import_head));
}

}  // namespace decant
