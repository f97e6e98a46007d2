// Spreads (sequence, kv head) pairs over the device's threads. The pairs that are left over when their number is no
// multiple of the threads are cut into ranges of tokens, whose softmaxes are merged afterwards; scores are added in
// that second step too, when every range's factor is known (defects D2 and D3 of the public DiffKV kernels were a
// factor taken by position instead of by range, and a reader that ran before its writers had finished).
#include "gpu/kernels/attention/decode_attention_host.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "common/compress/arith/score_policy.h"
#include "gpu/kernels/attention/attention_range.h"
#include "gpu/kernels/attention/attention_tokens.h"
#include "gpu/kernels/attention/block_choice.h"
#include "gpu/kernels/pages/slot.h"

namespace decant {
namespace {

// Cutting a head costs a second round of the threads, a few microseconds: about what 256 tokens cost.
constexpr int64_t kLeastTokensPerPart = 256;

int64_t BytesRead(const AttentionRange& range) {
  const int64_t block_tokens = range.blocks != nullptr ? range.end - range.begin : 0;
  return AttentionBytes(*range.rows, *range.head, range.arena->geometry.head_dim, block_tokens);
}

// One place in the scratch: the weights of a head, and the output, maximum and sum of a range. A thread has one, and so
// has every part of a cut head; the parts of one head share the weights of their first.
struct Slot {
  float* weights;
  float* out;
  float* max;
  float* sum;
  float* bounds;    // of blocks
  int32_t* blocks;  // as many
};

int64_t BlockFloats(int64_t tokens) { return tokens / kStatisticsBlock + 1; }

int64_t SlotFloats(const Geometry& geometry, int64_t tokens) {
  const int64_t padded = (tokens + 15) / 16 * 16;
  const int64_t group = geometry.group();
  return group * padded + group * geometry.head_dim + 2 * kMaxAttentionGroup + 2 * BlockFloats(tokens);
}

class Schedule {
 public:
  Schedule(Device& device, const DecodeAttentionArgs& args)
      : args_(args), geometry_(args.arena.geometry), threads_(device.threads()) {
    const int64_t pairs = int64_t{args.sequences} * geometry_.kv_heads;
    const int64_t rest = pairs % threads_;
    whole_ = pairs;
    if (rest > 0 && threads_ / rest > 1 && LongestFrom(pairs - rest) >= 2 * kLeastTokensPerPart &&
        !AnyChoosesBlocks(pairs - rest)) {
      whole_ = pairs - rest;
      cut_ = rest;
      parts_ = threads_ / rest;
    }
  }

  int64_t first_round() const { return whole_ + cut_ * parts_; }
  int64_t second_round() const { return cut_ * parts_; }

  void RunFirst(int64_t index, int thread) const {
    // The cut heads first: they are what a second round waits for.
    if (index < cut_ * parts_) {
      if (index % parts_ == 0) CountBytes(whole_ + index / parts_, Part(index));
      return AttendRange(Part(index));
    }
    RunWhole(index - cut_ * parts_, thread);
  }

  void RunSecond(int64_t index) const {
    const int64_t head = index / parts_;
    float factors[kMaxAttentionGroup];
    const AttentionRange range = Part(index);
    Factors(head, index % parts_, factors);
    if (KeepsScores(range.rows->policy)) AddScores(range, factors);
    if (index % parts_ == 0) MergeOutputs(head);
  }

 private:
  int64_t LongestFrom(int64_t first_pair) const {
    int64_t longest = 0;
    for (int64_t pair = first_pair; pair < int64_t{args_.sequences} * geometry_.kv_heads; ++pair) {
      longest = std::max(longest, AttendedTokens(args_.rows[pair / geometry_.kv_heads], *HeadOf(pair)));
    }
    return longest;
  }

  // A head of which few tokens are read is not worth cutting.
  bool AnyChoosesBlocks(int64_t first_pair) const {
    for (int64_t pair = first_pair; pair < int64_t{args_.sequences} * geometry_.kv_heads; ++pair) {
      if (ChoosesBlocks(args_.rows[pair / geometry_.kv_heads], *HeadOf(pair), args_.layer)) return true;
    }
    return false;
  }

  // Heads of one sequence are counted by several threads.
  void CountBytes(int64_t pair, const AttentionRange& range) const {
    if (args_.bytes_read == nullptr) return;
    std::atomic_ref<int64_t>(args_.bytes_read[pair / geometry_.kv_heads])
        .fetch_add(BytesRead(range), std::memory_order_relaxed);
  }

  const HeadState* HeadOf(int64_t pair) const {
    const SequenceRows& rows = args_.rows[pair / geometry_.kv_heads];
    return rows.heads + int64_t{args_.layer} * geometry_.kv_heads + pair % geometry_.kv_heads;
  }

  Slot SlotAt(int64_t index) const {
    const int64_t group = geometry_.group();
    float* base = args_.scratch + index * SlotFloats(geometry_, args_.scratch_tokens);
    Slot slot;
    slot.max = base;
    slot.sum = base + kMaxAttentionGroup;
    slot.out = base + 2 * kMaxAttentionGroup;
    slot.weights = slot.out + group * geometry_.head_dim;
    const int64_t blocks = BlockFloats(args_.scratch_tokens);
    slot.bounds = base + SlotFloats(geometry_, args_.scratch_tokens) - 2 * blocks;
    slot.blocks = reinterpret_cast<int32_t*>(slot.bounds + blocks);
    return slot;
  }

