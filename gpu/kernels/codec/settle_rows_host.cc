// Plan: every head counts what moves, in parallel, and a serial pass sees that the pages suffice. Then waves of as many
// heads as there are threads: stage the low tokens and close up the high ones in parallel, move pages in head order,
// write the staged tokens in parallel. Staging a wave bounds the memory by threads, not by heads.
#include <algorithm>
#include <functional>

#include "common/compress/arith/prompt_tier.h"
#include "gpu/kernels/codec/codec_host.h"
#include "gpu/kernels/codec/token_codec.h"
#include "gpu/kernels/pages/ring_host.h"

namespace decant {
namespace {

struct Move {
  int32_t low = 0;
  int32_t dropped = 0;
};

// A staged token: score, position, then the vectors with their metas, rounded up so that the next score is aligned.
int64_t StagedBytes(FormatId id, int32_t head_dim) {
  const Format format = FormatOf(id);
  const int64_t bytes = 8 + VectorBytes(format.k, head_dim) + MetaBytes(format.k, head_dim) +
                        VectorBytes(format.v, head_dim) + MetaBytes(format.v, head_dim);
  return (bytes + 7) / 8 * 8;
}

int64_t PlanBytes(const Geometry& geometry) {
  return int64_t{geometry.layers} * geometry.kv_heads * static_cast<int64_t>(sizeof(Move));
}

int64_t HeadsPerWave(Device& device, const Geometry& geometry) {
  return std::min<int64_t>(std::max(device.threads(), 1), int64_t{geometry.layers} * geometry.kv_heads);
}

PromptPolicy PolicyOf(const SettleRowsArgs& args) {
  PromptPolicy policy;
  policy.allocation = args.allocation;
  policy.source = args.source;
  policy.alpha_high = args.rows->alpha_high;
  policy.alpha_low = args.rows->alpha_low;
  policy.window = args.rows->window;
  policy.tokens = *args.rows->length;
  policy.first_query = args.rows->first_query;
  return policy;
}

class Settlement {
 public:
  Settlement(const SettleRowsArgs& args, int64_t heads_per_wave)
      : args_(args),
        policy_(PolicyOf(args)),
        head_dim_(args.arena.geometry.head_dim),
        heads_(args.arena.geometry.layers * args.arena.geometry.kv_heads),
        heads_per_wave_(static_cast<int32_t>(heads_per_wave)),
        moves_(static_cast<Move*>(args.scratch)),
        staging_(static_cast<uint8_t*>(args.scratch) + PlanBytes(args.arena.geometry)) {}

  int32_t heads() const { return heads_; }
  int32_t heads_per_wave() const { return heads_per_wave_; }

  void Count(int32_t head) {
    const HeadRow row = Row(head);
    Move move;
    for (int32_t slot = 0; slot < row.state->tokens[kHigh]; ++slot) {
      const PromptTier tier = TierOf(SlotAt(args_.arena, row, args_.high, kHigh, slot));
      move.low += tier == PromptTier::kLow ? 1 : 0;
      move.dropped += tier == PromptTier::kPruned ? 1 : 0;
    }
    moves_[head] = move;
  }

  // Leaves out the heads whose pages would not suffice, before anything has moved.
  void CheckPages() {
    auto free = static_cast<int64_t>(FreePages(args_.ring));
    for (int32_t head = 0; head < heads_; ++head) {
      const HeadRow row = Row(head);
      const int32_t high = HighPagesAfter(row, moves_[head]);
      const int32_t low = LowPagesAfter(row, moves_[head]);
      const int64_t left = free + row.state->pages[kHigh] - high - (low - row.state->pages[kLow]);
      if (left < 0 || row.state->pages[kFixed] + row.state->pages[kTail] + high + low > row.capacity) {
        *args_.error = 1;
        moves_[head] = Move{};
        continue;
      }
      free = left;
    }
  }

  void Stage(int32_t head, int32_t place) {
    if (IsIdle(head)) return;
    const HeadRow row = Row(head);
    const TokenLevels levels{args_.rows->key_levels[kLow], args_.rows->value_levels[kLow]};
    int32_t staged = 0;
    int32_t kept = 0;
    for (int32_t slot = 0; slot < row.state->tokens[kHigh]; ++slot) {
      const TokenSlot from = SlotAt(args_.arena, row, args_.high, kHigh, slot);
      const PromptTier tier = TierOf(from);
      if (tier == PromptTier::kLow) {
        ReencodeToken(from, args_.high, Staged(place, staged++), args_.low, levels, head_dim_);
      }
      if (tier != PromptTier::kHigh) continue;
      if (kept < slot) CopyToken(from, SlotAt(args_.arena, row, args_.high, kHigh, kept), args_.high, head_dim_);
      ++kept;
    }
  }

