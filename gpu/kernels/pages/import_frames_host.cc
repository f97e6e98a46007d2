#include <algorithm>
#include <cstring>
#include <functional>

#include "gpu/kernels/pages/page_ops_host.h"
#include "gpu/kernels/pages/slot.h"

namespace decant {
namespace {

void CopyTokens(uint8_t* to, const uint8_t* from, int64_t token_bytes, int32_t tokens) {
  std::memcpy(to, from, static_cast<size_t>(token_bytes * tokens));
}

// Tokens [first, first + count) of a run, all into one page.
void ImportPart(const ImportFramesArgs& args, const ImportRun& run, FormatId id, const TokenSlot& slot, int32_t first,
                int32_t count) {
  const Format format = FormatOf(id);
  const int32_t head_dim = args.arena.geometry.head_dim;
  const auto copy = [&](uint8_t* to, int64_t offset, int64_t token_bytes) {
    CopyTokens(to, args.frames + offset + first * token_bytes, token_bytes, count);
  };
  copy(slot.keys, run.keys, VectorBytes(format.k, head_dim));
  copy(slot.key_meta, run.key_meta, MetaBytes(format.k, head_dim));
  copy(slot.values, run.values, VectorBytes(format.v, head_dim));
  copy(slot.value_meta, run.value_meta, MetaBytes(format.v, head_dim));
  if (!format.tracked) return;
  for (int32_t i = 0; i < count; ++i) {
    uint16_t offset = static_cast<uint16_t>(first + i);
    if (run.positions >= 0) std::memcpy(&offset, args.frames + run.positions + int64_t{2} * (first + i), 2);
    slot.position[i] = run.first_position + offset;
  }
  if (run.scores >= 0) {
    std::memcpy(slot.score, args.frames + run.scores + int64_t{4} * first, static_cast<size_t>(count) * 4);
  } else {
    std::memset(slot.score, 0, static_cast<size_t>(count) * 4);
  }
}

void ImportOneRun(const ImportFramesArgs& args, const ImportRun& run, const HeadRow& row) {
  const FormatId id = args.rows->formats[run.tier];
  const int32_t page_tokens = args.arena.layouts[static_cast<int32_t>(id)].tokens;
  int32_t& held = row.state->tokens[run.tier];
  // GrowRows ran out of pages and said so; there is no place to write to.
  if (int64_t{held} + run.tokens > int64_t{row.state->pages[run.tier]} * page_tokens) return;
  for (int32_t first = 0; first < run.tokens;) {
    const int32_t count = std::min(run.tokens - first, page_tokens - held % page_tokens);
    ImportPart(args, run, id, SlotAt(args.arena, row, id, run.tier, held), first, count);
    held += count;
    first += count;
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