  AttentionRange RangeOf(int64_t pair, const Slot& slot) const {
    const int64_t sequence = pair / geometry_.kv_heads;
    const int64_t kv_head = pair % geometry_.kv_heads;
    const int64_t group = geometry_.group();
    const SequenceRows& rows = args_.rows[sequence];
    AttentionRange range;
    range.arena = &args_.arena;
    range.rows = &rows;
    range.head = HeadOf(pair);
    range.page_ids = rows.page_ids + (int64_t{args_.layer} * geometry_.kv_heads + kv_head) * int64_t{rows.capacity};
    range.end = AttendedTokens(rows, *range.head);
    range.q = args_.q + sequence * args_.q_stride + kv_head * group * geometry_.head_dim;
    range.balance = BalanceOf(rows, geometry_, args_.layer, static_cast<int32_t>(kv_head));
    range.angles = args_.angles;
    range.group = geometry_.group();
    range.scale = args_.scale;
    range.weights = slot.weights;
    range.weights_stride = (args_.scratch_tokens + 15) / 16 * 16;
    range.out = slot.out;
    range.max = slot.max;
    range.sum = slot.sum;
    return range;
  }

  float* OutputOf(int64_t pair) const {
    const int64_t group = geometry_.group();
    return args_.out + pair / geometry_.kv_heads * args_.out_stride +
           pair % geometry_.kv_heads * group * geometry_.head_dim;
  }

  void RunWhole(int64_t pair, int thread) const {
    const Slot slot = SlotAt(thread);
    AttentionRange range = RangeOf(pair, slot);
    range.out = OutputOf(pair);
    if (ChoosesBlocks(*range.rows, *range.head, args_.layer)) Narrow(range, slot);
    CountBytes(pair, range);
    AttendRange(range);
    float factors[kMaxAttentionGroup];
    for (int32_t h = 0; h < range.group; ++h) {
      factors[h] = range.sum[h] > 0 ? 1.0f / range.sum[h] : 0.0f;
      float* out = range.out + int64_t{h} * geometry_.head_dim;
      for (int32_t i = 0; i < geometry_.head_dim; ++i) out[i] *= factors[h];
    }
    if (KeepsScores(range.rows->policy)) AddScores(range, factors);
  }

  // To the blocks that the read policy chooses; the last of them is the head's last.
  static void Narrow(AttentionRange& range, const Slot& slot) {
    const int32_t count = ChooseBlocks(range, slot.bounds, slot.blocks);
    const int32_t in_last = range.head->tokens[kHigh] - slot.blocks[count - 1] * kStatisticsBlock;
    range.blocks = slot.blocks;
    range.end = int64_t{count - 1} * kStatisticsBlock + in_last;
  }

  // Part `index` of the cut heads: an even share of the head's tokens.
  AttentionRange Part(int64_t index) const {
    const int64_t head = index / parts_;
    const int64_t part = index % parts_;
    AttentionRange range = RangeOf(whole_ + head, SlotAt(threads_ + index));
    const int64_t tokens = range.end;
    range.begin = tokens * part / parts_;
    range.end = tokens * (part + 1) / parts_;
    range.weights = SlotAt(threads_ + head * parts_).weights + range.begin;
    return range;
  }

  // What the weights of one part are multiplied by to be probabilities of the whole head.
  void Factors(int64_t head, int64_t part, float* factors) const {
    for (int32_t h = 0; h < geometry_.group(); ++h) {
      float max = -std::numeric_limits<float>::infinity();
      for (int64_t p = 0; p < parts_; ++p) max = std::max(max, SlotAt(threads_ + head * parts_ + p).max[h]);
      float sum = 0;
      for (int64_t p = 0; p < parts_; ++p) {
        const Slot slot = SlotAt(threads_ + head * parts_ + p);
        if (slot.sum[h] > 0) sum += slot.sum[h] * std::exp(slot.max[h] - max);
      }
      const float own = SlotAt(threads_ + head * parts_ + part).max[h];
      factors[h] = sum > 0 && own > -std::numeric_limits<float>::infinity() ? std::exp(own - max) / sum : 0.0f;
    }
  }

  void MergeOutputs(int64_t head) const {
    const int64_t floats = int64_t{geometry_.group()} * geometry_.head_dim;
    float* out = OutputOf(whole_ + head);
    std::fill(out, out + floats, 0.0f);
    for (int64_t p = 0; p < parts_; ++p) {
      float factors[kMaxAttentionGroup];
      Factors(head, p, factors);
      const Slot slot = SlotAt(threads_ + head * parts_ + p);
      for (int64_t i = 0; i < floats; ++i) out[i] += slot.out[i] * factors[i / geometry_.head_dim];
    }
  }

  const DecodeAttentionArgs& args_;
  const Geometry geometry_;
  const int64_t threads_;
  int64_t whole_ = 0;  // pairs that one thread does alone
  int64_t cut_ = 0;    // pairs behind them, each cut into `parts_`
  int64_t parts_ = 0;
};

}  // namespace

int64_t DecodeAttentionHostScratchBytes(int threads, const Geometry& geometry, int64_t scratch_tokens) {
  return 2 * threads * SlotFloats(geometry, scratch_tokens) * static_cast<int64_t>(sizeof(float));
}

void DecodeAttentionHost(Stream& stream, const DecodeAttentionArgs& args) {
  const HostAccess access(stream);
  Device& device = stream.device();
  const Schedule schedule(device, args);
  device.ParallelFor(schedule.first_round(),
                     [&schedule](int64_t index, int thread) { schedule.RunFirst(index, thread); });
  device.ParallelFor(schedule.second_round(), [&schedule](int64_t index, int) { schedule.RunSecond(index); });
}

}  // namespace decant
