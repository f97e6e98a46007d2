#ifndef DECANT_GPU_KERNELS_ATTENTION_PREFILL_SCRATCH_H_
#define DECANT_GPU_KERNELS_ATTENTION_PREFILL_SCRATCH_H_

#include <algorithm>
#include <cstdint>

#include "common/compress/profile.h"
#include "gpu/kernels/nn/packed_layout.h"

namespace decant {

// Where things lie in the scratch of the host's PrefillAttention; offsets and sizes in bytes.
struct PrefillScratch {
  // Columns of one product of queries and keys: a few shapes serve every prompt length.
  static constexpr int32_t kPanelKeys = 512;

  PrefillScratch(RunType type, int32_t queries, int32_t keys_wanted, int32_t q_heads, int32_t kv_heads,
                 int32_t head_dim, int32_t signals, int threads) {
    keys = PackedPanels(keys_wanted) * kPanelColumns;
    signal_keys = keys + kPanelColumns;
    // One tile's rows of attention should stay in a core's second-level cache.
    tile_rows = keys <= 2048 ? 64 : keys <= 4096 ? 32 : 16;
    tiles = (queries + tile_rows - 1) / tile_rows;
    const int64_t run_bytes = RunTypeBytes(type);
    key_head_bytes = PackedElements(type, head_dim, keys) * run_bytes;
    value_head_bytes = PackedPanels(head_dim) * PackedPanelElements(type, keys) * run_bytes;
    values = kv_heads * key_head_bytes;
    signals_begin = values + kv_heads * value_head_bytes;
    signal_bytes = int64_t{tiles} * q_heads * signal_keys * 4;
    threads_begin = signals_begin + signals * signal_bytes;
    thread_q = Line(int64_t{tile_rows} * keys * 4);
    thread_out = thread_q + Line(int64_t{tile_rows} * head_dim * run_bytes);
    thread_bytes = thread_out + Line(int64_t{tile_rows} * kPanelColumns * 4);
    bytes = threads_begin + threads * thread_bytes;
  }

  static int64_t Line(int64_t n) { return (n + 63) / 64 * 64; }
  // Offset of the [signal_keys] that one piece of work keeps of a signal.
  int64_t Signal(int32_t signal, int32_t tile, int32_t q_heads, int32_t head) const {
    return signals_begin + signal * signal_bytes + (int64_t{tile} * q_heads + head) * signal_keys * 4;
  }

  int32_t keys = 0;         // rounded up to whole panels
  int32_t signal_keys = 0;  // with a margin, so that vectors may reach beyond the last key
  int32_t tile_rows = 0;
  int32_t tiles = 0;
  // Packed keys of all heads start at 0: per head B[head_dim, keys].
  int64_t key_head_bytes = 0;
  // Packed values: per head and 64 of its dimensions B[keys, 64].
  int64_t values = 0;
  int64_t value_head_bytes = 0;
  int64_t signals_begin = 0;  // per signal [tiles, q_heads, signal_keys] f32
  int64_t signal_bytes = 0;
  // Per thread: attention of a tile (panel after panel, each [rows, panel keys]), q in the run type, output columns.
  int64_t threads_begin = 0;
  int64_t thread_q = 0;
  int64_t thread_out = 0;
  int64_t thread_bytes = 0;
  int64_t bytes = 0;
};

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_PREFILL_SCRATCH_H_
