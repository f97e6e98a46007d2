// Random pages, rows and queries for attention tests, with a scalar reference that reads the same bytes.
#ifndef DECANT_TESTS_GPU_KERNELS_ATTENTION_PAGED_BATCH_H_
#define DECANT_TESTS_GPU_KERNELS_ATTENTION_PAGED_BATCH_H_

#include <array>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "common/kv/rows.h"
#include "gpu/device/device.h"
#include "gpu/kernels/attention/decode_attention.h"

namespace decant {

struct TestSequence {
  std::array<FormatId, kTierCount> formats = {FormatId::kNone, FormatId::kNone, FormatId::kNone};
  // Tokens of every kv head, in TierIndex order; fewer entries than heads repeat.
  std::vector<std::array<int32_t, kTierCount>> tokens;
  OnlinePolicy policy = OnlinePolicy::kNone;
  int32_t window = 0;
  ReadPolicy read;
  std::array<KeyForm, kTierCount> key_forms;
  int32_t sinks = 0;
  int32_t length = 0;  // of kSinksAndRecent: position of the newest token, below kAnglePositions
};

inline constexpr int32_t kAnglePositions = 600;

// Holds everything twice: on the device for the operation, in host memory for the reference.
class PagedBatch {
 public:
  // One layer; pages lie in random order in the arena.
  PagedBatch(Device& device, const Geometry& geometry, int64_t page_bytes, const std::vector<TestSequence>& sequences,
             uint32_t seed);

  // Runs DecodeAttention, or what stands for it, and brings the output [sequences, q_heads, head_dim] and the pages
  // back.
  using Operation = std::function<void(Stream& stream, const DecodeAttentionArgs& args)>;
  std::vector<float> Attend(const Operation& operation = DecodeAttention);
  // The same by the definition, in double; `expected_pages` gets the added scores.
  std::vector<float> Reference();

  // The largest difference between the scores of `pages` and of the reference's pages; every other byte must be equal.
  double LargestScoreDifference() const;
  int32_t tokens_per_page(FormatId format) const { return arena_.layouts[static_cast<int>(format)].tokens; }
  // Bytes that Attend read, by sequence.
  const std::vector<int64_t>& bytes_read() const { return bytes_read_; }
  // What bounds q.k of block `block` of the high tier by the definition, in double, and the largest q.k there is; over
  // the group's query heads.
  struct BlockTruth {
    double bound = 0;
    double largest = 0;
  };
  BlockTruth Block(int32_t sequence, int32_t kv_head, int32_t block);
  // The operation's own bounds of all blocks.
  std::vector<float> Bounds(int32_t sequence, int32_t kv_head);
  std::vector<uint8_t>& pages() { return pages_; }
  // The host bytes of a token's score.
  float* Score(int32_t sequence, int32_t kv_head, int32_t tier, int32_t token);
  void Upload();  // after the host bytes were changed

 private:
  // The blocks that a read policy leaves, ascending, by bounds in double; all tokens' blocks without one.
  std::vector<int32_t> BlocksRead(int32_t sequence, int32_t kv_head);
  void FillPage(uint8_t* page, FormatId format);
  // The key of a token as it was before its form, times q, by the definition of the form.
  double Product(const SequenceRows& rows, int32_t kv_head, int32_t tier, const uint8_t* page, int32_t index,
                 int32_t place, const float* q) const;
  uint8_t* PageOf(std::vector<uint8_t>& pages, const SequenceRows& rows, int32_t kv_head, int32_t tier, int32_t page);

  Device& device_;
  std::unique_ptr<Stream> stream_;
  std::mt19937 random_;
  PageArena arena_;
  int64_t longest_ = 1;
  std::vector<int64_t> bytes_read_;
  std::vector<uint8_t> pages_;
  std::vector<uint8_t> expected_pages_;
  std::vector<SequenceRows> rows_;  // host addresses
  std::vector<std::vector<HeadState>> heads_;
  std::vector<std::vector<int32_t>> page_ids_;
  std::vector<float> q_;
  std::vector<float> angles_;                // [kAnglePositions, head_dim]
  std::vector<std::vector<float>> balance_;  // per sequence [kv_heads, head_dim]
  std::vector<int32_t> lengths_;
  const float* device_angles_ = nullptr;
  std::vector<Buffer> buffers_;
  Buffer device_pages_;
  Buffer device_rows_;
};

}  // namespace decant

#endif  // DECANT_TESTS_GPU_KERNELS_ATTENTION_PAGED_BATCH_H_
