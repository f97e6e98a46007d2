#include "gpu/kernels/attention/prefill_attention.h"

// Keys and values are packed for matrix products once per layer. Then every (tile of queries, query head) is one piece
// of work: products of the tile with panels of keys, an exact softmax over the whole rows, products with the values.
// The rows are there in full, so the attention that keys receive is summed on the way; each piece has its own sums,
// added up in a fixed order afterwards, so that the result does not depend on the threads.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/kernels/attention/prefill_attention_host.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "gpu/kernels/attention/prefill_scratch.h"
#include "gpu/kernels/nn/product_host.h"

#include "gpu/kernels/attention/prefill_replay-inl.h"
#include "gpu/kernels/attention/prefill_softmax-inl.h"
#include "gpu/kernels/nn/run_type-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {

template <typename T>
void LoadQueries(const PrefillAttentionArgs& args, int32_t first, int32_t rows, int32_t padded_rows, int32_t head,
                 T* out) {
  for (int32_t r = 0; r < rows; ++r) {
    const float* q = args.q + (first + r) * args.q_stride + static_cast<int64_t>(head) * args.head_dim;
    T* to = out + static_cast<int64_t>(r) * args.head_dim;
    ForLanes(args.head_dim, [&](auto tag, int64_t i) HWY_ATTR { StoreRun(tag, hn::LoadU(tag, q + i), to + i); });
  }
  std::memset(static_cast<void*>(out + static_cast<int64_t>(rows) * args.head_dim), 0,
              static_cast<size_t>(padded_rows - rows) * static_cast<size_t>(args.head_dim) * sizeof(T));
}

// One query head of one tile.
template <typename T>
void Attend(const PrefillAttentionArgs& args, const PrefillScratch& layout, int32_t tile, int32_t head, int thread) {
  char* const scratch = static_cast<char*>(args.scratch);
  char* const mine = scratch + layout.threads_begin + thread * layout.thread_bytes;
  const int32_t first = tile * layout.tile_rows;
  const int32_t rows = HWY_MIN(layout.tile_rows, args.queries - first);
  const int32_t padded_rows = rows == layout.tile_rows ? rows : HWY_MIN(TailRows(rows), layout.tile_rows);
  const int32_t last_keys = args.first_query + first + rows;
  const int32_t padded_keys = PackedPanels(last_keys) * kPanelColumns;
  const int32_t kv_head = head / (args.q_heads / args.kv_heads);
  float* const scores = reinterpret_cast<float*>(mine);
  T* const q = reinterpret_cast<T*>(mine + layout.thread_q);
  LoadQueries(args, first, rows, padded_rows, head, q);

  Product product;
  product.type = args.run_type;
  product.rows = padded_rows;
  product.depth = args.head_dim;
  product.a = q;
  const T* const keys = reinterpret_cast<const T*>(scratch + kv_head * layout.key_head_bytes);
  for (int32_t key = 0; key < padded_keys; key += PrefillScratch::kPanelKeys) {
    product.columns = HWY_MIN(PrefillScratch::kPanelKeys, padded_keys - key);
    product.b = keys + key / kPanelColumns * PackedPanelElements(args.run_type, args.head_dim);
    product.c = scores + static_cast<int64_t>(key) * padded_rows;
    RunProduct(product);
  }

  const auto signal = [&](int32_t index) {
    auto* const values = reinterpret_cast<float*>(scratch + layout.Signal(index, tile, args.q_heads, head));
    std::memset(values, 0, static_cast<size_t>(padded_keys + kPanelColumns) * sizeof(float));
    return values;
  };
  float* sums[kMaxAttentionSums] = {};
  for (int32_t s = 0; s < args.sum_count; ++s) {
    if (last_keys > args.sums[s].from) sums[s] = signal(s);
  }
  float* const peaks = args.replay.peaks != nullptr ? signal(args.sum_count) : nullptr;
  for (int32_t r = 0; r < rows; ++r) {
    const int32_t position = args.first_query + first + r;
    SoftmaxRow row;
    row.scores = scores;
    row.row = r;
    row.rows = padded_rows;
    row.padded_keys = padded_keys;
    row.keys = position + 1;
    row.scale = args.scale;
    for (int32_t s = 0; s < args.sum_count; ++s) {
      if (position < args.sums[s].from) continue;
      row.sums[row.sum_count++] = RowSums{sums[s], args.sums[s].own_query ? position + 1 : position};
    }
    if (peaks != nullptr) {
      SoftmaxWithReplay<T>(args, row, peaks);
    } else {
      Normalise<T>(row, RaisePowers(row, LargestScore(row)));
    }
  }
  if (args.out == nullptr) return;

  product.columns = kPanelColumns;
  product.c = reinterpret_cast<float*>(mine + layout.thread_out);
  const T* const values = reinterpret_cast<const T*>(scratch + layout.values + kv_head * layout.value_head_bytes);
  for (int32_t begin = 0; begin < args.head_dim; begin += kPanelColumns) {
    const T* const panel = values + begin / kPanelColumns * PackedPanelElements(args.run_type, layout.keys);
    for (int32_t key = 0; key < padded_keys; key += PrefillScratch::kPanelKeys) {
      product.depth = HWY_MIN(PrefillScratch::kPanelKeys, padded_keys - key);
      product.accumulate = key > 0;
      product.a = reinterpret_cast<const T*>(scores + static_cast<int64_t>(key) * padded_rows);
      product.b = panel + static_cast<int64_t>(key) * kPanelColumns;
      RunProduct(product);
    }
    const int32_t width = HWY_MIN(kPanelColumns, args.head_dim - begin);
    for (int32_t r = 0; r < rows; ++r) {
      std::memcpy(args.out + (first + r) * args.out_stride + static_cast<int64_t>(head) * args.head_dim + begin,
                  product.c + static_cast<int64_t>(r) * kPanelColumns, static_cast<size_t>(width) * sizeof(float));
    }
  }
}

