#include <algorithm>
#include <cstring>
#include <functional>

#include "gpu/kernels/pages/key_statistics.h"
#include "gpu/kernels/pages/page_ops_host.h"
#include "gpu/kernels/pages/slot.h"

namespace decant {
namespace {

void CopyTokens(uint8_t* to, const uint8_t* from, int64_t token_bytes, int32_t tokens) {
  std::memcpy(to, from, static_cast<size_t>(token_bytes * tokens));
}

// The tokens of a run that go into one page: [first, first + count) of the run, from slot `slot` of the tier on.
struct RunPart {
  int32_t first = 0;
  int32_t count = 0;
  int32_t slot = 0;
};

// Pairs of whole groups: what came before the part was whole groups too, in the run and in the page.
void ImportMeta(const ImportFramesArgs& args, Element element, int64_t offset, const RunPart& part, uint8_t* to) {
  const int32_t head_dim = args.arena.geometry.head_dim;
  const uint8_t* from = args.frames + offset + MetaSegmentBytes(element, head_dim, part.first);
  CopyTokens(to, from, 1, static_cast<int32_t>(MetaSegmentBytes(element, head_dim, part.count)));
}

// Blocks that begin and end alike in run and page are copied; the others are made of the stored keys.
void ImportStatistics(const ImportFramesArgs& args, const ImportRun& run, FormatId id, const HeadRow& row,
                      const RunPart& part) {
  const int32_t head_dim = args.arena.geometry.head_dim;
  uint8_t* const entry = StatisticsAt(args.arena, row, id, run.tier, part.slot);
  if (part.slot % kStatisticsBlock == 0 && part.first % kStatisticsBlock == 0) {
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

// Where the run's first token goes: behind those that are there or, in the window of a split row, where its position
// stands.
int32_t FirstSlot(const ImportFramesArgs& args, const ImportRun& run, int32_t held) {
  if (!args.rows->split() || run.tier != kTail) return held;
  uint16_t offset = 0;
  if (run.positions >= 0) std::memcpy(&offset, args.frames + run.positions, 2);
  return (run.first_position + offset) % args.rows->window;
}

void ImportOneRun(const ImportFramesArgs& args, const ImportRun& run, const HeadRow& row) {
  const FormatId id = args.rows->formats[run.tier];
  const int32_t page_tokens = args.arena.layouts[static_cast<int32_t>(id)].tokens;
  int32_t& held = row.state->tokens[run.tier];
  const int64_t room = int64_t{row.state->pages[run.tier]} * page_tokens;
  // GrowRows ran out of pages and said so; there is no place to write to.
  if (held + run.tokens > room) return;
  RunPart part;
  part.slot = FirstSlot(args, run, held);
  const bool wraps = args.rows->split() && run.tier == kTail;
  if (wraps && args.rows->window > room && part.slot + run.tokens > room) return;
  while (part.first < run.tokens) {
    part.count = std::min(run.tokens - part.first, page_tokens - part.slot % page_tokens);
    if (wraps) part.count = std::min(part.count, args.rows->window - part.slot);
    ImportPart(args, run, id, row, part);
    held += part.count;
    part.first += part.count;
    part.slot += part.count;
    if (wraps && part.slot == args.rows->window) part.slot = 0;
  }
}

}  // namespace

void ImportFramesHost(Stream& stream, const ImportFramesArgs& args) {
  const HostAccess access(stream);
  const auto import_head = [&args](int64_t head, int) {
    const HeadRow row = RowOf(*args.rows, args.arena.geometry, args.layer, static_cast<int32_t>(head));
    for (int32_t i = 0; i < args.run_count; ++i) {
      if (args.runs[i].head == head && args.runs[i].tokens > 0) ImportOneRun(args, args.runs[i], row);
    }
  };
  stream.device().ParallelFor(args.arena.geometry.kv_heads, std::cref(import_head));
}

}  // namespace decant
