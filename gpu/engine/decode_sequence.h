// One reserved or running sequence of a decode batch: its row tables on the device and what the host knows of it.
#ifndef DECANT_GPU_ENGINE_DECODE_SEQUENCE_H_
#define DECANT_GPU_ENGINE_DECODE_SEQUENCE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/compress/allocate/token_limits.h"
#include "common/kv/rows.h"
#include "gpu/device/device.h"
#include "gpu/engine/decode_batch.h"
#include "gpu/engine/import_plan.h"
#include "gpu/engine/page_promise.h"

namespace decant {

class DecodeSequence {
 public:
  // Makes empty row tables. RESOURCE_EXHAUSTED when the device has no room for them.
  static absl::StatusOr<std::unique_ptr<DecodeSequence>> Create(SequenceId id, const SequenceOptions& options,
                                                                const PageArena& arena,
                                                                const ImportPlan::Expectation& expectation,
                                                                Stream& stream);

  // The formats of a sequence by tier; a fixed run in the format of another tier is none.
  static void Formats(const SequenceOptions& options, FormatId (&formats)[kTierCount]);
  // What is done to the keys of each tier: a prefix in a format of its own holds them plain.
  static void KeyForms(const SequenceOptions& options, KeyForm (&forms)[kTierCount]);
  // The most pages one head can come to need.
  static int64_t WorstCaseHeadPages(const SequenceOptions& options, const PageArena& arena);
  // Fills in what the rows of a sequence demand of its frames.
  static void Expect(const SequenceOptions& options, ImportPlan::Expectation& expectation);
  // Where a landed layer's factors of balanced keys go, on the device.
  float* BalanceOf(int32_t layer) const;

  SequenceId id() const { return id_; }
  const SequenceOptions& options() const { return options_; }
  ImportPlan& plan() { return plan_; }
  // Device addresses inside; the struct itself is host memory, device_rows() its copy on the device.
  const SequenceRows& rows() const { return rows_; }
  const SequenceRows* device_rows() const { return table_.As<SequenceRows>(); }

  int64_t promised_pages() const { return promised_pages_; }
  // A complete layer needs only what it holds, what Join may move and what generation can add.
  void ShrinkPromise(int32_t layer);

  // Whether Join may find imported tokens in a better tier than the prompt's policy has for them.
  bool Settles() const;
  // The most high tokens of any head, of the layers that landed.
  int32_t MostHighTokens() const;
  // After Join has moved tokens: `heads` [layers, kv_heads] is what the rows hold now.
  void ShrinkPromises(const std::vector<HeadState>& heads);

  // Begins to run: the prompt's length and scores are known.
  void Join(Stream& stream, int32_t first_token);
  bool joined() const { return joined_; }
  bool finished() const { return finished_; }
  int32_t last_token() const { return last_token_; }
  int32_t length() const { return length_; }  // tokens whose K and V the rows have seen
  // Takes the next token of the answer, the forced one while there are any; `length` grows with every step but the
  // first token came from prefill.
  StepToken Accept(int32_t token);
  void Advance() { ++length_; }
  void CountMoved(const int64_t* moved);
  void CountRead(int64_t bytes) { bytes_read_ += bytes; }
  int64_t bytes_read() const { return bytes_read_; }
  // Pruned, demoted and dropped; the others are on the device.
  TokenCounts counts() const { return counts_; }

 private:
  DecodeSequence(SequenceId id, const SequenceOptions& options, const PageArena& arena,
                 const ImportPlan::Expectation& expectation);

  void LowerPromise(int32_t layer, int64_t pages);
  // Pages that the layer's heads can come to hold, given what they hold; of the high tokens `movable` may go low.
  int64_t GrownPages(int32_t layer, const int32_t (&held)[kTierCount], int32_t movable) const;

  const SequenceId id_;
  const SequenceOptions options_;
  const Geometry geometry_;
  ImportPlan plan_;
  TierPages pages_;
  const TokenLimits limits_;
  SequenceRows rows_;
  Buffer table_;  // SequenceRows, length, limits, shares, balance, heads, page ids
  std::vector<int64_t> layer_promises_;
  int64_t promised_pages_ = 0;
  bool joined_ = false;
  bool finished_ = false;
  int32_t generated_ = 0;
  int32_t last_token_ = 0;
  int32_t length_ = 0;
  int64_t bytes_read_ = 0;
  TokenCounts counts_;
};

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_DECODE_SEQUENCE_H_
