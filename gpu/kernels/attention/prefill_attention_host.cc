// Keys and values are packed once for the matrix products, in blocks of kKeys. For every query head and tile of kRows
// queries: scores of all blocks (product), softmax over whole rows (so that the normalised weights, and with them the
// sums, are exact), output (product). All products have one of two shapes, whatever the length of the prompt.
#include "gpu/kernels/attention/prefill_attention_host.h"

#include <cstring>

#include "gpu/kernels/nn/packed_layout.h"
#include "gpu/kernels/nn/product_host.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/kernels/attention/prefill_attention_host.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "gpu/kernels/nn/run_type-inl.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {

// weights[i] = exp((scores[i] - top) * scale) for i in [0, count), in place; returns their sum.
float Exponentials(float* scores, int32_t count, float top, float scale) {
  const hn::ScalableTag<float> d;
  auto total = hn::Zero(d);
  float tail_total = 0;
  ForLanes(count, [&](auto tag, int64_t i) {
    const auto x = hn::Mul(hn::Sub(hn::LoadU(tag, scores + i), hn::Set(tag, top)), hn::Set(tag, scale));
    const auto e = hn::Exp(tag, x);
    hn::StoreU(e, tag, scores + i);
    if constexpr (hn::MaxLanes(tag) == hn::MaxLanes(d)) {
      total = hn::Add(total, e);
    } else {
      tail_total += hn::GetLane(e);
    }
  });
  return hn::GetLane(hn::SumOfLanes(d, total)) + tail_total;
}

float Largest(const float* scores, int32_t count) {
  const hn::ScalableTag<float> d;
  auto top = hn::Set(d, scores[0]);
  float tail_top = scores[0];
  ForLanes(count, [&](auto tag, int64_t i) {
    const auto x = hn::LoadU(tag, scores + i);
    if constexpr (hn::MaxLanes(tag) == hn::MaxLanes(d)) {
      top = hn::Max(top, x);
    } else {
      tail_top = HWY_MAX(tail_top, hn::GetLane(x));
    }
  });
  return HWY_MAX(tail_top, hn::GetLane(hn::MaxOfLanes(d, top)));
}

// out[i] = weights[i] * factor in the run type; sums[i] += the same in f32 where sums are wanted.
template <typename T>
void Normalise(const float* weights, int32_t count, float factor, T* out, float* sums) {
  ForLanes(count, [&](auto tag, int64_t i) {
    const auto p = hn::Mul(hn::LoadU(tag, weights + i), hn::Set(tag, factor));
    StoreRun(tag, p, out + i);
    if (sums != nullptr) hn::StoreU(hn::Add(hn::LoadU(tag, sums + i), p), tag, sums + i);
  });
}

void NormaliseRow(RunType type, const float* weights, int32_t count, float factor, void* out, float* sums) {
  if (type == RunType::kBf16) {
    Normalise(weights, count, factor, static_cast<Bf16*>(out), sums);
  } else {
    Normalise(weights, count, factor, static_cast<float*>(out), sums);
  }
}

