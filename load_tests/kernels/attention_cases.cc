// Attention at the sizes of Llama-3-8B: 8 kv heads of 128 elements, four query heads each; in decode a fifth of the
// tokens high (K8V4) and the rest low (K4V2).
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "gpu/kernels/attention/attention_tokens.h"
#include "gpu/kernels/attention/decode_attention.h"
#include "gpu/kernels/attention/prefill_attention.h"
#include "load_tests/kernels/kernel_case.h"

namespace decant {
namespace {

constexpr int32_t kHeadDim = 128;
constexpr int32_t kKvHeads = 8;
constexpr int32_t kGroup = 4;
constexpr int32_t kRow = kKvHeads * kGroup * kHeadDim;  // of queries and outputs
constexpr FormatId kFormats[] = {FormatId::kK8V4, FormatId::kK4V2};
constexpr double kLaunch = 2e-6;  // a launch of a graph behind another takes about that to begin

class AttentionBench {
 public:
  explicit AttentionBench(Stream& stream) : stream_(stream) {}
  // Zeros.
  template <typename T>
  T* New(int64_t count) {
    buffers_.push_back(stream_.device().Allocate(count * static_cast<int64_t>(sizeof(T))).value());
    stream_.Fill(buffers_.back().As<T>(), 0, buffers_.back().bytes());
    return buffers_.back().As<T>();
  }
  template <typename T>
  T* Upload(const std::vector<T>& values) {
    T* const to = New<T>(static_cast<int64_t>(values.size()));
    stream_.Copy(to, values.data(), static_cast<int64_t>(values.size() * sizeof(T)));
    DECANT_CHECK(stream_.Synchronize().ok());
    return to;
  }