  void MovePages(int32_t head) {
    if (IsIdle(head)) return;
    const HeadRow row = Row(head);
    const Move move = moves_[head];
    const int32_t high = HighPagesAfter(row, move);
    const int32_t low = LowPagesAfter(row, move);
    for (int32_t page = high; page < row.state->pages[kHigh]; ++page) {
      GivePage(args_.ring, row.page_ids[RowPlace(*row.state, row.capacity, kHigh, page)]);
    }
    row.state->pages[kHigh] = high;
    row.state->tokens[kHigh] -= move.low + move.dropped;
    for (int32_t page = row.state->pages[kLow]; page < low; ++page) {
      row.page_ids[RowPlace(*row.state, row.capacity, kLow, page)] = FreePageAt(args_.ring, 0);
      ++args_.ring.head_tail[0];
    }
    row.state->pages[kLow] = low;
    args_.moved[0] += move.low;
    args_.moved[1] += move.dropped;
  }

  void WriteStaged(int32_t head, int32_t place) {
    const HeadRow row = Row(head);
    for (int32_t i = 0; i < moves_[head].low; ++i) {
      const TokenSlot to = SlotAt(args_.arena, row, args_.low, kLow, row.state->tokens[kLow] + i);
      CopyToken(Staged(place, i), to, args_.low, head_dim_);
    }
    row.state->tokens[kLow] += moves_[head].low;
  }

 private:
  HeadRow Row(int32_t head) const { return RowOf(*args_.rows, args_.arena.geometry, 0, head); }
  bool IsIdle(int32_t head) const { return moves_[head].low + moves_[head].dropped == 0; }
  PromptTier TierOf(const TokenSlot& token) const { return ChoosePromptTier(policy_, *token.position, *token.score); }

  int32_t HighPagesAfter(const HeadRow& row, const Move& move) const {
    if (move.low + move.dropped == 0) return row.state->pages[kHigh];
    const int32_t tokens = row.state->tokens[kHigh] - move.low - move.dropped;
    return PagesFor(tokens, TierLayout(args_.arena, *args_.rows, kHigh).tokens);
  }
  int32_t LowPagesAfter(const HeadRow& row, const Move& move) const {
    const int32_t tokens = row.state->tokens[kLow] + move.low;
    return std::max(row.state->pages[kLow], PagesFor(tokens, TierLayout(args_.arena, *args_.rows, kLow).tokens));
  }

  TokenSlot Staged(int32_t place, int32_t index) const {
    const Format format = FormatOf(args_.low);
    uint8_t* at = staging_ + (int64_t{place} * args_.most_high_tokens + index) * StagedBytes(args_.low, head_dim_);
    uint8_t* const keys = at + 8;
    uint8_t* const key_meta = keys + VectorBytes(format.k, head_dim_);
    uint8_t* const values = key_meta + MetaBytes(format.k, head_dim_);
    uint8_t* const value_meta = values + VectorBytes(format.v, head_dim_);
    return TokenSlot{
        keys, key_meta, values, value_meta, reinterpret_cast<float*>(at), reinterpret_cast<int32_t*>(at + 4)};
  }

  const SettleRowsArgs& args_;
  const PromptPolicy policy_;
  const int32_t head_dim_;
  const int32_t heads_;
  const int32_t heads_per_wave_;
  Move* const moves_;       // [heads]
  uint8_t* const staging_;  // [heads per wave, most_high_tokens] staged tokens
};

}  // namespace

int64_t SettleRowsScratchBytesHost(Device& device, const Geometry& geometry, FormatId low, int32_t most_high_tokens) {
  return PlanBytes(geometry) + HeadsPerWave(device, geometry) * most_high_tokens * StagedBytes(low, geometry.head_dim);
}

void SettleRowsHost(Stream& stream, const SettleRowsArgs& args) {
  const HostAccess access(stream);
  Device& device = stream.device();
  Settlement settlement(args, HeadsPerWave(device, args.arena.geometry));
  const auto count = [&](int64_t head, int) { settlement.Count(static_cast<int32_t>(head)); };
  device.ParallelFor(settlement.heads(), std::cref(count));
  settlement.CheckPages();
  for (int32_t first = 0; first < settlement.heads(); first += settlement.heads_per_wave()) {
    const int32_t wave = std::min(settlement.heads_per_wave(), settlement.heads() - first);
    const auto stage = [&](int64_t i, int) {
      settlement.Stage(first + static_cast<int32_t>(i), static_cast<int32_t>(i));
    };
    const auto write = [&](int64_t i, int) {
      settlement.WriteStaged(first + static_cast<int32_t>(i), static_cast<int32_t>(i));
    };
    device.ParallelFor(wave, std::cref(stage));
    for (int32_t i = 0; i < wave; ++i) settlement.MovePages(first + i);
    device.ParallelFor(wave, std::cref(write));
  }
}

}  // namespace decant