void ConvertRow(RunType type, const float* from, int32_t count, void* to) {
  NormaliseRow(type, from, count, 1.0f, to, nullptr);
}

}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant {

HWY_EXPORT(Exponentials);
HWY_EXPORT(Largest);
HWY_EXPORT(NormaliseRow);
HWY_EXPORT(ConvertRow);

namespace {

constexpr int32_t kKeys = 256;       // keys of a block
constexpr int32_t kRows = kRowTile;  // queries of a tile

int64_t Padded(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// Where things lie in the scratch memory.
struct Scratch {
  Scratch(RunType type, int64_t capacity, int32_t kv_heads_in, int32_t head_dim)
      : blocks((capacity + kKeys - 1) / kKeys),
        kv_heads(kv_heads_in),
        keys_bytes(Padded(PackedElements(type, head_dim, kKeys) * RunTypeBytes(type))),
        values_bytes(Padded(PackedElements(type, kKeys, head_dim) * RunTypeBytes(type))),
        query_bytes(Padded(int64_t{kRows} * head_dim * RunTypeBytes(type))),
        output_bytes(Padded(int64_t{kRows} * head_dim * 4)),
        score_bytes(blocks * kRows * kKeys * 4),
        weight_bytes(blocks * kRows * kKeys * RunTypeBytes(type)) {}

  int64_t thread_bytes() const { return query_bytes + output_bytes + score_bytes + weight_bytes; }
  int64_t packed_bytes() const { return int64_t{kv_heads} * blocks * (keys_bytes + values_bytes); }
  int64_t KeysAt(int32_t head, int64_t block) const { return (head * blocks + block) * keys_bytes; }
  int64_t ValuesAt(int32_t head, int64_t block) const {
    return kv_heads * blocks * keys_bytes + (head * blocks + block) * values_bytes;
  }
  int64_t ThreadAt(int thread) const { return packed_bytes() + thread * thread_bytes(); }

  int64_t blocks;
  int64_t kv_heads;
  int64_t keys_bytes;
  int64_t values_bytes;
  int64_t query_bytes;
  int64_t output_bytes;
  int64_t score_bytes;
  int64_t weight_bytes;
};

// Transposes `count` keys [count, head_dim] into a packed block; what lies beyond them is zero.
template <typename T>
void PackKeys(RunType type, const T* keys, int32_t count, int32_t head_dim, T* out) {
  std::memset(out, 0, static_cast<size_t>(PackedElements(type, head_dim, kKeys)) * sizeof(T));
  const int32_t pair = PackedPair(type);
  for (int32_t key = 0; key < count; ++key) {
    const T* row = keys + int64_t{key} * head_dim;
    T* column = out + PackedIndex(type, head_dim, 0, key);
    for (int32_t i = 0; i < head_dim; i += pair) {
      std::memcpy(column + int64_t{i} * kPanelColumns, row + i, sizeof(T) * static_cast<size_t>(pair));
    }
  }
}

template <typename T>
void PackValues(RunType type, const T* values, int32_t count, int32_t head_dim, T* out) {
  std::memset(out, 0, static_cast<size_t>(PackedElements(type, kKeys, head_dim)) * sizeof(T));
  const int32_t pair = PackedPair(type);
  for (int32_t key = 0; key < count; ++key) {
    const T* row = values + int64_t{key} * head_dim;
    for (int32_t first = 0; first < head_dim; first += kPanelColumns) {
      T* line = out + PackedIndex(type, kKeys, key, first);
      const int32_t columns = head_dim - first < kPanelColumns ? head_dim - first : kPanelColumns;
      for (int32_t i = 0; i < columns; ++i) line[i * pair] = row[first + i];
    }
  }
}

class HostPrefillAttention {
 public:
  HostPrefillAttention(Device& device, const PrefillAttentionArgs& args)
      : device_(device),
        a_(args),
        at_(args.run_type, args.capacity, args.kv_heads, args.head_dim),
        base_(static_cast<char*>(args.scratch)),
        bytes_(RunTypeBytes(args.run_type)),
        keys_(args.first_query + args.queries) {}

  void Run() {
    Pack();
    const int32_t tiles = (a_.queries + kRows - 1) / kRows;
    if (a_.sums != nullptr) {
      // A head's sums are added up by one thread in the order of its queries: the same bytes for any number of threads.
      device_.ParallelFor(a_.q_heads, [&](int64_t head, int thread) {
        for (int32_t tile = 0; tile < tiles; ++tile) Tile(static_cast<int32_t>(head), tile, thread);
      });
      return;
    }
    device_.ParallelFor(int64_t{a_.q_heads} * tiles, [&](int64_t item, int thread) {
      // The longest tiles first, so that the threads end together.
      Tile(static_cast<int32_t>(item % a_.q_heads), tiles - 1 - static_cast<int32_t>(item / a_.q_heads), thread);
    });
  }

 private:
  void Pack() {
    const int64_t first = a_.packed / kKeys;  // a block that was partly filled is packed again
    const int64_t count = (keys_ + kKeys - 1) / kKeys - first;
    device_.ParallelFor(a_.kv_heads * count, [&](int64_t item, int) {
      const auto head = static_cast<int32_t>(item / count);
      const int64_t block = first + item % count;
      const int64_t offset = (head * a_.capacity + block * kKeys) * a_.head_dim;
      const auto tokens = static_cast<int32_t>(keys_ - block * kKeys < kKeys ? keys_ - block * kKeys : kKeys);
      if (a_.run_type == RunType::kBf16) {
        PackBlock<uint16_t>(head, block, offset, tokens);
      } else {
        PackBlock<float>(head, block, offset, tokens);
      }
    });
  }

  template <typename T>
  void PackBlock(int32_t head, int64_t block, int64_t offset, int32_t tokens) {
    PackKeys(a_.run_type, static_cast<const T*>(a_.k) + offset, tokens, a_.head_dim,
             reinterpret_cast<T*>(base_ + at_.KeysAt(head, block)));
    PackValues(a_.run_type, static_cast<const T*>(a_.v) + offset, tokens, a_.head_dim,
               reinterpret_cast<T*>(base_ + at_.ValuesAt(head, block)));
  }

  void Tile(int32_t head, int32_t tile, int thread) const {
    char* own = base_ + at_.ThreadAt(thread);
    char* query = own;
    auto* output = reinterpret_cast<float*>(own + at_.query_bytes);
    auto* scores = reinterpret_cast<float*>(own + at_.query_bytes + at_.output_bytes);
    char* weights = own + at_.query_bytes + at_.output_bytes + at_.score_bytes;
    const int32_t first = tile * kRows;
    const int32_t rows = a_.queries - first < kRows ? a_.queries - first : kRows;
    const int32_t padded = rows < kRows ? TailRows(rows) : rows;
    const int32_t kv_head = head / (a_.q_heads / a_.kv_heads);
    const int64_t blocks = (a_.first_query + first + rows + kKeys - 1) / kKeys;

    LoadQueries(head, first, rows, padded, query);
    for (int64_t block = 0; block < blocks; ++block) {
      RunProduct(Product{a_.run_type, padded, kKeys, a_.head_dim, false, query, base_ + at_.KeysAt(kv_head, block),
                         scores + block * kRows * kKeys});
    }
    for (int32_t row = 0; row < rows; ++row) {
      Softmax(head, a_.first_query + first + row, row, blocks, scores, weights);
    }
    for (int64_t block = 0; block < blocks; ++block) {
      RunProduct(Product{a_.run_type, padded, a_.head_dim, kKeys, block > 0, weights + block * kRows * kKeys * bytes_,
                         base_ + at_.ValuesAt(kv_head, block), output});
    }
    for (int32_t row = 0; row < rows; ++row) {
      std::memcpy(a_.out + (first + row) * a_.out_stride + int64_t{head} * a_.head_dim,
                  output + int64_t{row} * a_.head_dim, static_cast<size_t>(a_.head_dim) * 4);
    }
  }

  void LoadQueries(int32_t head, int32_t first, int32_t rows, int32_t padded, char* query) const {
    const int64_t row_bytes = int64_t{a_.head_dim} * bytes_;
    for (int32_t row = 0; row < rows; ++row) {
      HWY_DYNAMIC_DISPATCH(ConvertRow)
      (a_.run_type, a_.q + (first + row) * a_.q_stride + int64_t{head} * a_.head_dim, a_.head_dim,
       query + row * row_bytes);
    }
    std::memset(query + rows * row_bytes, 0, static_cast<size_t>((padded - rows) * row_bytes));
  }

  // Row `row` of all blocks: scores become weights in the run type, zero beyond the query's own position.
  void Softmax(int32_t head, int32_t position, int32_t row, int64_t blocks, float* scores, char* weights) const {
    const int32_t visible = position + 1;
    const auto part = [&](int64_t block) {
      const int64_t left = visible - block * kKeys;
      return static_cast<int32_t>(left < 0 ? 0 : left > kKeys ? kKeys : left);
    };
    const auto line = [&](int64_t block) { return (block * kRows + row) * kKeys; };
    float top = scores[line(0)];
    for (int64_t block = 0; block < blocks && part(block) > 0; ++block) {
      const float largest = HWY_DYNAMIC_DISPATCH(Largest)(scores + line(block), part(block));
      top = largest > top ? largest : top;
    }
    float total = 0;
    for (int64_t block = 0; block < blocks && part(block) > 0; ++block) {
      total += HWY_DYNAMIC_DISPATCH(Exponentials)(scores + line(block), part(block), top, a_.scale);
    }
    const bool counts = a_.sums != nullptr && position >= a_.sum_from;
    float* sums = counts ? a_.sums + head * a_.sum_stride : nullptr;
    const float own_before = counts ? sums[position] : 0;
    for (int64_t block = 0; block < blocks; ++block) {
      const int32_t count = part(block);
      HWY_DYNAMIC_DISPATCH(NormaliseRow)
      (a_.run_type, scores + line(block), count, 1.0f / total, weights + line(block) * bytes_,
       counts ? sums + block * kKeys : nullptr);
      std::memset(weights + (line(block) + count) * bytes_, 0, static_cast<size_t>((kKeys - count) * bytes_));
    }
    if (counts && !a_.sum_own) sums[position] = own_before;
  }

  Device& device_;
  const PrefillAttentionArgs& a_;
  const Scratch at_;
  char* const base_;
  const int64_t bytes_;
  const int64_t keys_;
};

}  // namespace

int64_t PrefillAttentionScratchBytesHost(int threads, RunType run_type, int64_t capacity, int32_t kv_heads,
                                         int32_t head_dim) {
  return Scratch(run_type, capacity, kv_heads, head_dim).ThreadAt(threads);
}

void PrefillAttentionHost(Stream& stream, const PrefillAttentionArgs& args) {
  if (args.queries == 0) return;
  const HostAccess access(stream);
  HostPrefillAttention(stream.device(), args).Run();
}

}  // namespace decant
#endif