 private:
  Stream& stream_;
  std::vector<Buffer> buffers_;
};

HeadState StateOf(int32_t tokens, const PageLayout* layouts) {
  HeadState state;
  state.tokens[kHigh] = tokens / 5;
  state.tokens[kLow] = tokens - tokens / 5;
  for (const int32_t tier : {kHigh, kLow}) {
    const int32_t page_tokens = layouts[static_cast<int>(kFormats[tier])].tokens;
    state.pages[tier] = (state.tokens[tier] + page_tokens - 1) / page_tokens;
  }
  return state;
}

PageArena ArenaOf() {
  PageArena arena;
  arena.geometry = Geometry{1, kGroup * kKvHeads, kKvHeads, kHeadDim};
  arena.page_bytes = ChoosePageBytes(kHeadDim, kFormats, 2, 2048);
  for (const FormatId id : kFormats) {
    arena.layouts[static_cast<int>(id)] = FitLayout(id, kHeadDim, arena.page_bytes);
  }
  return arena;
}

SequenceRows RowsOf() {
  SequenceRows rows;
  rows.formats[kHigh] = kFormats[0];
  rows.formats[kLow] = kFormats[1];
  return rows;
}

// Pages, queries and outputs of a layer.
int64_t DecodeBytes(int32_t sequences, int32_t tokens) {
  const PageArena arena = ArenaOf();
  const int64_t head = AttentionBytes(RowsOf(), StateOf(tokens, arena.layouts), kHeadDim, 0);
  return sequences * (kKvHeads * head + int64_t{2} * kRow * 4);
}

KernelWork PrepareDecode(Stream& stream, int32_t sequences, int32_t tokens) {
  auto bench = std::make_shared<AttentionBench>(stream);
  DecodeAttentionArgs args;
  args.arena = ArenaOf();
  const HeadState state = StateOf(tokens, args.arena.layouts);
  const int32_t capacity = state.pages[kHigh] + state.pages[kLow];
  const int64_t heads = int64_t{sequences} * kKvHeads;
  args.arena.page_count = static_cast<int32_t>(heads * capacity);
  args.arena.pages = bench->New<uint8_t>(args.arena.page_bytes * args.arena.page_count);
  std::vector<int32_t> ids(static_cast<size_t>(args.arena.page_count));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
  HeadState* const states = bench->Upload(std::vector<HeadState>(static_cast<size_t>(heads), state));
  int32_t* const page_ids = bench->Upload(ids);
  int32_t* const lengths = bench->Upload(std::vector<int32_t>(static_cast<size_t>(sequences), tokens));
  std::vector<SequenceRows> rows(static_cast<size_t>(sequences), RowsOf());
  for (int32_t s = 0; s < sequences; ++s) {
    SequenceRows& row = rows[static_cast<size_t>(s)];
    row.heads = states + s * kKvHeads;
    row.page_ids = page_ids + int64_t{s} * kKvHeads * capacity;
    row.length = lengths + s;
    row.capacity = capacity;
  }
  args.rows = bench->Upload(rows);
  args.sequences = sequences;
  args.q = bench->New<float>(int64_t{sequences} * kRow);
  args.q_stride = args.out_stride = kRow;
  args.scale = 1.0f / std::sqrt(static_cast<float>(kHeadDim));
  args.out = bench->New<float>(int64_t{sequences} * kRow);
  args.scratch_tokens = tokens;
  args.scratch = reinterpret_cast<float*>(bench->New<uint8_t>(
      DecodeAttentionScratchBytes(stream.device(), args.arena.geometry, sequences, args.scratch_tokens)));
  args.may_choose_blocks = false;
  DECANT_CHECK(stream.Synchronize().ok());
  KernelWork work;
  work.minimum_bytes = DecodeBytes(sequences, tokens);
  work.enqueue = [&stream, args] { DecodeAttention(stream, args); };
  work.state = bench;
  return work;
}

// Every query with every key it sees, for scores and for outputs.
double PrefillOperations(int32_t tokens) {
  return 2.0 * 2.0 * kRow * static_cast<double>(tokens) * (static_cast<double>(tokens) + 1) / 2;
}
int64_t PrefillBytes(int32_t tokens) { return int64_t{tokens} * (2 * kRow * 4 + 2 * kKvHeads * kHeadDim * 2); }

KernelWork PreparePrefill(Stream& stream, int32_t tokens) {
  auto bench = std::make_shared<AttentionBench>(stream);
  PrefillAttentionArgs args;
  args.q = bench->New<float>(int64_t{tokens} * kRow);
  args.q_stride = args.out_stride = kRow;
  args.queries = args.scratch_keys = tokens;
  args.k = bench->New<uint16_t>(int64_t{tokens} * kKvHeads * kHeadDim);
  args.v = bench->New<uint16_t>(int64_t{tokens} * kKvHeads * kHeadDim);
  args.capacity = tokens;
  args.q_heads = kGroup * kKvHeads;
  args.kv_heads = kKvHeads;
  args.head_dim = kHeadDim;
  args.scale = 1.0f / std::sqrt(static_cast<float>(kHeadDim));
  args.out = bench->New<float>(int64_t{tokens} * kRow);
  args.scratch = bench->New<uint8_t>(PrefillAttentionScratchBytes(stream.device(), RunType::kBf16, tokens, tokens,
                                                                  args.q_heads, kKvHeads, kHeadDim, 0));
  DECANT_CHECK(stream.Synchronize().ok());
  KernelWork work;
  work.minimum_bytes = PrefillBytes(tokens);
  work.operations = PrefillOperations(tokens);
  work.enqueue = [&stream, args] { PrefillAttention(stream, args); };
  work.state = bench;
  return work;
}

std::vector<KernelCase> AttentionCases() {
  std::vector<KernelCase> cases;
  for (const int32_t tokens : {8192, 32768}) {
    cases.push_back(
        {absl::StrCat("attention: decode, 32 sequences of ", tokens, " tokens, a layer"),
         [tokens](Stream& stream, bool whole) { return PrepareDecode(stream, whole ? 32 : 1, whole ? tokens : 4096); },
         DecodeBytes(32, tokens), 0, 2 * kLaunch});
  }
  constexpr int32_t kPrompt = 8192;
  cases.push_back({absl::StrCat("attention: prefill of ", kPrompt, " tokens, a layer"),
                   [](Stream& stream, bool whole) { return PreparePrefill(stream, whole ? kPrompt : 128); },
                   PrefillBytes(kPrompt), PrefillOperations(kPrompt), kLaunch});
  return cases;
}
const KernelCases kAttention(&AttentionCases);

}  // namespace
}  // namespace decant