void AttendHead(const PrefillAttentionArgs& args, const PrefillScratch& layout, int32_t tile, int32_t head,
                int thread) {
  if (args.run_type == RunType::kBf16) {
    Attend<Bf16>(args, layout, tile, head, thread);
  } else {
    Attend<float>(args, layout, tile, head, thread);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant {
namespace {

// 64 keys of one head into both packed forms; keys from `end` on are zero.
template <typename T>
void PackKeys(const PrefillAttentionArgs& args, const PrefillScratch& layout, int32_t head, int32_t first,
              int32_t end) {
  constexpr int32_t kPair = sizeof(T) == 2 ? 2 : 1;
  char* const scratch = static_cast<char*>(args.scratch);
  const auto row = [&](const void* cache, const void* tail, int32_t key) {
    const bool apart = tail != nullptr && key >= args.tail_from;
    const int64_t at = apart ? head * args.tail_capacity + key - args.tail_from : head * args.capacity + key;
    return static_cast<const T*>(apart ? tail : cache) + at * args.head_dim;
  };
  T* const keys = reinterpret_cast<T*>(scratch + head * layout.key_head_bytes) +
                  first / kPanelColumns * PackedPanelElements(args.run_type, args.head_dim);
  T* const values = reinterpret_cast<T*>(scratch + layout.values + head * layout.value_head_bytes);
  const int32_t depth = PackedDepth(args.run_type, args.head_dim);
  for (int32_t column = 0; column < kPanelColumns; ++column) {
    const bool inside = first + column < end;
    const T* const from = inside ? row(args.k, args.tail_k, first + column) : nullptr;
    T* const to = keys + static_cast<int64_t>(column) * kPair;
    for (int32_t i = 0; i < depth; ++i) {
      to[i / kPair * kPair * kPanelColumns + i % kPair] = inside && i < args.head_dim ? from[i] : T{};
    }
  }
  for (int32_t begin = 0; begin < args.head_dim; begin += kPanelColumns) {
    const int32_t width = std::min(kPanelColumns, args.head_dim - begin);
    T* const panel = values + begin / kPanelColumns * PackedPanelElements(args.run_type, layout.keys);
    for (int32_t key = first; key < first + kPanelColumns; ++key) {
      const T* const from = key < end ? row(args.v, args.tail_v, key) + begin : nullptr;
      T* const to = panel + static_cast<int64_t>(key / kPair) * kPair * kPanelColumns + key % kPair;
      for (int32_t i = 0; i < kPanelColumns; ++i) to[i * kPair] = key < end && i < width ? from[i] : T{};
    }
  }
}

const float* SignalOf(const PrefillAttentionArgs& args, const PrefillScratch& layout, int32_t signal, int32_t tile,
                      int32_t head) {
  return reinterpret_cast<const float*>(static_cast<const char*>(args.scratch) +
                                        layout.Signal(signal, tile, args.q_heads, head));
}

void AddSums(const PrefillAttentionArgs& args, const PrefillScratch& layout, int32_t source, int32_t head) {
  float* const out = args.sums[source].sums + head * args.sum_stride;
  for (int32_t tile = 0; tile < layout.tiles; ++tile) {
    const int32_t end = args.first_query + std::min(args.queries, (tile + 1) * layout.tile_rows);
    if (end <= args.sums[source].from) continue;
    const float* const sums = SignalOf(args, layout, source, tile, head);
    for (int32_t key = 0; key < end; ++key) out[key] += sums[key];
  }
}

void MergePeaks(const PrefillAttentionArgs& args, const PrefillScratch& layout, int32_t kv_head) {
  const int32_t group = args.q_heads / args.kv_heads;
  float* const out = args.replay.peaks + kv_head * args.replay.stride;
  for (int32_t tile = 0; tile < layout.tiles; ++tile) {
    for (int32_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      const float* const peaks = SignalOf(args, layout, args.sum_count, tile, head);
      for (int32_t key = args.replay.begin; key < args.replay.end; ++key) out[key] = std::max(out[key], peaks[key]);
    }
  }
}

}  // namespace

HWY_EXPORT(AttendHead);
void PrefillAttentionHost(Stream& stream, const PrefillAttentionArgs& args) {
  if (args.queries == 0) return;
  const HostAccess access(stream);
  Device& device = stream.device();
  const PrefillScratch layout(args.run_type, args.queries, args.scratch_keys, args.q_heads, args.kv_heads,
                              args.head_dim, args.sum_count + (args.replay.peaks != nullptr), device.threads());
  const int32_t keys = args.first_query + args.queries;
  const int32_t first_panel = args.packed_keys / kPanelColumns;
  const int32_t panels = PackedPanels(keys) - first_panel;
  device.ParallelFor(int64_t{panels} * args.kv_heads, [&](int64_t index, int) {
    const auto head = static_cast<int32_t>(index / panels);
    const int32_t first = (first_panel + static_cast<int32_t>(index % panels)) * kPanelColumns;
    if (args.run_type == RunType::kBf16) {
      PackKeys<Bf16>(args, layout, head, first, keys);
    } else {
      PackKeys<float>(args, layout, head, first, keys);
    }
  });
  // The last tiles see the most keys: they go first, so that the threads end together.
  device.ParallelFor(int64_t{layout.tiles} * args.q_heads, [&](int64_t index, int thread) {
    const int32_t tile = layout.tiles - 1 - static_cast<int32_t>(index / args.q_heads);
    HWY_DYNAMIC_DISPATCH(AttendHead)(args, layout, tile, static_cast<int32_t>(index % args.q_heads), thread);
  });
  device.ParallelFor(int64_t{args.sum_count} * args.q_heads, [&](int64_t index, int) {
    AddSums(args, layout, static_cast<int32_t>(index / args.q_heads), static_cast<int32_t>(index % args.q_heads));
  });
  if (args.replay.peaks == nullptr) return;
  device.ParallelFor(args.kv_heads, [&](int64_t head, int) { MergePeaks(args, layout, static_cast<int32_t>(head)); });
}

}  // namespace decant
#endif
