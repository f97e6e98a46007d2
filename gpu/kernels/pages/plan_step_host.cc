// Plan: every head scans its scores and decides, in parallel. Prefix sum and commit: heads in the order sequence,
// layer, head, high before low, so that the pages each takes do not depend on threads.
#include <functional>

#include "common/compress/arith/online_step.h"
#include "gpu/kernels/pages/page_ops_host.h"
#include "gpu/kernels/pages/ring_host.h"
#include "gpu/kernels/pages/slot.h"
#include "gpu/kernels/pages/split_step.h"

namespace decant {
namespace {

void ScanTier(const PlanStepArgs& args, const SequenceRows& rows, const HeadRow& row, const StepHead& head,
              int32_t tier, StepScan& scan) {
  const PageLayout& layout = TierLayout(args.arena, rows, tier);
  const int32_t tokens = row.state->tokens[tier];
  for (int32_t first = 0, page = 0; first < tokens; first += layout.tokens, ++page) {
    uint8_t* bytes = PageAt(args.arena, row, tier, page);
    auto* scores = reinterpret_cast<float*>(bytes + layout.scores);
    const auto* positions = reinterpret_cast<const int32_t*>(bytes + layout.positions);
    const int32_t count = tokens - first < layout.tokens ? tokens - first : layout.tokens;
    for (int32_t i = 0; i < count; ++i) {
      if (head.policy == OnlinePolicy::kDiffKvPaper && positions[i] == head.position - 1) scores[i] = 0;
      ScanToken(head, tier, first + i, positions[i], scores[i], scan);
    }
  }
}

StepAction PlanHead(const PlanStepArgs& args, const SequenceRows& rows, const HeadRow& row, int32_t layer) {
  const StepHead head = StepHeadOf(rows, *row.state, layer);
  StepScan scan;
  if (rows.policy != OnlinePolicy::kNone) {
    ScanTier(args, rows, row, head, kHigh, scan);
    ScanTier(args, rows, row, head, kLow, scan);
  }
  return DecideStep(head, scan).action;
}

// Whether the action's fresh slot opens a new page of its tier (defect D5: nothing else takes one).
bool OpensPage(const PlanStepArgs& args, const SequenceRows& rows, const HeadState& state, int32_t tier, int32_t slot) {
  return slot == state.tokens[tier] && slot == state.pages[tier] * TierLayout(args.arena, rows, tier).tokens;
}

void CommitHead(const PlanStepArgs& args, const HeadRow& row, const StepAction& action, const int32_t* offsets,
                int64_t* moved) {
  for (int32_t tier = kHigh; tier <= kLow; ++tier) {
    if (offsets[tier + 1] == offsets[tier]) continue;
    const int32_t place = RowPlace(*row.state, row.capacity, tier, row.state->pages[tier]);
    row.page_ids[place] = FreePageAt(args.ring, static_cast<uint64_t>(offsets[tier]));
    ++row.state->pages[tier];
  }
  const bool demotes = action.demote_to >= 0;
  moved[0] += demotes ? 1 : 0;
  const bool overwrites =
      demotes ? action.demote_to < row.state->tokens[kLow] : action.high_slot < row.state->tokens[kHigh];
  moved[1] += overwrites ? 1 : 0;
}

// Every head of a split row takes its token at slot length % window; what is frozen follows from its counts.
void PlanSplitHead(const PlanStepArgs& args, const SequenceRows& rows, const HeadState& state, StepAction& action,
                   int32_t* pages) {
  action.high_slot = *rows.length % rows.window;
  const SplitPages taken = SplitPagesOf(args.arena, rows, state);
  pages[0] = taken.pages[kHigh] + taken.pages[kLow] + taken.pages[kFixed] + taken.pages[kTail];
  pages[1] = 0;
}

void CommitSplitHead(const PlanStepArgs& args, const SequenceRows& rows, const HeadRow& row, uint64_t offset,
                     int64_t* moved) {
  moved[0] += SplitGrowthOf(*row.state, rows.window).tokens[kLow];
  const SplitPages taken = SplitPagesOf(args.arena, rows, *row.state);
  for (const int32_t tier : {kFixed, kTail, kHigh, kLow}) {
    TakePages(args.ring, row, tier, taken.pages[tier], offset);
    offset += static_cast<uint64_t>(taken.pages[tier]);
  }
}

}  // namespace

void PlanStepHost(Stream& stream, const PlanStepArgs& args) {
  const HostAccess access(stream);
  const int32_t heads = args.arena.geometry.layers * args.arena.geometry.kv_heads;
  const int64_t total_heads = int64_t{args.sequences} * heads;
  const auto plan = [&args, heads](int64_t index, int) {
    const SequenceRows& rows = args.rows[index / heads];
    const auto head = static_cast<int32_t>(index % heads);
    const HeadRow row = RowOf(rows, args.arena.geometry, 0, head);
    if (rows.split()) {
      PlanSplitHead(args, rows, *row.state, args.actions[index] = StepAction{}, args.scratch + index * 2);
      return;
    }
    const StepAction action = PlanHead(args, rows, row, head / args.arena.geometry.kv_heads);
    args.actions[index] = action;
    args.scratch[index * 2 + kHigh] = OpensPage(args, rows, *row.state, kHigh, action.high_slot) ? 1 : 0;
    args.scratch[index * 2 + kLow] =
        action.demote_to >= 0 && OpensPage(args, rows, *row.state, kLow, action.demote_to) ? 1 : 0;
  };
  stream.device().ParallelFor(total_heads, std::cref(plan));

  int32_t total = 0;
  for (int64_t i = 0; i < total_heads * 2; ++i) {
    const int32_t needed = args.scratch[i];
    args.scratch[i] = total;
    total += needed;
  }
  args.scratch[total_heads * 2] = total;

  const auto free = static_cast<int64_t>(FreePages(args.ring));
  int64_t taken = 0;
  for (int64_t index = 0; index < total_heads; ++index) {
    const SequenceRows& rows = args.rows[index / heads];
    const HeadRow row = RowOf(rows, args.arena.geometry, 0, static_cast<int32_t>(index % heads));
    const int32_t* offsets = args.scratch + index * 2;
    const int32_t needed = offsets[2] - offsets[0];
    const int32_t held = PagesHeld(*row.state);
    // A head that got nothing leaves no gap: pages behind it in the ring stay free too.
    if (needed > 0 && (offsets[2] > free || offsets[0] != taken || held + needed > row.capacity)) {
      *args.error = 1;
      args.actions[index] = StepAction{-1, -1};
      continue;
    }
    if (rows.split()) {
      CommitSplitHead(args, rows, row, static_cast<uint64_t>(offsets[0]), args.moved + index / heads * 2);
    } else {
      CommitHead(args, row, args.actions[index], offsets, args.moved + index / heads * 2);
    }
    taken += needed;
  }
  args.ring.head_tail[0] += static_cast<uint64_t>(taken);
}

}  // namespace decant
